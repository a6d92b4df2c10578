"""How many rows go into one request: a service takes only so many, and only so many bytes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

REQUEST_ROWS = 256
REQUEST_BYTES = 7 * 2**20
"""Below the 8 MiB that a service takes where it is not told otherwise."""
NUMBER_BYTES = 25
"""The longest number in JSON with its comma: -2.2250738585072014e-308."""
CHARACTER_BYTES = 6
"""The longest character in JSON: \\u0000."""


def cut(rows: Sequence[Any] | NDArray[Any]) -> Iterator[slice]:
    """The rows in their order, as few requests as rows and bytes allow; a row that is too large
    alone goes alone.
    """
    start, size = 0, 0
    for index in range(len(rows)):
        row_bytes = most_bytes(rows[index])
        if index > start and (index - start == REQUEST_ROWS or size + row_bytes > REQUEST_BYTES):
            yield slice(start, index)
            start, size = index, 0
        size += row_bytes
    if start < len(rows):
        yield slice(start, len(rows))


def most_bytes(row: Any) -> int:
    """No JSON of this row is longer: a string, a number, an array of numbers, or a list of
    those.
    """
    if isinstance(row, str):
        return CHARACTER_BYTES * len(row) + 3
    if isinstance(row, list):
        return sum(map(most_bytes, row)) + 3
    if isinstance(row, np.ndarray):
        return most_bytes(row.tolist()) if row.dtype.kind == "U" else row.size * NUMBER_BYTES
    return NUMBER_BYTES
