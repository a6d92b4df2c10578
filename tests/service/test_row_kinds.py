"""Parsing of rows of images, text and sequences, over both protocols."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from acclimate.learning.spec import InputSpec
from service.errors import Refusal, inference_response
from service.inference.parsing.requests import read_infer, read_predict

GREY = InputSpec(kind="image", shape=(2, 3), classes=("a", "b"))
COLOUR = InputSpec(kind="image", shape=(3, 2, 2), classes=("a", "b"))
TEXT = InputSpec(kind="text", shape=(1,), classes=("a", "b"))
SEQUENCE = InputSpec(kind="sequence", shape=(4,), classes=("a", "b"))
IMAGE = [[0, 1, 2], [3, 4, 255]]


def predict(spec: InputSpec, rows: Any) -> Any:
    body = rows if isinstance(rows, bytes) else json.dumps({"rows": rows}).encode()
    return read_predict(body, spec, most_rows=512).x


def infer(spec: InputSpec, datatype: Any, shape: Any, data: Any) -> Any:
    tensor = {"name": "input", "datatype": datatype, "shape": shape, "data": data}
    return read_infer(json.dumps({"inputs": [tensor]}).encode(), spec, most_rows=512).x


def refusal(read: Any, *arguments: Any) -> tuple[str, str]:
    """(pointer, detail) of the refusal, whose whole text can be sent."""
    with pytest.raises(Refusal) as told:
        read(*arguments)
    assert inference_response(told.value).status_code == 400
    return told.value.problems[0].pointer, told.value.problems[0].detail


def test_an_image_is_the_same_nested_and_flat_over_both_protocols():
    for x in (
        predict(GREY, [IMAGE, IMAGE]),
        infer(GREY, "FP32", [2, 2, 3], [IMAGE, IMAGE]),
        infer(GREY, "UINT8", [2, 2, 3], [0, 1, 2, 3, 4, 255] * 2),
    ):
        assert x.dtype == np.float32 and x.tolist() == [IMAGE, IMAGE]


def test_channels_come_first_and_stay_apart():
    image = np.arange(12).reshape(1, 3, 2, 2)
    assert predict(COLOUR, image.tolist()).tolist() == image.tolist()
    assert infer(COLOUR, "INT32", [1, 3, 2, 2], image.ravel().tolist()).tolist() == image.tolist()


@pytest.mark.parametrize(
    ("row", "pointer", "said"),
    [
        ([[0, 1, 2]], "#/rows/1", "has 1 entries, a row has shape [2, 3]"),
        ([[0, 1, 2], [3, 4]], "#/rows/1/1", "has 2 entries, a row has shape [2, 3]"),
        ([[0, 1, 2], 3], "#/rows/1/1", "is not a list, a row has shape [2, 3]"),
        ([0, 1, 2, 3, 4, 5], "#/rows/1", "has 6 entries, a row has shape [2, 3]"),
        ([[0, 1, 2], [3, [4], 5]], "#/rows/1/1/1", "must be a number"),
        ([[0, 1, 2], [3, None, 5]], "#/rows/1/1/1", "must be a number"),
        ([[0, 1, 2], [3, 4, True]], "#/rows/1/1/2", "must be a number"),
        ([[0, 1, 2], [3, 1e39, 5]], "#/rows/1/1/1", "not finite in 32 bits"),
        ("a picture", "#/rows/1", "is not a list"),
    ],
)
def test_a_bad_image_is_named_to_its_point(row, pointer, said):
    where, detail = refusal(predict, GREY, [IMAGE, row])
    assert where == pointer and said in detail


@pytest.mark.parametrize(
    ("datatype", "shape", "data", "pointer", "said"),
    [
        ("BYTES", [1, 2, 3], IMAGE, "datatype", "FP32, FP64, UINT8, INT32, INT64"),
        ("UINT8", [1, 2, 3], [0, 1, 2, 3, 4, 256], "data/5", "UINT8"),
        ("UINT8", [1, 2, 3], [[[0, 1, 2], [3, 4, 0.5]]], "data/0/1/2", "UINT8"),
        ("FP32", [1, 3, 2], [0, 1, 2, 3, 4, 5], "shape", "must be [-1, 2, 3]"),
        ("FP32", [1, 6], [0, 1, 2, 3, 4, 5], "shape", "must be [-1, 2, 3]"),
        ("FP32", [1, 2, 3], [0, 1, 2], "data", "needs 6"),
        ("FP32", [2, 2, 3], [IMAGE], "data", "has 1 rows, the shape has 2"),
    ],
)
def test_a_bad_tensor_of_an_image_is_named(datatype, shape, data, pointer, said):
    where, detail = refusal(infer, GREY, datatype, shape, data)
    assert where == f"#/inputs/0/{pointer}" and said in detail


STRINGS = [
    "free \U0001f3a7 now!!",
    "",
    "a\x00b\x00",
    "naïve\nсловo",
    "x" * 65_536,
    "\U0001f600" * 16_384,
]


def test_every_string_comes_through_as_it_is():
    for x in (
        predict(TEXT, STRINGS),
        predict(TEXT, [[text] for text in STRINGS]),
        infer(TEXT, "BYTES", [len(STRINGS), 1], STRINGS),
        infer(TEXT, "BYTES", [len(STRINGS), 1], [[text] for text in STRINGS]),
        infer(TEXT, "BYTES", [len(STRINGS)], STRINGS),
    ):
        assert x.dtype == object and x.shape == (len(STRINGS), 1)
        assert [type(text) for text in x[:, 0]] == [str] * len(STRINGS)
        assert x[:, 0].tolist() == STRINGS


@pytest.mark.parametrize("row", [None, 5, 1.5, True, [], ["a", "b"], [5], [["a"]], {"text": "a"}])
def test_what_is_not_one_string_is_no_row_of_text(row):
    where, detail = refusal(predict, TEXT, ["good", row])
    assert where == "#/rows/1" and "must be a string" in detail
    assert refusal(infer, TEXT, "BYTES", [2, 1], ["good", row])[0] == "#/inputs/0/data/1"


def test_a_string_over_64_kib_is_refused_by_its_bytes_and_not_its_characters():
    for text in ("x" * 65_537, "é" * 32_769, "\U0001f600" * 16_385):
        where, detail = refusal(predict, TEXT, ["good", text])
        assert where == "#/rows/1" and f"has {len(text.encode())} bytes, at most 65536" in detail


@pytest.mark.parametrize(
    "text", [rb'"\ud800"', rb'"a\udc00b"', b'"\xed\xa0\x80"', b'"\xff"', b'"\xc3"']
)
def test_what_is_not_utf_8_is_refused(text):
    assert refusal(predict, TEXT, b'{"rows": ["good", ' + text + b"]}")[0] == "#"


@pytest.mark.parametrize(
    ("datatype", "shape", "data", "pointer", "said"),
    [
        ("FP32", [1, 1], ["a"], "datatype", "must be BYTES"),
        (None, [1, 1], ["a"], "datatype", "must be BYTES"),
        ("BYTES", [1, 2], ["a", "b"], "shape", "must be [-1, 1]"),
        ("BYTES", [], ["a"], "shape", "must be [-1, 1]"),
        ("BYTES", [2, 1], ["a"], "data", "has 1 rows, the shape has 2"),
        ("BYTES", [1, 1], "a", "data", "must be a list"),
        ("BYTES", [1, 1], [], "data", "has 0 rows"),
        ("BYTES", [0, 1], [], "shape", "no rows"),
    ],
)
def test_a_bad_tensor_of_text_is_named(datatype, shape, data, pointer, said):
    where, detail = refusal(infer, TEXT, datatype, shape, data)
    assert where == f"#/inputs/0/{pointer}" and said in detail


def test_ids_of_a_sequence_are_never_rounded():
    ids = [2**24 + 1, 2**53 + 1, 2**63 - 1, 0]
    for x in (
        predict(SEQUENCE, [ids]),
        infer(SEQUENCE, "INT64", [1, 4], ids),
        infer(SEQUENCE, "INT64", [1, 4], [ids]),
    ):
        assert x.dtype == np.int64 and x.tolist() == [ids]
    beside_a_float = predict(SEQUENCE, [[2**62 + 1, 3.0]])
    assert beside_a_float.tolist() == [[2**62 + 1, 3, 0, 0]]


def test_shorter_sequences_are_padded_at_the_end():
    assert predict(SEQUENCE, [[1, 2], [], [3, 4, 5, 6], [7]]).tolist() == [
        [1, 2, 0, 0],
        [0, 0, 0, 0],
        [3, 4, 5, 6],
        [7, 0, 0, 0],
    ]
    assert predict(SEQUENCE, [[], []]).tolist() == [[0] * 4] * 2


@pytest.mark.parametrize(
    ("row", "pointer", "said"),
    [
        ([1, 2, 3, 4, 5], "#/rows/1", "has 5 entries, a sequence has at most 4"),
        (5, "#/rows/1", "is not a list, a sequence has at most 4"),
        ("abcd", "#/rows/1", "is not a list"),
        ([1, -1], "#/rows/1/1", "ids are whole numbers from 0"),
        ([1, 2, 0.5], "#/rows/1/2", "ids are whole numbers from 0"),
        ([2**63], "#/rows/1/0", "above 9223372036854775807, the largest INT64"),
        ([1, 2**64], "#/rows/1/1", "above 9223372036854775807"),
        ([1, 1e300], "#/rows/1/1", "above 9223372036854775807"),
        ([1, 2.0**53 + 2], "#/rows/1/1", "write it without decimal point"),
        ([1, None], "#/rows/1/1", "must be a number"),
        ([1, "2"], "#/rows/1/1", "must be a number"),
        ([True, 2], "#/rows/1/0", "must be a number"),
        ([[1], 2], "#/rows/1/0", "must be a number"),
    ],
)
def test_a_bad_sequence_is_named_to_its_id(row, pointer, said):
    where, detail = refusal(predict, SEQUENCE, [[1, 2, 3, 4], row, [], [9]])
    assert where == pointer and said in detail


@pytest.mark.parametrize(
    ("datatype", "shape", "data", "pointer", "said"),
    [
        ("FP32", [1, 4], [1, 2, 3, 4], "datatype", "INT64"),
        ("BYTES", [1, 4], [1, 2, 3, 4], "datatype", "INT64"),
        ("INT64", [1, 3], [1, 2, 3], "shape", "must be [-1, 4]"),
        ("INT64", [1, 4], [1, 2, 3], "data", "has 3 numbers, the shape [1, 4] needs 4"),
        ("INT64", [1, 4], [[1, 2, 3]], "data/0", "has 3 entries"),
        ("INT64", [2, 4], [[1, 2, 3, 4], [1, 2, 3, -4]], "data/1/3", "from 0"),
        ("INT64", [2, 4], [1, 2, 3, 4, 5, 6, [7], 8], "data/6", "must be a number"),
        ("INT32", [1, 4], [1, 2, 3, 2**31], "data/3", "above 2147483647, the largest INT32"),
        ("UINT8", [1, 4], [[1, 2, 3, 256]], "data/0/3", "above 255, the largest UINT8"),
    ],
)
def test_a_bad_tensor_of_a_sequence_is_named(datatype, shape, data, pointer, said):
    where, detail = refusal(infer, SEQUENCE, datatype, shape, data)
    assert where == f"#/inputs/0/{pointer}" and said in detail


def test_a_string_among_a_million_numbers_is_refused_without_their_product_in_memory():
    row = b'["' + b"x" * 2**20 + b'"' + b", 1" * 2**20 + b"]"
    wide = InputSpec(kind="vector", shape=(2**20 + 1,), classes=("a", "b"))
    assert refusal(predict, wide, b'{"rows": [' + row + b"]}")[0] == "#/rows/0/0"


ANY = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=3)
    | st.just([1, 2, 3, 4]),
    lambda inner: st.lists(inner, max_size=5),
    max_leaves=12,
)
TENSORS = [(GREY, "UINT8"), (COLOUR, "FP64"), (TEXT, "BYTES"), (SEQUENCE, "INT32")]
HELD = {"image": np.float32, "text": object, "sequence": np.int64}


@settings(max_examples=200, deadline=None)
@given(rows=ANY, which=st.sampled_from(TENSORS))
def test_whatever_is_sent_there_are_rows_of_the_kind_or_a_refusal(rows, which):
    spec, datatype = which
    for read in (
        lambda: predict(spec, rows),
        lambda: infer(spec, datatype, [1, *spec.shape], rows),
    ):
        try:
            x, pointers = read(), []
        except Refusal as told:
            x, pointers = None, [problem.pointer for problem in told.problems]
        if x is None:
            assert pointers and all(pointer.startswith("#") for pointer in pointers)
        else:
            assert x.dtype == HELD[spec.kind] and x.shape[1:] == spec.shape and len(x)
