"""Rows that come more than once: a copy teaches nothing and is no evidence. numpy only."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from acclimate.learning.data import Flags, Rows
from acclimate.learning.stats.significance import effective_rows


def duplicates(x: Rows, held_out: Rows) -> Flags:
    """Which rows (N,) equal, bit for bit, an earlier row of x or any held-out row."""
    seen = {_content(row) for row in held_out}
    out = np.zeros(len(x), dtype=bool)
    for index, row in enumerate(x):
        key = _content(row)
        out[index] = key in seen
        seen.add(key)
    return out


def independent_rows(rows: Rows) -> float:
    """As many rows without copies would say as much about a mean; all of them without copies."""
    return effective_rows((_content(row) for row in rows), len(rows))


def _content(row: NDArray[Any]) -> bytes | str:
    """What two equal rows have in common: an array of strings holds only pointers."""
    return str(row[0]) if row.dtype == object else row.tobytes()
