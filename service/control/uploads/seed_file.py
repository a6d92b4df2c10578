"""Reads an uploaded seed set: .npz with x and y, or .parquet and .csv with a column y and the
input. Nothing is unpickled.

In a table, the input is one column per number, in row-major order; for text it is one column of
strings named x or text.
"""

from __future__ import annotations

import io
import tokenize
import zipfile
import zlib
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from acclimate.learning.spec import InputSpec, Problem
from service.errors import Refusal
from service.inference.parsing.text_rows import MOST_BYTES

TEXT_COLUMNS = ("x", "text")
LARGEST_CHARACTER = 0x10FFFF
SURROGATES = (0xD800, 0xDFFF)
MOST_UNPACKED_BYTES = 2 * 2**30
UNREADABLE = (
    ValueError,
    KeyError,
    TypeError,
    SyntaxError,
    OSError,
    EOFError,
    MemoryError,
    RuntimeError,
    zipfile.BadZipFile,
    zlib.error,
    tokenize.TokenError,
    pa.ArrowException,
)


def read(name: str, data: bytes, spec: InputSpec) -> tuple[Any, Any]:
    """The arrays (x, y) of the file; `learning.seed_split` checks their content.

    Text is an array of str objects, none longer than in a request. Raises the 422 refusal.

    Args:
        name: the file's name, whose ending is its format.
    """
    ending = name.rpartition(".")[2].lower()
    try:
        if ending == "npz":
            x, y = _npz(data)
        elif ending == "csv":
            x, y = _table(_csv(data, spec), spec)
        elif ending == "parquet":
            x, y = _table(pa.parquet.read_table(io.BytesIO(data)), spec)
        else:
            raise _wrong(f"{name!r} is not .npz, .parquet or .csv")
        return (_strings(x) if spec.kind == "text" else x), y
    except UNREADABLE as error:
        raise _wrong(f"this is not a readable .{ending} file: {error}") from None


def _npz(data: bytes) -> tuple[Any, Any]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        if sum(entry.file_size for entry in archive.infolist()) > MOST_UNPACKED_BYTES:
            raise _wrong(f"it decompresses to more than {MOST_UNPACKED_BYTES // 2**30} GiB")
    with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
        for needed in ("x", "y"):
            if needed not in arrays:
                raise _wrong(
                    f"the array {needed!r} is missing; it has {', '.join(sorted(arrays)) or 'none'}"
                )
        return arrays["x"], arrays["y"]


def _csv(data: bytes, spec: InputSpec) -> Any:
    if spec.kind != "text":
        return pa.csv.read_csv(io.BytesIO(data))
    return pa.csv.read_csv(
        io.BytesIO(data),
        parse_options=pa.csv.ParseOptions(newlines_in_values=True),
        # "007", "NA" and empty cells are text.
        convert_options=pa.csv.ConvertOptions(
            column_types=dict.fromkeys(TEXT_COLUMNS, pa.string()), strings_can_be_null=False
        ),
    )


def _table(table: Any, spec: InputSpec) -> tuple[Any, Any]:
    names = table.column_names
    if "y" not in names:
        raise _wrong(f"the column 'y' is missing; it has {', '.join(names[:20])}")
    y = table.column("y").to_numpy()
    if spec.kind == "text":
        return _text_column(table), y
    columns = [table.column(name).to_numpy() for name in names if name != "y"]
    if len(columns) != spec.size:
        raise _wrong(f"{len(columns)} columns besides y, a row has {spec.size} numbers")
    return np.column_stack(columns).reshape(-1, *spec.shape), y


def _text_column(table: Any) -> Any:
    found = [name for name in table.column_names if name in TEXT_COLUMNS]
    if len(found) != 1:
        raise _wrong(
            f"needs one column of text, named x or text; it has "
            f"{', '.join(table.column_names[:20])}"
        )
    column = table.column(found[0])
    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    if not (
        pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
    ):
        raise _wrong(f"the column {found[0]!r} holds {column.type}, not strings")
    return np.array(column.to_pylist(), dtype=object)


def _strings(x: Any) -> Any:
    """The array with its strings as str objects. Raises the 422 refusal."""
    if x.dtype.kind == "U" and x.size:
        _refuse_invalid_characters(x)
    elif x.dtype != object:
        return x
    strings = np.empty(x.shape, dtype=object)
    for row, text in enumerate(x.reshape(-1).tolist()):
        if not isinstance(text, str):
            raise _wrong(f"row {row} is not a string; an empty string is allowed", "#/seed/x")
        size = len(text.encode())
        if size > MOST_BYTES:
            raise _wrong(f"row {row} has {size} bytes, at most {MOST_BYTES}", "#/seed/x")
        strings.flat[row] = text
    return strings


def _refuse_invalid_characters(x: Any) -> None:
    """Raise the 422 refusal for code points that are no characters, and for lone surrogates."""
    codes = (
        np.ascontiguousarray(x, dtype=x.dtype.newbyteorder("=")).view(np.uint32).reshape(x.size, -1)
    )
    bad = ((codes > LARGEST_CHARACTER) | ((codes >= SURROGATES[0]) & (codes <= SURROGATES[1]))).any(
        axis=1
    )
    if bad.any():
        raise _wrong(f"row {int(np.flatnonzero(bad)[0])} is not text in UTF-8", "#/seed/x")


def _wrong(detail: str, pointer: str = "#/seed") -> Refusal:
    return Refusal("invalid", "the seed set is wrong", problems=[Problem(pointer, detail)])
