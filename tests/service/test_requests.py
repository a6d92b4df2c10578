"""Parsing of requests with rows: valid rows exactly, invalid rows refused with their position."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from acclimate.learning.spec import InputSpec
from service.errors import Refusal, inference_response
from service.inference.parsing.requests import OUTPUTS, read_infer, read_predict

SPEC = InputSpec(kind="vector", shape=(4,), classes=("a", "b", "c"))
MOST = 512


def predict(body: str | bytes) -> Any:
    return read_predict(body.encode() if isinstance(body, str) else body, SPEC, most_rows=MOST)


def infer(body: str | bytes) -> Any:
    return read_infer(body.encode() if isinstance(body, str) else body, SPEC, most_rows=MOST)


def tensor(**changes: Any) -> str:
    """A good /v2 body of one row, changed; a change to None takes the member away."""
    body = {"name": "input", "shape": [1, 4], "datatype": "FP32", "data": [1, 2, 3, 4], **changes}
    return json.dumps(
        {"inputs": [{name: value for name, value in body.items() if value is not None}]}
    )


def with_member(name: str, value: str) -> str:
    return f'{tensor()[:-1]}, "{name}": {value}}}'


def refusal(read: Any, body: str | bytes) -> tuple[str, str, str]:
    """(slug, pointer, detail) of the refusal, whose whole text can be sent."""
    with pytest.raises(Refusal) as told:
        read(body)
    assert inference_response(told.value).status_code in (400, 413)
    problem = told.value.problems[0]
    return told.value.slug, problem.pointer, problem.detail


def test_rows_are_read_as_sent():
    asked = predict(
        '{"rows": [[1, -2.5, 3e3, 0], [0.1, 4, 5, 6]], "log": false, "subject": "s-17"}'
    )
    assert asked.x.dtype == np.float32 and asked.x.shape == (2, 4)
    assert (
        asked.x.tolist()
        == np.array([[1, -2.5, 3000, 0], [0.1, 4, 5, 6]], dtype=np.float32).tolist()
    )
    assert (asked.log, asked.subject, asked.id) == (False, "s-17", None)
    plain = predict('{"rows": [[1, 2, 3, 4]]}')
    assert (plain.log, plain.subject) == (None, None)


def test_flat_and_nested_tensors_are_the_same_rows():
    flat = infer(tensor(shape=[2, 4], data=[1, 2, 3, 4, 5, 6, 7, 8]))
    nested = infer(tensor(shape=[2, 4], data=[[1, 2, 3, 4], [5, 6, 7, 8]]))
    assert flat.x.tolist() == nested.x.tolist() == [[1, 2, 3, 4], [5, 6, 7, 8]]
    assert flat.x.dtype == nested.x.dtype == np.float32
    assert flat.outputs == OUTPUTS


def test_id_outputs_and_parameters_are_read():
    body = json.loads(tensor())
    body |= {
        "id": "mine",
        "parameters": {"log": True, "subject": "s"},
        "outputs": [{"name": "label"}],
    }
    asked = infer(json.dumps(body))
    assert (asked.id, asked.log, asked.subject, asked.outputs) == ("mine", True, "s", ("label",))


@pytest.mark.parametrize("number", [2**63, 2**64, -(2**63), 1e-300, 3.4e38])
def test_large_and_small_numbers_that_32_bits_can_hold_are_read(number):
    assert predict(json.dumps({"rows": [[number, -1, 2, 3]]})).x[0, 0] == np.float32(number)


@pytest.mark.parametrize(
    "cell", ["NaN", "Infinity", "-Infinity", "1e999", "-1e999", "1" * 400, "1" * 5000]
)
def test_what_is_no_number_of_json_is_refused(cell):
    for read, body in (
        (predict, f'{{"rows": [[1, 2, 3, {cell}]]}}'),
        (infer, tensor().replace("4]}", f"{cell}]}}")),
    ):
        slug, pointer, detail = refusal(read, body)
        assert (slug, pointer) == ("bad-request", "#") and "not JSON" in detail


@pytest.mark.parametrize("cell", ["null", "true", "false", '"1.5"', '""', "{}"])
def test_an_entry_that_is_no_number_is_named(cell):
    slug, pointer, detail = refusal(predict, f'{{"rows": [[1, 2, 3, 4], [1, 2, {cell}, 4]]}}')
    assert (slug, pointer) == ("bad-request", "#/rows/1/2") and "must be a number" in detail
    flat = tensor(shape=[2, 4], data=[1, 2, 3, 4, 5, 99, 7, 8]).replace("99", cell)
    assert refusal(infer, flat)[1] == "#/inputs/0/data/5"
    only = f'{{"rows": [[{", ".join([cell] * 4)}]]}}'
    assert refusal(predict, only)[1] == "#/rows/0/0"


@pytest.mark.parametrize("cell", ["1e39", "-1e300"])
def test_a_number_beyond_32_bits_is_named(cell):
    assert refusal(predict, f'{{"rows": [[1, 2, 3, 4], [1, {cell}, 3, 4]]}}')[1] == "#/rows/1/1"
    flat = tensor(shape=[2, 4], data=[1, 2, 3, 4, 5, 6, 7, 99]).replace("99", cell)
    assert refusal(infer, flat)[1] == "#/inputs/0/data/7"
    nested = tensor(shape=[2, 4], data=[[1, 2, 3, 4], [5, 6, 7, 99]]).replace("99", cell)
    assert refusal(infer, nested)[1] == "#/inputs/0/data/1/3"


@pytest.mark.parametrize(
    ("rows", "pointer"),
    [
        ("[]", "#/rows"),
        ("null", "#/rows"),
        ("{}", "#/rows"),
        ('"abcd"', "#/rows"),
        ("[1, 2, 3, 4]", "#/rows/0"),
        ('["abcd"]', "#/rows/0"),
        ("[[]]", "#/rows/0"),
        ("[[1, 2, 3]]", "#/rows/0"),
        ("[[1, 2, 3, 4, 5]]", "#/rows/0"),
        ("[[1, 2, 3, 4], [1, 2]]", "#/rows/1"),
        ("[[1, 2, 3, 4], 5]", "#/rows/1"),
        ("[[1, 2, 3, [4]]]", "#/rows/0/3"),
        ("[[[1], [2], [3], [4]]]", "#/rows/0/0"),
        ("[[[], [], [], []]]", "#/rows/0/0"),
        ("[" * 5000 + "]" * 5000, "#"),
        ("[" * 900 + "]" * 900, "#/rows/0"),
        ("[[" + "[" * 900 + "1" + "]" * 900 + ", 2, 3, 4]]", "#/rows/0/0"),
        ("[[" + ", ".join(["[" * 70 + "{}" + "]" * 70] * 4) + "]]", "#/rows/0/0"),
    ],
)
def test_rows_of_a_wrong_form_are_refused_where_they_are_wrong(rows, pointer):
    assert refusal(predict, f'{{"rows": {rows}}}')[:2] == ("bad-request", pointer)


def test_the_most_rows_are_read_and_one_more_is_too_large():
    row = [1, 2, 3, 4]
    assert len(predict(json.dumps({"rows": [row] * MOST})).x) == MOST
    assert refusal(predict, json.dumps({"rows": [row] * (MOST + 1)}))[:2] == ("too-large", "#/rows")
    assert len(infer(tensor(shape=[MOST, 4], data=row * MOST)).x) == MOST
    assert refusal(infer, tensor(shape=[MOST + 1, 4], data=row * (MOST + 1)))[0] == "too-large"
    assert refusal(infer, tensor(shape=[10**18, 4]))[0] == "too-large"


@pytest.mark.parametrize(
    "body", [b"", b"x", b"{", b"\xff\xfe", b'{"rows": [[1, 2, 3, 4]]', b'"\\ud800"', b"[" * 5000]
)
def test_what_is_not_json_is_refused(body):
    for read in (predict, infer):
        assert refusal(read, body)[:2] == ("bad-request", "#")


@pytest.mark.parametrize("body", ["[]", "1", "null", '"rows"', "{}"])
def test_json_of_another_kind_is_refused(body):
    for read in (predict, infer):
        assert refusal(read, body)[0] == "bad-request"


def test_an_unknown_member_is_named_with_the_known_ones():
    _, _, detail = refusal(predict, '{"rows": [[1, 2, 3, 4]], "rowz": 1}')
    assert "'rowz'" in detail and "rows, log, subject" in detail
    assert "'extra'" in refusal(infer, with_member("extra", "1"))[2]
    assert len(refusal(predict, f'{{"{"x" * 100_000}": 1}}')[2]) < 300


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ('{"inputs": []}', "#/inputs"),
        ('{"inputs": {}}', "#/inputs"),
        ('{"inputs": [1]}', "#/inputs"),
        ('{"inputs": [{}, {}]}', "#/inputs"),
        ('{"inputs": [{}], "inputs": []}', "#/inputs"),
        (with_member("inputs", "null"), "#/inputs"),
        (tensor(name="x"), "#/inputs/0/name"),
        (tensor(name=None), "#/inputs/0/name"),
        (tensor(datatype="BYTES"), "#/inputs/0/datatype"),
        (tensor(datatype=["FP32"]), "#/inputs/0/datatype"),
        (tensor(datatype=None), "#/inputs/0/datatype"),
        (tensor(shape=None), "#/inputs/0/shape"),
        (tensor(shape=[]), "#/inputs/0/shape"),
        (tensor(shape=[4]), "#/inputs/0/shape"),
        (tensor(shape=[1, 5]), "#/inputs/0/shape"),
        (tensor(shape=[1, 4, 1]), "#/inputs/0/shape"),
        (tensor(shape=[-1, 4]), "#/inputs/0/shape"),
        (tensor(shape=[True, 4]), "#/inputs/0/shape"),
        (tensor(shape=[1.0, 4]), "#/inputs/0/shape"),
        (tensor(shape=[10**30, 4]), "#/inputs/0/shape"),
        (tensor(shape=[0, 4], data=[]), "#/inputs/0/shape"),
        (tensor(data=None), "#/inputs/0/data"),
        (tensor(data="abcd"), "#/inputs/0/data"),
        (tensor(data=[]), "#/inputs/0/data"),
        (tensor(data=[1, 2, 3]), "#/inputs/0/data"),
        (tensor(shape=[2, 4], data=[[1, 2, 3, 4]]), "#/inputs/0/data"),
        (tensor(data=[1, [2, 3], 4]), "#/inputs/0/data/1"),
        (tensor(data=[[1, 2, 3]]), "#/inputs/0/data/0"),
        (tensor(data=[[1, 2, 3, 4], 5]), "#/inputs/0/data/1"),
        (tensor(datatype="INT64", data=[1, 2.5, 3, 4]), "#/inputs/0/data/1"),
        (tensor(datatype="UINT8", data=[[1, 2, 3, 256]]), "#/inputs/0/data/0/3"),
        (tensor(datatype="UINT8", data=[-1, 2, 3, 4]), "#/inputs/0/data/0"),
        (tensor(datatype="INT32", data=[1, 2, 2**40, 4]), "#/inputs/0/data/2"),
        (with_member("outputs", "5"), "#/outputs"),
        (with_member("outputs", '["label"]'), "#/outputs"),
        (with_member("outputs", '[{"name": "label"}, {"name": "logits"}]'), "#/outputs/1/name"),
        (with_member("outputs", '[{"name": ["label"]}]'), "#/outputs/0/name"),
        (with_member("outputs", '[{"name": "label"}, {"name": "label"}]'), "#/outputs"),
        (with_member("parameters", "5"), "#/parameters"),
        (with_member("parameters", '{"log": 1}'), "#/parameters/log"),
        (with_member("parameters", '{"log": "no"}'), "#/parameters/log"),
    ],
)
def test_a_wrong_tensor_is_refused_where_it_is_wrong(body, pointer):
    slug, where, detail = refusal(infer, body)
    assert (slug, where) == ("bad-request", pointer)
    assert detail


@pytest.mark.parametrize("datatype", ["FP32", "FP64", "UINT8", "INT32", "INT64"])
def test_whole_numbers_are_read_in_every_datatype(datatype):
    assert infer(tensor(datatype=datatype, data=[0, 255, 3.0, 4])).x.tolist() == [[0, 255, 3, 4]]


@pytest.mark.parametrize(
    "id", ['""', "5", "[]", r'"a\n"', r'"\u0000"', r'"\u202e"', f'"{"i" * 129}"']
)
def test_an_id_or_subject_that_cannot_be_printed_is_refused(id):
    assert refusal(infer, with_member("id", id))[1] == "#/id"
    assert (
        refusal(infer, with_member("parameters", f'{{"subject": {id}}}'))[1]
        == "#/parameters/subject"
    )
    assert refusal(predict, f'{{"rows": [[1, 2, 3, 4]], "subject": {id}}}')[1] == "#/subject"


def test_a_lone_surrogate_is_refused():
    assert refusal(infer, with_member("id", r'"\ud800"'))[1] == "#"
    assert refusal(predict, r'{"\udfff": 1}')[1] == "#"


ANY = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=3)
    | st.just([1, 2, 3, 4]),
    lambda inner: (
        st.lists(inner, max_size=5)
        | st.dictionaries(
            st.sampled_from(["name", "shape", "datatype", "data", "log"]), inner, max_size=5
        )
    ),
    max_leaves=12,
)


@settings(max_examples=300, deadline=None)
@given(rows=ANY, tensor=ANY, other=ANY)
def test_whatever_the_body_there_are_finite_rows_or_a_refusal(rows, tensor, other):
    bodies = [
        (predict, {"rows": rows, "log": other}),
        (infer, {"inputs": [tensor], "outputs": other}),
        (infer, {"inputs": [{"name": "input", "shape": [1, 4], "datatype": "FP32", "data": rows}]}),
        (
            infer,
            {
                "inputs": [
                    {"name": "input", "shape": other, "datatype": "INT64", "data": [1, 2, 3, 4]}
                ]
            },
        ),
    ]
    for read, body in bodies:
        try:
            x = read(json.dumps(body)).x
        except Refusal as told:
            x, pointers = None, [problem.pointer for problem in told.problems]
        if x is None:
            assert pointers and all(pointer.startswith("#") for pointer in pointers)
        else:
            assert x.dtype == np.float32 and x.shape[1:] == (4,) and len(x) and np.isfinite(x).all()
