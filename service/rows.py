"""Reads rows out of request bodies. One bad row refuses the whole request, with where it is and what would be right."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import orjson

from acclimate.learning.values import Floats, InputSpec, Problem
from service.errors import Refusal

MOST_ID_CHARACTERS = 128
DATATYPES = ("FP32", "FP64", "UINT8", "INT32", "INT64")
# Compared in 32-bit floats, in which 2**31 - 1 and 2**63 - 1 are one higher.
INTEGERS = {"UINT8": (0.0, 255.0), "INT32": (-(2.0**31), 2.0**31), "INT64": (-(2.0**63), 2.0**63)}
OUTPUTS = ("probabilities", "label", "class", "confidence", "abstain")


@dataclass(frozen=True, kw_only=True)
class Asked:
    """The rows x (N, *shape) of one request, and what it wants besides an answer."""

    x: Floats
    log: bool | None = None
    """None where the request does not say."""
    subject: str | None = None
    id: str | None = None
    outputs: tuple[str, ...] = field(default=OUTPUTS)


def read_predict(body: bytes, spec: InputSpec, *, most_rows: int) -> Asked:
    """A body of `/api/v1 .../predict`: `{"rows": [...], "log"?, "subject"?}`."""
    document = _document(body, ("rows", "log", "subject"))
    if "rows" not in document:
        raise _wrong("#/rows", f"is missing: send a list of rows of shape {list(spec.shape)}")
    return Asked(
        x=_rows(document["rows"], body, spec, "#/rows", most_rows),
        log=_flag(document.get("log"), "#/log"),
        subject=_name(document.get("subject"), "#/subject"),
    )


def read_infer(body: bytes, spec: InputSpec, *, most_rows: int) -> Asked:
    """A JSON body of `/v2 .../infer`: one input tensor named `input`, nested or flat."""
    document = _document(body, ("id", "parameters", "inputs", "outputs"))
    parameters = document.get("parameters", {})
    if not isinstance(parameters, dict):
        raise _wrong("#/parameters", "must be an object")
    return Asked(
        x=_tensor(document.get("inputs"), body, spec, most_rows),
        id=_name(document.get("id"), "#/id"),
        log=_flag(parameters.get("log"), "#/parameters/log"),
        subject=_name(parameters.get("subject"), "#/parameters/subject"),
        outputs=_outputs(document.get("outputs")),
    )


def _document(body: bytes, known: tuple[str, ...]) -> dict[str, Any]:
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise _wrong("#", f"not JSON (NaN and Infinity are not): {error}") from None
    if not isinstance(document, dict):
        raise _wrong("#", "must be an object")
    for key in document:
        if key not in known:
            raise _wrong("#", f"unknown member {key[:64]!r}; known: {', '.join(known)}")
    return document


def _tensor(inputs: Any, body: bytes, spec: InputSpec, most_rows: int) -> Floats:
    if not isinstance(inputs, list) or len(inputs) != 1 or not isinstance(inputs[0], dict):
        raise _wrong("#/inputs", "give exactly one input tensor, named input")
    tensor = inputs[0]
    if tensor.get("name") != "input":
        raise _wrong("#/inputs/0/name", "the one input is named input")
    if tensor.get("datatype") not in DATATYPES:
        raise _wrong("#/inputs/0/datatype", f"must be one of {', '.join(DATATYPES)}")
    shape, data = tensor.get("shape"), tensor.get("data")
    want = [-1, *spec.shape]
    if not isinstance(shape, list) or not all(type(side) is int and side >= 0 for side in shape):
        raise _wrong("#/inputs/0/shape", f"must be a list of whole numbers, here {want}")
    if shape[1:] != list(spec.shape) or not shape:
        raise _wrong("#/inputs/0/shape", f"is {shape}, must be {want}")
    if not isinstance(data, list):
        raise _wrong("#/inputs/0/data", "must be a list, nested or flat, row by row")
    _count(shape[0], "#/inputs/0/shape", most_rows)
    if data and not isinstance(data[0], list) and spec.shape:
        flat = _numbers(data, body, "#/inputs/0/data")
        if flat.size != shape[0] * spec.size:
            raise _wrong("#/inputs/0/data", f"holds {flat.size} numbers, shape {shape} needs {shape[0] * spec.size}")
        return _whole(_finite(flat, "#/inputs/0/data"), tensor["datatype"]).reshape(shape)
    x = _rows(data, body, spec, "#/inputs/0/data", most_rows)
    if len(x) != shape[0]:
        raise _wrong("#/inputs/0/data", f"holds {len(x)} rows, shape says {shape[0]}")
    return _whole(x, tensor["datatype"])


def _rows(rows: Any, body: bytes, spec: InputSpec, pointer: str, most_rows: int) -> Floats:
    if not isinstance(rows, list):
        raise _wrong(pointer, f"must be a list of rows of shape {list(spec.shape)}")
    _count(len(rows), pointer, most_rows)
    for index, row in enumerate(rows):
        if not isinstance(row, list) or len(row) != spec.shape[0]:
            has = f"has {len(row)} entries" if isinstance(row, list) else "is not a list"
            raise _wrong(f"{pointer}/{index}", f"{has}, a row has shape {list(spec.shape)}")
    x = _numbers(rows, body, pointer)
    if x.shape[1:] != spec.shape:
        raise _wrong(pointer, f"rows have shape {list(x.shape[1:])}, must be {list(spec.shape)}")
    return _finite(x, pointer)


def _count(rows: int, pointer: str, most_rows: int) -> None:
    if rows == 0:
        raise _wrong(pointer, "has no rows: send at least one")
    if rows > most_rows:
        detail = f"{rows} rows in one request, at most {most_rows}: send them in several"
        raise Refusal("too-large", detail, problems=[Problem(pointer, detail)])


def _numbers(data: list[Any], body: bytes, pointer: str) -> Floats:
    try:
        array = np.array(data)
    except (ValueError, OverflowError):
        raise _wrong(pointer, "rows differ in shape") from None
    # numpy turns true into 1.0 beside numbers; the body says cheaply whether there is any to look for.
    has_flags = (b"true" in body or b"false" in body) and any(isinstance(value, bool) for value in _leaves(data))
    if array.dtype.kind not in "iuf" or has_flags:
        detail = "every entry must be a number: no null, text, true or false"
        raise _wrong(_first_other(data, pointer) or pointer, detail)
    with np.errstate(over="ignore"):
        return array.astype(np.float32)


def _leaves(data: Any) -> Any:
    stack = [data]
    while stack:
        item = stack.pop()
        if isinstance(item, list):
            stack.extend(item)
        else:
            yield item


def _first_other(data: list[Any], pointer: str) -> str | None:
    """Where the first entry is that is no number. Recursion is bounded by numpy's 64 axes, which `data` has passed."""
    for index, item in enumerate(data):
        if isinstance(item, list):
            found = _first_other(item, f"{pointer}/{index}")
            if found is not None:
                return found
        elif type(item) not in (int, float):
            return f"{pointer}/{index}"
    return None


def _finite(x: Floats, pointer: str) -> Floats:
    bad = ~np.isfinite(x)
    if bad.any():
        raise _wrong(_first(bad, pointer), "is not finite in 32 bits")
    return x


def _whole(x: Floats, datatype: str) -> Floats:
    """x, if its numbers are what an integer datatype can hold; rounding them silently would answer another question."""
    if datatype in INTEGERS:
        low, high = INTEGERS[datatype]
        bad = (x != np.floor(x)) | (x < low) | (x > high)
        if bad.any():
            raise _wrong(_first(bad, "#/inputs/0/data"), f"is not a number of the datatype {datatype}")
    return x


def _first(bad: Any, pointer: str) -> str:
    """The pointer to the first place that is bad."""
    return "/".join([pointer, *(str(step) for step in np.argwhere(bad)[0])])


def _outputs(outputs: Any) -> tuple[str, ...]:
    if outputs is None or outputs == []:
        return OUTPUTS
    if not isinstance(outputs, list) or not all(isinstance(item, dict) for item in outputs):
        raise _wrong("#/outputs", 'must be a list of {"name": ...}')
    for index, item in enumerate(outputs):
        if item.get("name") not in OUTPUTS:
            raise _wrong(f"#/outputs/{index}/name", f"unknown output; known: {', '.join(OUTPUTS)}")
    names = tuple(item["name"] for item in outputs)
    if len(set(names)) < len(names):
        # A short request could otherwise ask for an answer without bound.
        raise _wrong("#/outputs", "name each output once")
    return names


def _flag(value: Any, pointer: str) -> bool | None:
    if value is None or isinstance(value, bool):
        return value
    raise _wrong(pointer, "must be true or false")


def _name(value: Any, pointer: str) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str) or not 1 <= len(value) <= MOST_ID_CHARACTERS or not value.isprintable():
        raise _wrong(pointer, f"must be 1 to {MOST_ID_CHARACTERS} printable characters")
    return value


def _wrong(pointer: str, detail: str) -> Refusal:
    return Refusal(
        "bad-request", "the request is refused and nothing of it is logged", problems=[Problem(pointer, detail)]
    )
