"""Reads rows and labels from files: csv, npy, npz, parquet, jsonl."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from acclimate.client.errors import FileError

SUFFIXES = (".csv", ".npy", ".npz", ".parquet", ".jsonl")
NOT_INPUT = ("y", "t", "label", "class")
"""Columns of a table that are not part of a row."""
TEXT_COLUMNS = ("x", "text")
LABEL_KEYS = ("prediction_id", "row", "label", "right", "source", "label_time")
TRUTHS = {"true": True, "false": False}


def read_rows(path: Path, kind: str = "vector") -> list[Any]:
    """The rows of a file, in file order, not validated.

    Numbers: each row is a list, nested as in the file. npy: the array's first axis; npz: its `x`;
    parquet: its column `x`, else all columns except y, t, label, class; csv: the same with a
    header, or every column without one; jsonl: one array per line, or an object with `x`. Text in a
    numeric csv stays text, so that only its row is refused.

    Text: each row is a string. npy, npz: a unicode array; parquet and csv: the column `x` or
    `text`, or the only column of a csv without a header; jsonl: one string per line, or an object
    with `x` or `text`.

    Args:
        kind: the model's kind of input.

    Raises `FileError`.
    """
    match _suffix(path):
        case ".npy":
            return _listed(path, _load(path), kind)
        case ".npz":
            with _load(path) as arrays:
                if "x" not in arrays.files:
                    raise FileError(
                        f"{path}: no array x; it holds {', '.join(arrays.files) or 'nothing'}"
                    )
                return _listed(path, arrays["x"], kind)
        case ".parquet":
            return _rows_of_columns(path, _parquet(path), kind)
        case ".csv":
            return _csv_rows(path, kind)
        case _:
            return [_row_of_line(path, number, value, kind) for number, value in _json_lines(path)]


def read_labels(path: Path) -> list[dict[str, Any]]:
    """The labels of a file, each `{"prediction_id", "row", "label", "source"}`.

    `source` is "file" where the file has none; `label_time` is kept where it has one. A whole
    number is a class index; an empty label (null) means none of the classes. An entry may have
    `right` (true or false) instead of `label`. Raises `FileError`.
    """
    suffix = _suffix(path)
    if suffix == ".npy":
        raise FileError(f"{path}: labels need named columns; use csv, npz, parquet or jsonl")
    if suffix == ".npz":
        with _load(path) as arrays:
            columns = {name: arrays[name].tolist() for name in arrays.files}
        records = _records(columns)
    elif suffix == ".parquet":
        records = _records(_parquet(path))
    elif suffix == ".csv":
        with path.open(newline="", encoding="utf-8-sig") as lines:
            records = list(csv.DictReader(lines))
    else:
        records = [value for _, value in _json_lines(path)]
    return [_label(path, number, record) for number, record in enumerate(records)]


def shaped(row: Any, shape: Sequence[int], kind: str = "vector") -> tuple[Any, str | None]:
    """The row in the model's kind and shape; or None and the reason why it does not fit.

    A flat row of numbers is reshaped; a sequence may be shorter than the shape.
    """
    if kind == "text":
        return _text(row)
    if kind == "sequence":
        return _sequence(row, shape[0])
    try:
        numbers = np.asarray(row, dtype=np.float64)
    except (TypeError, ValueError):
        return None, "not all entries are numbers"
    if numbers.size != math.prod(shape):
        return None, f"has {numbers.size} numbers, the model takes {math.prod(shape)}"
    if not np.isfinite(numbers).all():
        return None, "holds NaN or infinity"
    folded: list[Any] = numbers.reshape(tuple(shape)).tolist()
    return folded, None


def _text(row: Any) -> tuple[str | None, str | None]:
    text = row[0] if isinstance(row, list) and len(row) == 1 else row
    if not isinstance(text, str):
        return None, "not a string"
    try:
        text.encode()
    except UnicodeEncodeError:
        return None, "not text in UTF-8"
    return text, None


def _sequence(row: Any, length: int) -> tuple[list[int] | None, str | None]:
    """The ids as whole numbers; only those that are floats in the file are converted."""
    if not isinstance(row, list):
        return None, "not a list of ids"
    if len(row) > length:
        return None, f"has {len(row)} ids, the model takes at most {length}"
    if not all(
        type(value) is int or (isinstance(value, float) and value.is_integer()) for value in row
    ):
        return None, "not all ids are whole numbers"
    return [int(value) for value in row], None


def _suffix(path: Path) -> str:
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise FileError(f"{path}: unknown file type; known: {', '.join(SUFFIXES)}")
    if not path.is_file():
        raise FileError(f"{path}: no such file")
    return suffix


def _load(path: Path) -> Any:
    try:
        return np.load(path, allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise FileError(f"{path}: not a numpy file, or one with Python objects: {error}") from None


def _listed(path: Path, array: NDArray[Any], kind: str) -> list[Any]:
    if kind == "text":
        if array.dtype.kind != "U" or array.ndim < 1:
            raise FileError(
                f"{path}: the model reads text, which needs a unicode array; this is {array.dtype}"
            )
    elif array.ndim < 2:
        raise FileError(
            f"{path}: needs one axis of rows and at least one axis of numbers; the shape is "
            f"{array.shape}"
        )
    rows: list[Any] = array.tolist()
    return rows


def _parquet(path: Path) -> dict[str, list[Any]]:
    import pyarrow.parquet

    try:
        columns: dict[str, list[Any]] = pyarrow.parquet.read_table(path).to_pydict()
    except (OSError, ValueError) as error:
        raise FileError(f"{path}: not parquet: {error}") from None
    return columns


def _rows_of_columns(path: Path, columns: Mapping[str, list[Any]], kind: str) -> list[Any]:
    if kind == "text":
        return list(columns[_text_column(path, list(columns))])
    if "x" in columns:
        return list(columns["x"])
    inputs = [values for name, values in columns.items() if name not in NOT_INPUT]
    return [list(row) for row in zip(*inputs, strict=True)]


def _text_column(path: Path, names: Sequence[str]) -> str:
    found = [name for name in names if name in TEXT_COLUMNS]
    if len(found) != 1:
        raise FileError(f"{path}: needs one column named x or text; it has {', '.join(names)}")
    return found[0]


def _csv_rows(path: Path, kind: str) -> list[Any]:
    with path.open(newline="", encoding="utf-8-sig") as lines:
        table = list(csv.reader(lines))
    if kind == "text":
        return _csv_texts(path, table)
    table = [line for line in table if line]
    if not table:
        return []
    keep = range(len(table[0]))
    if any(isinstance(_number(text), str) for text in table[0]):
        header = [name.strip() for name in table.pop(0)]
        keep = [index for index, name in enumerate(header) if name not in NOT_INPUT]  # type: ignore[assignment]
    rows = [[_number(line[index]) if index < len(line) else "" for index in keep] for line in table]
    return [_without_end(row) for row in rows] if kind == "sequence" else rows


def _csv_texts(path: Path, table: list[list[str]]) -> list[Any]:
    if not table:
        return []
    header = [name.strip() for name in table[0]]
    if len(header) == 1 and header[0] not in TEXT_COLUMNS:
        return ["".join(line) if len(line) < 2 else line for line in table]
    column = header.index(_text_column(path, header))
    # An empty line is an empty string where there is one column; else it is ignored.
    lines = [line for line in table[1:] if line or len(header) == 1]
    return [line[column] if column < len(line) else "" for line in lines]


def _without_end(row: list[Any]) -> list[Any]:
    """The row without the empty cells at its end, which pad short sequences."""
    end = len(row)
    while end and row[end - 1] == "":
        end -= 1
    return row[:end]


def _number(text: str) -> float | str:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _json_lines(path: Path) -> Iterator[tuple[int, Any]]:
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            if line.strip():
                try:
                    yield number, json.loads(line)
                except ValueError as error:
                    raise FileError(f"{path}: line {number} is not JSON: {error}") from None


def _row_of_line(path: Path, number: int, value: Any, kind: str) -> Any:
    if kind == "text":
        row = value.get("x", value.get("text")) if isinstance(value, dict) else value
        if not isinstance(row, str | list):
            raise FileError(
                f"{path}: line {number} is neither a string nor an object with a string x or text"
            )
        return row
    row = value.get("x") if isinstance(value, dict) else value
    if not isinstance(row, list):
        raise FileError(f"{path}: line {number} is neither an array nor an object with an array x")
    return row


def _records(columns: Mapping[str, list[Any]]) -> list[dict[str, Any]]:
    named = {name: columns[name] for name in LABEL_KEYS if name in columns}
    return [dict(zip(named, values, strict=True)) for values in zip(*named.values(), strict=True)]


def _label(path: Path, number: int, record: Any) -> dict[str, Any]:
    if not isinstance(record, Mapping) or not (
        {"prediction_id", "row"} <= set(record) and {"label", "right"} & set(record)
    ):
        raise FileError(f"{path}: entry {number} lacks prediction_id, row, or label or right")
    try:
        row = int(record["row"])
    except (TypeError, ValueError):
        raise FileError(
            f"{path}: entry {number}: row {record['row']!r} is not a whole number"
        ) from None
    found = {
        "prediction_id": str(record["prediction_id"]),
        "row": row,
        **_says(path, number, record),
        "source": str(record.get("source") or "file"),
    }
    when = record.get("label_time")
    if when:
        found["label_time"] = when.isoformat() if isinstance(when, datetime) else str(when)
    return found


def _says(path: Path, number: int, record: Mapping[str, Any]) -> dict[str, Any]:
    """The entry's label, or whether the answer was right. Raises `FileError`.

    An empty label means none of the classes only where the entries have no `right`.
    """
    label, right = record.get("label"), record.get("right")
    if right in (None, ""):
        if "right" in record and label in (None, ""):
            raise FileError(f"{path}: entry {number} has neither label nor right: leave it out")
        if isinstance(label, str) and path.suffix.lower() == ".csv":
            label = None if label == "" else int(label) if label.isdecimal() else label
        return {"label": label}
    if label not in (None, ""):
        raise FileError(f"{path}: entry {number} has label and right: give one of them")
    if isinstance(right, str) and right.lower() in TRUTHS:
        right = TRUTHS[right.lower()]
    if not isinstance(right, bool):
        raise FileError(f"{path}: entry {number}: right {right!r} is not true or false")
    return {"right": right}
