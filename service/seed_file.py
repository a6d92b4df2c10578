"""Reads an uploaded seed set: .npz with x and y, or .parquet and .csv with a column y and one column a number. No pickle."""

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

from acclimate.learning.values import InputSpec, Problem
from service.errors import Refusal

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
    """(x, y) as the file has them; what they must be is checked by `learning.seed`. Raises the 422 refusal."""
    ending = name.rpartition(".")[2].lower()
    try:
        if ending == "npz":
            return _npz(data)
        if ending == "csv":
            return _table(pa.csv.read_csv(io.BytesIO(data)), spec)
        if ending == "parquet":
            return _table(pa.parquet.read_table(io.BytesIO(data)), spec)
    except UNREADABLE as error:
        raise _wrong(f"this is not a readable .{ending} file: {error}") from None
    raise _wrong(f"{name!r} is not .npz, .parquet or .csv")


def _npz(data: bytes) -> tuple[Any, Any]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        if sum(entry.file_size for entry in archive.infolist()) > MOST_UNPACKED_BYTES:
            raise _wrong(f"it unpacks to more than {MOST_UNPACKED_BYTES // 2**30} GiB")
    with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
        for needed in ("x", "y"):
            if needed not in arrays:
                raise _wrong(f"the array {needed!r} is missing; it has {', '.join(sorted(arrays)) or 'none'}")
        return arrays["x"], arrays["y"]


def _table(table: Any, spec: InputSpec) -> tuple[Any, Any]:
    names = table.column_names
    if "y" not in names:
        raise _wrong(f"the column 'y' is missing; it has {', '.join(names[:20])}")
    columns = [table.column(name).to_numpy() for name in names if name != "y"]
    if len(columns) != spec.size:
        raise _wrong(f"{len(columns)} columns besides y, a row has {spec.size} numbers")
    return np.column_stack(columns).reshape(-1, *spec.shape), table.column("y").to_numpy()


def _wrong(detail: str) -> Refusal:
    return Refusal("invalid", "the seed set is wrong", problems=[Problem("#/seed", detail)])
