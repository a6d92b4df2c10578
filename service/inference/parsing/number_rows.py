"""Rows of numbers from parsed JSON: vectors and images as float32, sequences as int64, never
rounded.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from itertools import chain
from typing import Any

import numpy as np

from acclimate.learning.data import Floats, Integers
from service.errors import bad_request

FLOAT_DATATYPES = ("FP32", "FP64", "UINT8", "INT32", "INT64")
ID_DATATYPES = ("INT64", "INT32", "UINT8")
# As a float, the upper limit of INT64 is one too high; a value there is rounded to 32 bits anyway.
WHOLE = {"UINT8": (0.0, 255.0), "INT32": (-(2.0**31), 2.0**31 - 1), "INT64": (-(2.0**63), 2.0**63)}
LARGEST_ID = {"UINT8": 2**8 - 1, "INT32": 2**31 - 1, "INT64": 2**63 - 1}
EXACT_FLOAT = 2.0**53
"""Above it a float represents several whole numbers."""
NO_NUMBER = "every entry must be a number: no null, text, true or false"

Position = tuple[int, ...]


def floats(rows: list[Any], shape: tuple[int, ...], pointer: str, datatype: str = "FP32") -> Floats:
    """The nested rows as (N, *shape) float32. Raises the 400 refusal with the position of the first
    wrong entry.
    """
    return _float32(_entries(rows, shape, pointer), (len(rows), *shape), pointer, datatype)


def flat_floats(data: list[Any], shape: tuple[int, ...], pointer: str, datatype: str) -> Floats:
    """The flat numbers of a tensor in its shape, float32. Raises as `floats` does."""
    entries = _entries(data, (), pointer)
    _count(entries, shape, pointer)
    return _float32(entries, shape, pointer, datatype, flat=True)


def sequences(rows: list[Any], length: int, pointer: str) -> Integers:
    """The lists of ids as (N, length) int64, padded with 0 at the end. Raises as `floats` does."""
    for index, row in enumerate(rows):
        if not isinstance(row, list) or len(row) > length:
            has = f"has {len(row)} entries" if isinstance(row, list) else "is not a list"
            raise bad_request(f"{pointer}/{index}", f"{has}, a sequence has at most {length}")
    lengths = np.array([len(row) for row in rows], dtype=np.int64)
    ends = np.cumsum(lengths)

    def position(index: int) -> Position:
        row = int(np.searchsorted(ends, index, side="right"))
        return row, index - int(ends[row] - lengths[row])

    ids = np.zeros((len(rows), length), dtype=np.int64)
    ids[np.arange(length) < lengths[:, None]] = _ids(
        list(chain.from_iterable(rows)), "INT64", pointer, position
    )
    return ids


def whole_sequences(rows: list[Any], length: int, pointer: str, datatype: str) -> Integers:
    """The lists of exactly `length` ids as (N, length) int64. Raises as `floats` does."""
    entries = _entries(rows, (length,), pointer)
    return _ids(entries, datatype, pointer, lambda index: divmod(index, length)).reshape(
        len(rows), length
    )


def flat_sequences(
    data: list[Any], shape: tuple[int, ...], pointer: str, datatype: str
) -> Integers:
    """The flat ids of a tensor in its shape, int64. Raises as `floats` does."""
    _count(data, shape, pointer)
    return _ids(data, datatype, pointer, lambda index: (index,)).reshape(shape)


def _entries(rows: list[Any], sides: tuple[int, ...], pointer: str) -> list[Any]:
    """The numbers of rows (N, *sides) in row-major order. Raises as `floats` does.

    Each axis is checked by functions in C; only a misfit is searched in Python.
    """
    level = rows
    for side in sides:
        if not (set(map(type, level)) == {list} and set(map(len, level)) == {side}):
            break
        level = list(chain.from_iterable(level))
    else:
        if set(map(type, level)) <= {int, float}:
            return level
    found = _first_misfit(rows, sides)
    assert found is not None
    position, has = found
    detail = NO_NUMBER if has is None else f"{has}, a row has shape {list(sides)}"
    raise bad_request(_at(pointer, position), detail)


def _first_misfit(items: list[Any], sides: tuple[int, ...]) -> tuple[Position, str | None] | None:
    """The position of the first list with a wrong length and what it has instead; or of the first
    entry that is not a number and None.
    """
    for index, item in enumerate(items):
        if not sides:
            if type(item) not in (int, float):
                return (index,), None
        elif not isinstance(item, list) or len(item) != sides[0]:
            has = f"has {len(item)} entries" if isinstance(item, list) else "is not a list"
            return (index,), has
        elif (found := _first_misfit(item, sides[1:])) is not None:
            return (index, *found[0]), found[1]
    return None


def _count(data: list[Any], shape: tuple[int, ...], pointer: str) -> None:
    needed = math.prod(shape)
    if len(data) != needed:
        raise bad_request(
            pointer, f"has {len(data)} numbers, the shape {list(shape)} needs {needed}"
        )


def _float32(
    entries: list[Any], shape: tuple[int, ...], pointer: str, datatype: str, *, flat: bool = False
) -> Floats:
    exact = np.array(entries, dtype=np.float64).reshape(-1 if flat else shape)
    with np.errstate(over="ignore"):
        x = exact.astype(np.float32)
    _refuse(~np.isfinite(x), pointer, "is not finite in 32 bits")
    if datatype in WHOLE:
        low, high = WHOLE[datatype]
        # Rounding would change the input silently.
        bad = (exact != np.floor(exact)) | (exact < low) | (exact > high)
        _refuse(bad, pointer, f"is not a number of the datatype {datatype}")
    return x.reshape(shape)


def _refuse(bad: Any, pointer: str, detail: str) -> None:
    if bad.any():
        raise bad_request(_at(pointer, np.argwhere(bad)[0].tolist()), detail)


def _ids(entries: list[Any], datatype: str, pointer: str, position: Any) -> Integers:
    """The ids as int64. They are not converted to floats, which cannot represent every id."""
    largest = LARGEST_ID[datatype]
    if set(map(type, entries)) <= {int}:
        try:
            ids = np.array(entries, dtype=np.int64)
        except OverflowError:
            ids = np.array([-1])
        if not ids.size or (ids.min() >= 0 and ids.max() <= largest):
            return ids
    for index, entry in enumerate(entries):
        problem = _no_id(entry, largest, datatype)
        if problem is not None:
            raise bad_request(_at(pointer, position(index)), problem)
    return np.array([int(entry) for entry in entries], dtype=np.int64)


def _no_id(entry: Any, largest: int, datatype: str) -> str | None:
    """Why the entry is not a whole number in 0..largest; None when it is."""
    if type(entry) not in (int, float):
        return NO_NUMBER
    if entry < 0 or entry != math.floor(entry):
        return "is not an id: ids are whole numbers from 0"
    if entry > largest:
        return f"is above {largest}, the largest {datatype}"
    if isinstance(entry, float) and entry > EXACT_FLOAT:
        return "is not exact as a float: write it without decimal point and exponent"
    return None


def _at(pointer: str, position: Iterable[int]) -> str:
    return "/".join([pointer, *map(str, position)])
