"""Rows that come more than once: a copy teaches nothing new, and is no further evidence. numpy
only.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from acclimate.learning.data import Rows


def repeated(x: Rows, held_out: Rows) -> NDArray[np.bool_]:
    """Which rows of x equal, bit for bit, an earlier row of x or any held-out row."""
    seen = {_content(row) for row in held_out}
    out = np.zeros(len(x), dtype=bool)
    for index, row in enumerate(x):
        key = _content(row)
        out[index] = key in seen
        seen.add(key)
    return out


def independent(rows: Rows) -> float:
    """As many rows without copies would say as much about a mean as these do (Kish 1965); their
    number where none is a copy.
    """
    counts = Counter(_content(row) for row in rows)
    return len(rows) ** 2 / max(1, sum(count**2 for count in counts.values()))


def _content(row: NDArray[Any]) -> bytes | str:
    """What two equal rows have in common: an array of strings holds only where they lie."""
    return str(row[0]) if row.dtype == object else row.tobytes()
