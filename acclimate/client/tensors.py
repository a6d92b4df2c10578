"""Rows as JSON: from numpy arrays, without importing numpy, or from lists, nested or flat."""

from __future__ import annotations

from typing import Any

from acclimate.client.errors import Json


def plain(rows: Any) -> Any:
    """The rows as lists."""
    return rows.tolist() if hasattr(rows, "tolist") else rows


def tensor(rows: Any) -> Json:
    """Datatype, shape and flat data of rows (N, *shape).

    The datatype is BYTES for strings (N,) or (N, 1), INT64 for whole numbers, else FP32.
    """
    if hasattr(rows, "tolist"):
        shape = list(rows.shape)
        data = rows.reshape(-1).tolist()
    else:
        shape = [len(rows)]
        data = list(rows)
        while data and isinstance(data[0], list):
            shape.append(len(data[0]))
            data = [number for part in data for number in part]
    kinds = set(map(type, data))
    if kinds == {str}:
        return {"datatype": "BYTES", "shape": [len(data), 1], "data": data}
    return {"datatype": "INT64" if kinds == {int} else "FP32", "shape": shape, "data": data}
