"""Invalid requests over HTTP: each gets an error with its field, and nothing is logged."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from refusals import inference_error, problem
from running import Service
from small_model import create, tensor

NAME = "bad-input"
PREDICT = f"/api/v1/models/{NAME}/predict"
INFER = f"/v2/models/{NAME}/infer"
GOOD = {"rows": [[0, 0, 0, 0], [2, 2, 2, 2]]}
JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def http(service: Service) -> Iterator[httpx.Client]:
    """A client of a service with one small model; at the end only the good rows are logged."""
    with service.http() as http:
        # After a fault of ours the server closes the connection; only the test that met it shall
        # fail.
        http.headers["Connection"] = "close"
        create(http, NAME)
        sent = {http.post(PREDICT, json=GOOD).json()["id"] for _ in range(2)}
        yield http
        sent.add(http.post(PREDICT, json=GOOD).json()["id"])
        reply = http.get(f"/api/v1/models/{NAME}/rows")
        logged = [json.loads(line) for line in reply.text.splitlines()]
        assert {row["prediction_id"] for row in logged} == sent
        assert len(logged) == 2 * len(sent)


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        (b'{"rows": [[1, 2, 3]]}', "#/rows/0"),
        (b'{"rows": [[1, 2, 3, 4], [1, 2]]}', "#/rows/1"),
        (b'{"rows": [[1, 2, 3, "4"]]}', "#/rows/0/3"),
        (b'{"rows": [[1, 2, null, 4]]}', "#/rows/0/2"),
        (b'{"rows": [[1, 2, NaN, 4]]}', "#"),
        (b'{"rows": [[1, 2, Infinity, 4]]}', "#"),
        (b'{"rows": [[1, 2, 1e999, 4]]}', "#"),
        (b'{"rows": [[1, 2, 1e39, 4]]}', "#/rows/0/2"),
        (b'{"rows": []}', "#/rows"),
        (b"{}", "#/rows"),
        (b"", "#"),
        (b"\xff", "#"),
        (b"[" * 5000, "#"),
        (b'{"rows": [[0, 0, 0, 0], [2, 2, 2, 2], [1, 2, 3]]}', "#/rows/2"),
        (b'{"rows": [[0, 0, 0, 0]], "lgo": false}', "#"),
    ],
)
def test_a_bad_row_refuses_the_whole_request_and_says_where(http, body, pointer):
    errors = problem(http.post(PREDICT, content=body, headers=JSON), 400)
    assert [where for where, _ in errors] == [pointer]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (tensor(shape=[1, 5]), "#/inputs/0/shape"),
        (tensor(shape=[2, 4]), "#/inputs/0/data"),
        (tensor(datatype="BYTES"), "FP32"),
        (tensor(datatype="INT64", data=[1.5, 2, 3, 4]), "INT64"),
        (tensor(name="x"), "named input"),
        (tensor(shape=[0, 4], data=[]), "no rows"),
        (tensor(data=[1, 2, float("nan"), 4]), "not JSON"),
        (tensor(data=[1, 2, float("inf"), 4]), "not JSON"),
        (tensor(data=[1, 2, 1e39, 4]), "#/inputs/0/data/2"),
        (tensor(data=[1, 2, None, 4]), "must be a number"),
        ({"inputs": []}, "exactly one"),
        ({**tensor(), "id": "\n"}, "#/id"),
        ({**tensor(), "id": "\ud800"}, "surrogate"),
        ({**tensor(), "outputs": [{"name": "logits"}]}, "probabilities"),
    ],
)
def test_a_bad_tensor_is_a_400_in_the_words_of_the_inference_protocol(http, body, said):
    content = json.dumps(body).encode()
    assert said in inference_error(http.post(INFER, content=content, headers=JSON), 400)
    of_version = http.post(f"/v2/models/{NAME}/versions/1/infer", content=content, headers=JSON)
    assert said in inference_error(of_version, 400)


def test_too_many_rows_are_too_large(http):
    rows = [[0, 0, 0, 0]] * 4097
    assert [where for where, _ in problem(http.post(PREDICT, json={"rows": rows}), 413)] == [
        "#/rows"
    ]
    error = inference_error(
        http.post(INFER, json=tensor(shape=[4097, 4], data=[0] * 4097 * 4)), 413
    )
    assert "4096" in error
    assert (
        len(http.post(PREDICT, json={"rows": rows[:512], "log": False}).json()["predictions"])
        == 512
    )


def test_a_body_over_the_limit_is_refused_with_or_without_its_length(http):
    large = b'{"rows": [[' + b"1," * (4 * 2**20) + b"1]]}"
    assert len(large) > 8 * 2**20

    def chunks() -> Iterator[bytes]:
        for start in range(0, len(large), 2**16):
            yield large[start : start + 2**16]

    assert "8 MiB" in http.post(PREDICT, content=large, headers=JSON).json()["detail"]
    problem(http.post(PREDICT, content=large, headers=JSON), 413)
    problem(http.post(PREDICT, content=chunks(), headers=JSON), 413)
    assert "8 MiB" in inference_error(http.post(INFER, content=large, headers=JSON), 413)
    assert "8 MiB" in inference_error(http.post(INFER, content=chunks(), headers=JSON), 413)
    problem(http.post(f"/api/v1/models/{NAME}/feedback", content=chunks(), headers=JSON), 413)
    problem(http.post(f"/api/v1/models/{NAME}/rollback", content=chunks(), headers=JSON), 413)


@pytest.mark.parametrize(
    "name", ["nobody", "NOBODY", "a" * 300, "%20", "..%2f", "%F0%9F%98%80", "%FF"]
)
def test_an_unknown_model_is_not_found_everywhere(http, name):
    model = f"/api/v1/models/{name}"
    problem(http.post(f"{model}/predict", json=GOOD), 404)
    for path in (
        "",
        "/windows",
        "/versions",
        "/rows",
        "/promotions",
        "/policy",
        "/gates",
        "/aliases/champion",
    ):
        problem(http.get(model + path), 404)
    problem(http.post(f"{model}/runs", json={}), 404)
    problem(
        http.post(f"{model}/feedback", json=[{"prediction_id": "p", "row": 0, "label": 0}]), 404
    )
    problem(http.post(f"{model}/rollback", json={"reason": "r"}), 404)
    for path in ("infer", "versions/1/infer"):
        inference_error(http.post(f"/v2/models/{name}/{path}", json=tensor()), 404)
    for path in ("", "/ready", "/versions/1", "/versions/1/ready"):
        inference_error(http.get(f"/v2/models/{name}{path}"), 404)


@pytest.mark.parametrize(
    "version", ["0", "2", "-1", "1.0", "x", "²", "9" * 12, "9" * 30, "9" * 5000, "%00"]
)
def test_an_unknown_version_is_not_found(http, version):
    inference_error(http.post(f"/v2/models/{NAME}/versions/{version}/infer", json=tensor()), 404)
    inference_error(http.get(f"/v2/models/{NAME}/versions/{version}/ready"), 404)
    problem(http.get(f"/api/v1/models/{NAME}/versions/{version}"), 404)
    rolled = http.post(f"/api/v1/models/{NAME}/rollback", json={"reason": "r", "to": version})
    problem(rolled, 404)


@pytest.mark.parametrize(
    "window",
    ["w-0", "w-2", "w--1", "1", "w-x", "w-" + "9" * 12, "w-" + "9" * 30, "w-" + "9" * 5000],
)
def test_an_unknown_window_is_not_found(http, window):
    problem(http.get(f"/api/v1/models/{NAME}/rows", params={"window": window}), 404)
    problem(http.post(f"/api/v1/models/{NAME}/runs", json={"windows": [window]}), 404)
    problem(http.post(f"/api/v1/models/{NAME}/windows/{window}/quarantine"), 404)


@pytest.mark.parametrize("id", ["nobody", "0" * 300])
def test_an_unknown_run_or_key_is_not_found(http, id):
    problem(http.get(f"/api/v1/runs/{id}"), 404)
    problem(http.post(f"/api/v1/runs/{id}/cancel"), 404)
    problem(http.post(f"/api/v1/runs/{id}/retry"), 404)
    problem(http.delete(f"/api/v1/keys/{id}"), 404)


def test_an_unknown_path_or_method_is_said_in_the_words_of_its_protocol(http):
    for path in ("/v2/nothing", "/v2/models/x/y/z", "/v2/health"):
        inference_error(http.get(path), 404)
    inference_error(http.get(INFER), 405)
    problem(http.get("/api/v1/nothing"), 404)
    problem(http.get("/nothing"), 404)
    problem(http.delete("/api/v1/status"), 405)


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("PATCH", "", b'{"learning": "of"}', 422),
        ("PATCH", "", b'{"learning": NaN}', 422),
        ("PATCH", "", b'{"learning": "on", "reasn": "x"}', 422),
        ("PATCH", "", b"{", 422),
        ("PATCH", "", b'{"learning": ' + b"[" * 5000, None),
        ("PATCH", "", b'{"learning": ' + b"9" * 5000 + b"}", None),
        ("PATCH", "", b'{"learning": "on", "reason": "\\ud800"}', None),
        ("POST", "/runs", b'{"recipe": "magic"}', 422),
        ("POST", "/runs", b'{"windows": []}', 422),
        ("POST", "/runs", b'{"windows": NaN}', 422),
        ("POST", "/rollback", b"{}", 422),
        ("POST", "/rollback", b'{"reason": NaN}', 422),
        ("POST", "/feedback", b"{}", 422),
        ("POST", "/feedback", b"[]", 422),
        ("POST", "/feedback", b"[NaN]", 400),
        ("POST", "/feedback", b"", 400),
        ("PUT", "/aliases/champion", b'{"version": "1", "reason": "r"}', 428),
        ("PUT", "/aliases/anchor", b'{"version": "1", "reason": "r"}', 422),
        ("PUT", "/policy", b"{}", 428),
    ],
)
def test_a_wrong_command_is_refused(http, method, path, body, status):
    reply = http.request(method, f"/api/v1/models/{NAME}{path}", content=body, headers=JSON)
    assert 400 <= reply.status_code < 500, reply.text
    problem(reply, status or reply.status_code)


@pytest.mark.parametrize(
    ("kind", "change", "pointer", "said"),
    [
        ("policy", '{"max_rosw": 5}', "#/policy/max_rosw", "'max_rows'"),
        ("policy", '{"max_rows": "5"}', "#/policy/max_rows", "whole number"),
        ("policy", '{"max_rows": NaN}', "#/policy/max_rows", "whole number"),
        ("policy", '{"max_risk": NaN}', "#/policy/max_risk", "0..1"),
        ("policy", '{"max_unproved": 1.5}', "#/policy/max_unproved", "0..1"),
        ("policy", '{"few_senders": "ignore"}', "#/policy/few_senders", "refuse, learn"),
        ("policy", '{"schedule": "sometimes"}', "#/policy/schedule", "cron"),
        ("policy", '{"thresholds": {}}', "#/policy/thresholds", "read-only"),
        ("policy", '{"rules": {"isolated": "off"}}', "#/policy/rules", "read-only"),
        ("gates", '{"max_ece": 2}', "#/gates/max_ece", "0..1"),
        ("gates", '{"max_ece": Infinity}', "#/gates/max_ece", "0..1"),
        ("gates", '{"max_ecee": 0.1}', "#/gates/max_ecee", "'max_ece'"),
    ],
)
def test_a_wrong_rule_is_refused_and_no_revision_is_made(http, kind, change, pointer, said):
    path = f"/api/v1/models/{NAME}/{kind}"
    headers = {**JSON, "If-Match": http.get(path).headers["ETag"]}
    errors = problem(http.put(path, content=change, headers=headers), 422)
    assert errors[0][0] == pointer and said in errors[0][1]
    assert http.get(path).headers["ETag"] == headers["If-Match"] == '"1"'


@pytest.mark.parametrize("etag", ['"2"', '"x"', "*", '"' + "9" * 5000 + '"', ""])
def test_an_etag_that_is_not_the_newest_is_a_412(http, etag):
    reply = http.put(f"/api/v1/models/{NAME}/policy", json={}, headers={"If-Match": etag})
    problem(reply, 412)


@pytest.mark.parametrize(
    "query",
    [
        "/api/v1/runs?page_size=0",
        "/api/v1/runs?page_size=x",
        "/api/v1/runs/x?wait=nan",
        f"/api/v1/models/{NAME}/rows?page_size=10001",
        f"/api/v1/models/{NAME}/rows?fields=secrets",
        f"/api/v1/models/{NAME}/rows?page_token=x",
        "/api/v1/audit?page_token=x",
    ],
)
def test_a_wrong_query_is_refused_with_its_field(http, query):
    assert problem(http.get(query), 422)[0][0].startswith("#/")


@pytest.mark.parametrize(
    "path",
    [
        "runs?state=%00",
        "runs?page_token=%00",
        "runs?model=%00",
        "runs?state=%FF",
        "models/%00",
        "models/%00/rows",
        "runs/%00",
    ],
)
def test_a_path_or_query_that_no_column_can_hold_is_no_fault_of_ours(http, path):
    assert http.get(f"/api/v1/{path}").status_code < 500


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("PATCH", f"/models/{NAME}", {"learning": "on", "reason": "a\x00b"}),
        ("POST", f"/models/{NAME}/rollback", {"reason": "a\x00b"}),
        ("POST", f"/models/{NAME}/windows/w-1/quarantine", {"reason": "a\x00b"}),
        ("POST", "/keys", {"name": "a\x00b", "scopes": ["view"]}),
    ],
)
def test_a_text_that_no_column_can_hold_is_no_fault_of_ours(http, method, path, body):
    assert http.request(method, f"/api/v1{path}", json=body).status_code < 500


def test_labels_that_cannot_be_are_rejected_one_by_one(http):
    entries: list[Any] = [
        1,
        None,
        {},
        {"prediction_id": "p", "row": 0},
        {"prediction_id": "p\x00", "row": 0, "label": 0},
        {"prediction_id": "p", "row": -1, "label": 0},
        {"prediction_id": "p", "row": 2**40, "label": 0},
        {"prediction_id": "p", "row": True, "label": 0},
        {"prediction_id": "p", "row": 0, "label": 3},
        {"prediction_id": "p", "row": 0, "label": 1.0},
        {"prediction_id": "p", "row": 0, "label": "nothing"},
        {"prediction_id": "p", "row": 0, "label": True},
        {"prediction_id": "p", "row": 0, "label": 0, "source": "\n"},
        {"prediction_id": "p", "row": 0, "label": 0, "sauce": "x"},
        {"prediction_id": "p", "row": 0, "label": 0, "right": True},
        {"prediction_id": "p", "row": 0, "right": 1},
        {"prediction_id": "p", "row": 0, "right": True, "label_time": "noon"},
        {"prediction_id": "p", "row": 0, "label": 0},
    ]
    reply = http.post(f"/api/v1/models/{NAME}/feedback", json=entries)
    assert reply.status_code == 200, reply.text
    assert (reply.json()["accepted"], reply.json()["duplicates"]) == (0, 0)
    assert [entry["index"] for entry in reply.json()["rejected"]] == list(range(len(entries)))
    assert all(entry["reason"] for entry in reply.json()["rejected"])
