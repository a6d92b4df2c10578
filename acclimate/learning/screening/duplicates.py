"""Rows that come more than once: traffic where the seed set has them too. numpy only."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from acclimate.learning.data import Flags, Rows
from acclimate.learning.stats.significance import effective_rows


def duplicates(x: Rows, held_out: Rows, trusted: Rows) -> Flags:
    """Which rows (N,) are copies beyond what the seed set has of one row, bit for bit.

    As large a share of the window may be one row, held-out copies counted, as of the trusted rows
    (K, *shape) is their commonest: mail that comes twice is traffic where the seed's does.
    """
    seen = Counter(_content(row) for row in held_out)
    most = max(Counter(_content(row) for row in trusted).values(), default=1)
    rows = len(x) + len(held_out)
    allowed = most if most == 1 else max(most, most * rows // max(1, len(trusted)))
    out = np.zeros(len(x), dtype=bool)
    for index, row in enumerate(x):
        key = _content(row)
        out[index] = seen[key] >= allowed
        seen[key] += 1
    return out


def independent_rows(rows: Rows) -> float:
    """As many rows without copies would say as much about a mean; all of them without copies."""
    return effective_rows((_content(row) for row in rows), len(rows))


def _content(row: NDArray[Any]) -> bytes | str:
    """What two equal rows have in common: an array of strings holds only pointers."""
    return str(row[0]) if row.dtype == object else row.tobytes()
