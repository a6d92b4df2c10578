"""Splits rows into requests within the service's limits of rows and bytes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

REQUEST_ROWS = 256
REQUEST_BYTES = 7 * 2**20
"""Below the default limit of 8 MiB."""
NUMBER_BYTES = 25
"""The longest number in JSON, with its comma: -2.2250738585072014e-308."""
CHARACTER_BYTES = 6
"""The longest character in JSON: \\u0000."""


def cut(rows: Sequence[Any] | NDArray[Any]) -> Iterator[slice]:
    """Yield the slices of rows for as few requests as possible; a row above the limit of bytes is
    alone.
    """
    start, size = 0, 0
    for index in range(len(rows)):
        row_bytes = most_bytes(rows[index])
        if index > start and (index - start == REQUEST_ROWS or size + row_bytes > REQUEST_BYTES):
            yield slice(start, index)
            start = index
            size = 0
        size += row_bytes
    if start < len(rows):
        yield slice(start, len(rows))


def most_bytes(row: Any) -> int:
    """An upper bound of the row's bytes in JSON.

    Args:
        row: a string, a number, an array of numbers, or a list of those.
    """
    if isinstance(row, str):
        return CHARACTER_BYTES * len(row) + 3
    if isinstance(row, list):
        return sum(map(most_bytes, row)) + 3
    if isinstance(row, np.ndarray):
        return most_bytes(row.tolist()) if row.dtype.kind == "U" else row.size * NUMBER_BYTES
    return NUMBER_BYTES
