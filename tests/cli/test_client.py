"""The HTTP client: its requests, its retries and its errors."""

from __future__ import annotations

import time

import numpy as np
import pytest

from acclimate.client import errors
from acclimate.client.http import Client

ACTIVE = {"Location": "/api/v1/runs/r7"}


@pytest.mark.parametrize(
    ("status", "slug", "kind"),
    [
        (401, "unauthorized", errors.AccessError),
        (403, "forbidden", errors.AccessError),
        (404, "not-found", errors.NotFoundError),
        (409, "run-ended", errors.ConflictError),
        (409, "model-exists", errors.ModelExistsError),
        (409, "gate-not-passed", errors.GateNotPassedError),
        (412, "epoch-moved", errors.PreconditionError),
        (422, "invalid", errors.InvalidError),
        (500, "internal", errors.ProblemError),
    ],
)
def test_each_problem_has_its_class_and_its_words(service, problem, status, slug, kind):
    service.on("GET /api/v1/models/gas", problem(status, slug, "in words"))
    with (
        Client(service.url) as client,
        pytest.raises(errors.ProblemError, match="in words") as caught,
    ):
        client.model("gas")
    assert (type(caught.value), caught.value.status, caught.value.slug) == (kind, status, slug)


def test_every_wrong_place_of_a_spec_is_in_the_message(service, problem):
    places = [
        {"pointer": "model/nam", "detail": "unknown; did you mean name?"},
        {"pointer": "input/shape", "detail": "missing"},
    ]
    service.on(
        "GET /api/v1/models/gas", problem(422, "invalid", "the spec is wrong", errors=places)
    )
    with Client(service.url) as client, pytest.raises(errors.InvalidError) as caught:
        client.model("gas")
    assert (
        str(caught.value)
        == "the spec is wrong\n  model/nam: unknown; did you mean name?\n  input/shape: missing"
    )


def test_an_error_of_the_inference_protocol_keeps_its_text(service, answer):
    service.on(
        "POST /v2/models/gas/infer",
        answer(400, {"error": "inputs/0/shape is [1, 3], must be [-1, 2]"}),
    )
    with Client(service.url) as client, pytest.raises(errors.InvalidError, match="must be"):
        client.infer("gas", [[1.0, 2.0, 3.0]])


def test_a_start_refused_for_too_few_rows_says_how_many_there_are(service, problem):
    service.on(
        "POST /api/v1/models/gas/runs",
        problem(409, "not-enough-rows", "too few", rows=12, needed=150),
    )
    with Client(service.url) as client, pytest.raises(errors.NotEnoughRowsError) as caught:
        client.start_run("gas")
    assert (caught.value.rows, caught.value.needed) == (12, 150)


def test_a_start_refused_for_an_active_run_names_that_run(service, problem):
    service.on("POST /api/v1/models/gas/runs", problem(409, "run-active", "learning", ACTIVE))
    with Client(service.url) as client, pytest.raises(errors.RunActiveError) as caught:
        client.start_run("gas")
    assert caught.value.run == "r7"


def test_a_busy_service_is_asked_again_after_its_retry_after(service, problem, answer):
    busy = problem(503, "unavailable", "swapping", {"Retry-After": "0"})
    service.on("GET /api/v1/models/gas", busy, busy, answer(200, {"name": "gas"}))
    with Client(service.url) as client:
        assert client.model("gas") == {"name": "gas"}
    assert len(service.asked("GET /api/v1/models/gas")) == 3


def test_a_service_that_stays_busy_is_given_up_after_seven_requests(service, problem):
    service.on(
        "GET /api/v1/models/gas", problem(503, "unavailable", "swapping", {"Retry-After": "0"})
    )
    with Client(service.url) as client, pytest.raises(errors.UnreachableError, match="swapping"):
        client.model("gas")
    assert len(service.asked("GET /api/v1/models/gas")) == 7


def test_without_patience_a_closed_port_is_an_error_at_once_and_with_it_after_trying_on():
    started = time.monotonic()
    with (
        Client("http://127.0.0.1:1") as client,
        pytest.raises(errors.UnreachableError, match=r"cannot reach http://127\.0\.0\.1:1"),
    ):
        client.status()
    at_once = time.monotonic() - started
    with (
        Client("http://127.0.0.1:1", patience=0.6) as client,
        pytest.raises(errors.UnreachableError),
    ):
        client.predict("gas", [[1.0]])
    assert at_once < 0.5 < 0.6 < time.monotonic() - started - at_once


def test_something_else_than_json_is_not_taken_for_the_service(service, answer):
    service.on("GET /api/v1/status", answer(200, "<html>"))
    with (
        Client(service.url) as client,
        pytest.raises(errors.UnreachableError, match="is it acclimate"),
    ):
        client.status()


def test_the_key_goes_along_as_bearer(service, answer):
    service.on("GET /api/v1/status", answer(200, {}))
    with Client(service.url, "acc_1") as client:
        client.status()
    assert service.requests[0].headers["Authorization"] == "Bearer acc_1"


def test_rows_are_read_page_after_page_until_no_token_comes(service, answer):
    service.on(
        "GET /api/v1/models/gas/rows",
        answer(200, '{"row": 0}\n{"row": 1}\n', {"Next-Page-Token": "s1.2"}),
        answer(200, '{"row": 2}\n'),
    )
    with Client(service.url) as client:
        rows = list(client.rows("gas", window="open", fields=("input",), page_size=2))
    assert [row["row"] for row in rows] == [0, 1, 2]
    assert [request.query for request in service.requests] == [
        "page_size=2&window=open&fields=input",
        "page_size=2&window=open&fields=input&page_token=s1.2",
    ]


def test_a_list_is_read_page_after_page(service, answer):
    service.on(
        "GET /api/v1/runs",
        answer(200, {"items": [{"id": "b"}], "next_page_token": "b"}),
        answer(200, {"items": [{"id": "a"}], "next_page_token": None}),
    )
    with Client(service.url) as client:
        assert [run["id"] for run in client.runs(model="gas")] == ["b", "a"]
    assert service.requests[1].query == "model=gas&page_token=b"


def test_an_array_becomes_one_flat_tensor_and_nested_lists_the_same(service, answer):
    service.on("POST /v2/models/gas/versions/1/infer", answer(200, {"outputs": []}))
    x = np.arange(12, dtype=np.float32).reshape(2, 2, 3)
    with Client(service.url) as client:
        for rows in (x + 0.5, (x + 0.5).tolist()):
            client.infer("gas", rows, version="1", parameters={"log": False}, outputs=("class",))
    first, second = (request.json for request in service.requests)
    assert first == second
    assert first["inputs"] == [
        {
            "name": "input",
            "datatype": "FP32",
            "shape": [2, 2, 3],
            "data": [number + 0.5 for number in range(12)],
        }
    ]
    assert (first["parameters"], first["outputs"]) == ({"log": False}, [{"name": "class"}])


def test_a_promotion_quotes_the_etag_of_what_was_seen(service, answer):
    service.on(
        "GET /api/v1/models/gas/aliases/champion", answer(200, {"version": "2"}, {"ETag": '"5"'})
    )
    service.on("PUT /api/v1/models/gas/aliases/champion", answer(200, {"version": "3"}))
    with Client(service.url) as client:
        client.promote("gas", "3", "better")
    put = service.asked("PUT /api/v1/models/gas/aliases/champion")[0]
    assert (put.headers["If-Match"], put.json) == ('"5"', {"version": "3", "reason": "better"})


def test_waiting_for_a_run_goes_on_until_it_has_ended(service, answer):
    service.on(
        "GET /api/v1/runs/r1", answer(200, {"state": "running"}), answer(200, {"state": "rejected"})
    )
    with Client(service.url) as client:
        assert client.run("r1", wait=5)["state"] == "rejected"


def test_waiting_for_a_run_ends_when_the_time_is_up(service, answer):
    service.on("GET /api/v1/runs/r1", answer(200, {"state": "running"}))
    with Client(service.url) as client:
        assert client.run("r1", wait=0.3)["state"] == "running"


def test_create_sends_the_spec_and_the_seed_set_beside_it(service, answer, tmp_path):
    service.on("POST /api/v1/models", answer(202, {"id": "r1"}))
    (tmp_path / "seed.npz").write_bytes(b"rows")
    spec = tmp_path / "spec.toml"
    spec.write_text('[model]\nname = "gas"\n[seed]\npath = "seed.npz"\n')
    with Client(service.url) as client:
        assert client.create(spec) == {"id": "r1"}
    body = service.requests[0].body
    assert b'name="spec"; filename="spec.toml"' in body
    assert b'name="seed"; filename="seed.npz"' in body
    assert b'name = "gas"' in body


@pytest.mark.parametrize(
    ("text", "words"), [("[model", "is not TOML"), ('[model]\nname = "gas"', "names no seed set")]
)
def test_a_spec_without_a_seed_set_is_refused_before_sending(service, tmp_path, text, words):
    spec = tmp_path / "spec.toml"
    spec.write_text(text)
    with Client(service.url) as client, pytest.raises(errors.FileError, match=words):
        client.create(spec)
    assert service.requests == []
