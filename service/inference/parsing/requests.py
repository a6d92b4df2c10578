"""Parses requests with rows. One wrong row refuses the whole request, with its position and what is
expected.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import orjson

from acclimate.learning.data import Rows
from acclimate.learning.spec import InputSpec, Problem
from service.errors import Refusal, bad_request
from service.inference.parsing import number_rows, text_rows

MOST_ID_CHARACTERS = 128
OUTPUTS = ("probabilities", "label", "class", "confidence", "abstain")
DATA = "#/inputs/0/data"


@dataclass(frozen=True, kw_only=True)
class RowsRequest:
    """The rows x (N, *shape) of one request, and its options.

    x is float32; int64 for sequences, padded with 0; str objects (N, 1) for text.
    """

    x: Rows
    log: bool | None = None
    """None where the request does not set it."""
    subject: str | None = None
    state: str | None = None
    """The id of the running state to answer in, for a version by number."""
    id: str | None = None
    outputs: tuple[str, ...] = field(default=OUTPUTS)


def read_predict(body: bytes, spec: InputSpec, *, most_rows: int) -> RowsRequest:
    """Parse a body of `/api/v1 .../predict`: `{"rows": [...], "log"?, "subject"?}`.

    Raises the refusals 400, and 413 for more than `most_rows` rows.
    """
    document = _document(body, ("rows", "log", "subject"))
    if "rows" not in document:
        raise bad_request("#/rows", f"is missing: send a list of {_rows_in_words(spec)}")
    return RowsRequest(
        x=_rows(document["rows"], spec, most_rows),
        log=_flag(document.get("log"), "#/log"),
        subject=_name(document.get("subject"), "#/subject"),
    )


def read_infer(body: bytes, spec: InputSpec, *, most_rows: int) -> RowsRequest:
    """Parse a JSON body of `/v2 .../infer`: one input tensor named `input`, nested or flat.

    Raises as `read_predict` does.
    """
    document = _document(body, ("id", "parameters", "inputs", "outputs"))
    parameters = document.get("parameters")
    if parameters is None:  # KServe's clients send null for absent members
        parameters = {}
    if not isinstance(parameters, dict):
        raise bad_request("#/parameters", "must be an object")
    return RowsRequest(
        x=_tensor(document.get("inputs"), spec, most_rows),
        id=_name(document.get("id"), "#/id"),
        log=_flag(parameters.get("log"), "#/parameters/log"),
        subject=_name(parameters.get("subject"), "#/parameters/subject"),
        state=_name(parameters.get("state"), "#/parameters/state"),
        outputs=_outputs(document.get("outputs")),
    )


def _document(body: bytes, known: tuple[str, ...]) -> dict[str, Any]:
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise bad_request("#", f"not JSON (which has no NaN and Infinity): {error}") from None
    if not isinstance(document, dict):
        raise bad_request("#", "must be an object")
    for key in document:
        if key not in known:
            raise bad_request("#", f"unknown member {key[:64]!r}; known: {', '.join(known)}")
    return document


def _rows(rows: Any, spec: InputSpec, most_rows: int) -> Rows:
    if not isinstance(rows, list):
        raise bad_request("#/rows", f"must be a list of {_rows_in_words(spec)}")
    _count(len(rows), "#/rows", most_rows)
    if spec.kind == "text":
        return text_rows.texts(rows, "#/rows")
    if spec.kind == "sequence":
        return number_rows.sequences(rows, spec.size, "#/rows")
    return number_rows.floats(rows, spec.shape, "#/rows")


def _rows_in_words(spec: InputSpec) -> str:
    if spec.kind == "text":
        return "strings, one per row"
    if spec.kind == "sequence":
        return f"rows of at most {spec.size} whole numbers"
    return f"rows of shape {list(spec.shape)}"


def _tensor(inputs: Any, spec: InputSpec, most_rows: int) -> Rows:
    if not isinstance(inputs, list) or len(inputs) != 1 or not isinstance(inputs[0], dict):
        raise bad_request("#/inputs", "give exactly one input tensor, named input")
    tensor = inputs[0]
    if tensor.get("name") != "input":
        raise bad_request("#/inputs/0/name", "the input must be named input")
    datatype = tensor.get("datatype")
    data = tensor.get("data")
    known = _datatypes(spec)
    if datatype not in known:
        one_of = "one of " if len(known) > 1 else ""
        raise bad_request(
            "#/inputs/0/datatype",
            f"must be {one_of}{', '.join(known)}, because the model's kind is {spec.kind}",
        )
    shape = _shape(tensor.get("shape"), spec)
    if not isinstance(data, list):
        raise bad_request(DATA, "must be a list, nested or flat, row by row")
    _count(shape[0], "#/inputs/0/shape", most_rows)
    if not data:
        raise bad_request(DATA, f"has 0 rows, the shape has {shape[0]}")
    if spec.kind == "text":
        x = text_rows.texts(data, DATA)
    elif not isinstance(data[0], list):
        flat = number_rows.flat_sequences if spec.kind == "sequence" else number_rows.flat_floats
        return flat(data, shape, DATA, datatype)
    elif spec.kind == "sequence":
        x = number_rows.whole_sequences(data, spec.size, DATA, datatype)
    else:
        x = number_rows.floats(data, spec.shape, DATA, datatype)
    if len(x) != shape[0]:
        raise bad_request(DATA, f"has {len(x)} rows, the shape has {shape[0]}")
    return x


def _datatypes(spec: InputSpec) -> tuple[str, ...]:
    if spec.kind == "text":
        return ("BYTES",)
    return number_rows.ID_DATATYPES if spec.kind == "sequence" else number_rows.FLOAT_DATATYPES


def _shape(shape: Any, spec: InputSpec) -> tuple[int, ...]:
    want = [-1, *spec.shape]
    if not isinstance(shape, list) or not all(type(side) is int and side >= 0 for side in shape):
        raise bad_request("#/inputs/0/shape", f"must be a list of whole numbers, here {want}")
    # A list of strings has one axis for most clients.
    if shape[1:] != list(spec.shape) and not (spec.kind == "text" and len(shape) == 1):
        raise bad_request("#/inputs/0/shape", f"is {shape}, must be {want}")
    return tuple(shape)


def _count(rows: int, pointer: str, most_rows: int) -> None:
    if rows == 0:
        raise bad_request(pointer, "has no rows: send at least one")
    if rows > most_rows:
        detail = f"{rows} rows in one request, at most {most_rows}: send them in several"
        raise Refusal("too-large", detail, problems=[Problem(pointer, detail)])


def _outputs(outputs: Any) -> tuple[str, ...]:
    if outputs is None or outputs == []:
        return OUTPUTS
    if not isinstance(outputs, list) or not all(isinstance(item, dict) for item in outputs):
        raise bad_request("#/outputs", 'must be a list of {"name": ...}')
    for index, item in enumerate(outputs):
        if item.get("name") not in OUTPUTS:
            raise bad_request(
                f"#/outputs/{index}/name", f"unknown output; known: {', '.join(OUTPUTS)}"
            )
    names = tuple(item["name"] for item in outputs)
    if len(set(names)) < len(names):
        # Otherwise a short request could require a reply of any size.
        raise bad_request("#/outputs", "name each output once")
    return names


def _flag(value: Any, pointer: str) -> bool | None:
    if value is None or isinstance(value, bool):
        return value
    raise bad_request(pointer, "must be true or false")


def _name(value: Any, pointer: str) -> str | None:
    if value is None:
        return None
    if (
        not isinstance(value, str)
        or not 1 <= len(value) <= MOST_ID_CHARACTERS
        or not value.isprintable()
    ):
        raise bad_request(pointer, f"must be 1 to {MOST_ID_CHARACTERS} printable characters")
    return value
