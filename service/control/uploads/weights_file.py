"""Reads uploaded weights, a safetensors file. Its header is checked against its size before any
tensor is read.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from acclimate.learning.spec import Problem
from service.errors import Refusal

MOST_HEADER_BYTES = 16 * 2**20
MOST_NAME_CHARACTERS = 256
MOST_AXES = 8
# numpy's name and the bytes of each dtype of safetensors; numpy itself lacks bfloat16.
TYPES = {
    **{
        "F64": ("float64", 8),
        "F32": ("float32", 4),
        "F16": ("float16", 2),
        "BOOL": ("bool", 1),
        "BF16": ("bfloat16", 2),
    },
    **{f"I{bits}": (f"int{bits}", bits // 8) for bits in (8, 16, 32, 64)},
    **{f"U{bits}": (f"uint{bits}", bits // 8) for bits in (8, 16, 32, 64)},
}


@dataclass(frozen=True, kw_only=True)
class WeightsFile:
    """The tensors of one file: numpy's name of the type and the shape, by tensor name."""

    header: dict[str, tuple[str, tuple[int, ...]]]
    _starts: dict[str, int] = field(repr=False)
    _data: bytes = field(repr=False)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The tensors as read-only arrays over the file's bytes, by name.

        Raises `TypeError` for a type that numpy lacks.
        """
        return {name: self._array(name, *entry) for name, entry in self.header.items()}

    def _array(self, name: str, kind: str, shape: tuple[int, ...]) -> NDArray[Any]:
        stored = np.dtype(kind).newbyteorder("<")
        return np.frombuffer(self._data, stored, math.prod(shape), self._starts[name]).reshape(
            shape
        )


def read(data: bytes) -> WeightsFile:
    """Read the header and check that the tensors exactly fill the file. Raises the 422 refusal."""
    length = int.from_bytes(data[:8], "little")
    if len(data) < 8 or length > len(data) - 8:
        raise wrong(f"it is truncated: it has {len(data)} bytes, its header alone needs {length}")
    if length > MOST_HEADER_BYTES:
        raise wrong(f"its header has {length} bytes, at most {MOST_HEADER_BYTES}")
    try:
        document = orjson.loads(data[8 : 8 + length])
    except orjson.JSONDecodeError as error:
        raise wrong(f"it is not a safetensors file: its header is not JSON ({error})") from None
    if not isinstance(document, dict):
        raise wrong("it is not a safetensors file: its header is not an object")
    document.pop("__metadata__", None)
    if not document:
        raise wrong("it has no tensors")
    entries = {name: _entry(name, entry) for name, entry in document.items()}
    _check_offsets(entries, len(data) - 8 - length)
    return WeightsFile(
        header={name: (kind, shape) for name, (kind, shape, _, _) in entries.items()},
        _starts={name: 8 + length + start for name, (_, _, start, _) in entries.items()},
        _data=data,
    )


Entry = tuple[str, tuple[int, ...], int, int]


def _entry(name: str, entry: Any) -> Entry:
    """Type, shape, first byte and end of one tensor."""
    if len(name) > MOST_NAME_CHARACTERS:
        raise wrong(f"a tensor's name has {len(name)} characters, at most {MOST_NAME_CHARACTERS}")
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise wrong(f"{name!r} needs dtype, shape and data_offsets")
    kind = entry["dtype"]
    shape = entry["shape"]
    offsets = entry["data_offsets"]
    if not isinstance(kind, str) or kind not in TYPES:
        raise wrong(f"{name!r} has an unknown dtype; known: {', '.join(TYPES)}")
    if not _whole(shape) or len(shape) > MOST_AXES:
        raise wrong(f"the shape of {name!r} is not a list of at most {MOST_AXES} whole numbers")
    if not _whole(offsets) or len(offsets) != 2:
        raise wrong(f"the data_offsets of {name!r} are not two whole numbers")
    numpy_name, size = TYPES[kind]
    needed = math.prod(shape) * size
    if offsets[1] - offsets[0] != needed:
        raise wrong(
            f"{name!r} is {numpy_name}{shape} and needs {needed} bytes, its data_offsets give "
            f"{offsets}"
        )
    return numpy_name, tuple(shape), offsets[0], offsets[1]


def _whole(values: Any) -> bool:
    return isinstance(values, list) and all(type(value) is int and value >= 0 for value in values)


def _check_offsets(entries: dict[str, Entry], size: int) -> None:
    """Raise the 422 refusal when the tensors do not fill the file without gaps and overlaps."""
    end = 0
    for name, (_, _, start, stop) in sorted(entries.items(), key=lambda item: item[1][2:]):
        if start != end:
            raise wrong(f"{name!r} begins at byte {start}, the tensor before it ends at byte {end}")
        end = stop
    if end != size:
        raise wrong(f"it is damaged or truncated: its tensors need {end} bytes, it has {size}")


def wrong(detail: str) -> Refusal:
    """The 422 refusal of the weights."""
    return Refusal("invalid", "the weights are wrong", problems=[Problem("#/weights", detail)])
