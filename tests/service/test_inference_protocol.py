"""The Open Inference Protocol at `/v2`: requests, replies and errors."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from running import Service, wait_for
from small_model import SPEC, create, post, seed_file, tensor

from acclimate.storage.database import Database
from acclimate.storage.log import windows
from acclimate.storage.registry import models
from service.release import RELEASE

NAME = "protocol"
MODEL = f"/v2/models/{NAME}"
INFER = f"{MODEL}/infer"
QUIET = {"parameters": {"log": False}}
OUTPUTS = [
    {"name": "probabilities", "datatype": "FP32", "shape": [-1, 3]},
    {"name": "label", "datatype": "BYTES", "shape": [-1]},
    {"name": "class", "datatype": "INT64", "shape": [-1]},
    {"name": "confidence", "datatype": "FP32", "shape": [-1]},
    {"name": "abstain", "datatype": "BOOL", "shape": [-1]},
]


@pytest.fixture(scope="module")
def http(service: Service) -> Iterator[httpx.Client]:
    """A client of a service with one small model, of which nothing is ever logged here."""
    with service.http() as http:
        create(http, NAME)
        yield http
        assert http.get(f"/api/v1/models/{NAME}/rows").text == ""


def error(reply: httpx.Response, status: int) -> str:
    """The text of an error, which has the one shape that every client of the protocol reads."""
    assert reply.status_code == status, reply.text
    assert reply.headers["content-type"] == "application/json"
    assert "content-encoding" not in reply.headers
    assert list(reply.json()) == ["error"]
    return str(reply.json()["error"])


def answer(reply: httpx.Response) -> dict[str, Any]:
    assert reply.status_code == 200, reply.text
    assert reply.headers["content-type"] == "application/json"
    assert "inference-header-content-length" not in reply.headers
    return dict(reply.json())


def sent(**changes: Any) -> bytes:
    return json.dumps({**tensor(), **QUIET, **changes}).encode()


def test_the_server_says_what_it_is_and_that_it_lives(service, http):
    for path in ("/v2", "/v2/"):
        assert answer(http.get(path)) == {"name": "acclimate", "version": RELEASE, "extensions": []}
    assert answer(httpx.get(f"{service.url}/v2/health/live")) == {"live": True}
    assert answer(httpx.get(f"{service.url}/v2/health/ready")) == {"live": True, "ready": True}
    assert NAME in answer(http.get("/v2/models"))["models"]


def test_a_model_says_what_goes_in_and_comes_out_and_whom_to_ask(http):
    about = {"name": NAME, "versions": ["1"], "platform": "pytorch_torchscript", "outputs": OUTPUTS}
    about["inputs"] = [{"name": "input", "datatype": "FP32", "shape": [-1, 4]}]
    for path in (MODEL, f"{MODEL}/versions/1"):
        assert answer(http.get(path)) == about
        assert answer(http.get(f"{path}/ready")) == {"name": NAME, "ready": True}


def test_a_reply_is_flat_names_its_version_and_declares_what_it_holds(http):
    body = sent(id="заявка-7")
    for path in (INFER, f"{MODEL}/versions/1/infer"):
        reply = answer(http.post(path, content=body))
        assert {
            name: reply[name] for name in ("model_name", "model_version", "id", "parameters")
        } == {
            "model_name": NAME,
            "model_version": "1",
            "id": "заявка-7",
            "parameters": {"log": "off"},
        }
        assert [
            {**output, "shape": [-1, *output["shape"][1:]], "data": len(output["data"])}
            for output in reply["outputs"]
        ] == [
            {**output, "data": 3 if output["name"] == "probabilities" else 1} for output in OUTPUTS
        ]
    generated = [answer(http.post(INFER, content=sent()))["id"] for _ in range(2)]
    assert generated[0] != generated[1]


@pytest.mark.parametrize(
    "type",
    [
        None,
        "application/octet-stream",
        "application/x-www-form-urlencoded",
        "text/plain",
        "image/png",
    ],
)
def test_the_content_type_of_a_request_does_not_matter(http, type):
    headers = {} if type is None else {"Content-Type": type}
    answer(http.post(INFER, content=sent(), headers=headers))


@pytest.mark.parametrize(
    "changes",
    [
        {"id": None, "outputs": None},
        {"inputs": [{**tensor()["inputs"][0], "parameters": None}]},
        {"outputs": [{"name": "label", "parameters": None}]},
        {"outputs": [{"name": "label", "parameters": {"binary_data": False}}]},
        {
            "parameters": {
                "log": False,
                "priority": 1,
                "timeout": 1000,
                "sequence_id": 7,
                "sequence_start": True,
            }
        },
        {
            "parameters": {
                "log": False,
                "triton_enable_empty_final_response": True,
                "headers": {},
                "own": "x",
            }
        },
        {"parameters": {"log": False, "binary_data_output": True}},
    ],
)
def test_what_real_clients_send_besides_the_rows_is_accepted(http, changes):
    answer(http.post(INFER, content=sent(**changes)))


@pytest.mark.parametrize(
    ("encoding", "encode"),
    [
        ("gzip", gzip.compress),
        ("deflate", zlib.compress),
        ("identity", bytes),
        ("GZIP", gzip.compress),
    ],
)
def test_an_encoded_body_is_read_as_if_it_were_plain(http, encoding, encode):
    headers = {"Content-Encoding": encoding}
    assert answer(http.post(INFER, content=encode(sent(id="x")), headers=headers))["id"] == "x"
    rows = encode(b'{"rows": [[1, 2, 3, 4]], "log": false}')
    assert (
        http.post(f"/api/v1/models/{NAME}/predict", content=rows, headers=headers).status_code
        == 200
    )


def test_an_encoded_body_that_is_broken_unknown_or_a_bomb_is_refused(http):
    def send(content: bytes, encoding: str) -> httpx.Response:
        return http.post(INFER, content=content, headers={"Content-Encoding": encoding})

    good = gzip.compress(sent())
    assert "gzip" in error(send(sent(), "gzip"), 400)
    assert "deflate" in error(send(good, "deflate"), 400)
    assert "one complete gzip stream" in error(send(good[:-9], "gzip"), 400)
    assert "one complete gzip stream" in error(send(good + good, "gzip"), 400)
    assert "gzip or deflate" in error(send(sent(), "br"), 415)
    assert "gzip or deflate" in error(send(good, "gzip, gzip"), 415)
    bomb = gzip.compress(b'{"inputs": [' + b" " * (200 * 2**20) + b"]}")
    assert len(bomb) < 2**20
    assert "8 MiB" in error(send(bomb, "gzip"), 413)


def test_binary_tensors_are_refused_by_name(http):
    head = json.dumps({"inputs": [{"name": "input", "shape": [1, 4], "datatype": "FP32"}]}).encode()
    headers = {"Inference-Header-Content-Length": str(len(head))}
    said = error(http.post(INFER, content=head + bytes(16), headers=headers), 400)
    assert "binary tensors" in said and "JSON" in said


@pytest.mark.parametrize(
    "changes",
    [
        {"data": [1, 2, None, 4]},
        {"data": [[1, 2, None, 4]]},
        {"data": None},
        {"data": [1, 2, "3", 4]},
        {"data": ["1", "2", "3", "4"]},
        {"data": [[1, 2, 3], [4]]},
        {"data": [[1, 2, 3, 4], [1, 2]], "shape": [2, 4]},
        {"data": [1, 2, 3, 4, 5]},
        {"data": {}},
        {"data": "1234"},
        {"shape": [-1, 4]},
        {"shape": [1, -4]},
        {"shape": [-1, -4]},
        {"shape": [4000, 4]},
        {"shape": [1, 10**30]},
        {"shape": [4]},
        {"shape": []},
        {"shape": None},
        {"shape": [1.0, 4]},
        {"shape": [True, 4]},
        {"shape": [1, 4, 1]},
        {"datatype": None},
        {"datatype": "FP33"},
        {"datatype": "UINT8", "data": [-1, 2, 3, 4]},
        {"name": None},
    ],
)
def test_a_malformed_tensor_is_a_400(http, changes):
    # Without `log: false`: what is refused is not logged, which the fixture looks at.
    body = json.dumps(tensor(**changes)).encode()
    assert error(http.post(INFER, content=body), 400)
    assert error(http.post(f"{MODEL}/versions/1/infer", content=body), 400)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"null",
        b"[]",
        b"1",
        b"{}",
        b"{",
        b'{"inputs": null}',
        b'{"inputs": {}}',
        b'{"inputs": [null]}',
        b"\x00",
        b"NaN",
        *(
            sent(inputs=[tensor()["inputs"][0]] * 2),
            sent(parameters=[]),
            sent(outputs={}),
            sent(id=7),
            sent(inptus=[]),
        ),
    ],
)
def test_a_malformed_body_is_a_400(http, content):
    assert error(http.post(INFER, content=content), 400)


def test_every_error_below_v2_has_the_one_shape(service, http):
    for method, path in (
        *(
            ("GET", path)
            for path in (
                "/v2/nothing",
                "/v2//",
                "/v2/health",
                "/v2/health/",
                "/v2/models/",
                "/v2/modelss",
            )
        ),
        *(
            ("GET", f"{MODEL}{path}")
            for path in ("/", "/versions", "/versions/", "/versions/2", "/config", "/stats")
        ),
        *(
            ("POST", path)
            for path in (
                "/v2/repository/index",
                f"/v2/repository/models/{NAME}/load",
                "/v2/models/no/infer",
            )
        ),
    ):
        error(http.request(method, path), 404)
    for method, path in (
        ("GET", INFER),
        ("POST", "/v2"),
        ("DELETE", MODEL),
        ("PUT", "/v2/health/live"),
        ("POST", "/v2/models"),
    ):
        error(http.request(method, path), 405)
    error(httpx.post(service.url + INFER, content=sent()), 401)
    made = http.post("/api/v1/keys", json={"name": "viewer", "scopes": ["view"]}).json()
    with service.http(made["key"]) as viewer:
        assert "predict" in error(viewer.post(INFER, content=sent()), 403)
    error(http.post(INFER, content=b" " * (9 * 2**20)), 413)
    error(http.post(INFER, content=sent(), headers={"Content-Encoding": "br"}), 415)


def test_a_model_without_a_version_is_not_ready_and_says_when_to_come_back(http):
    assert post(http, SPEC.format(name="unready"), seed_file()).status_code == 202
    wait_for(lambda: "unready" in http.get("/v2/models").json()["models"])
    for reply in (
        http.get("/v2/models/unready/ready"),
        http.post("/v2/models/unready/infer", content=sent()),
    ):
        assert "no version yet" in error(reply, 503)
        assert int(reply.headers["retry-after"]) > 0
    assert answer(http.get("/v2/models/unready"))["versions"] == []


def test_the_largest_finite_numbers_are_answered_with_finite_ones(http):
    body = sent(
        inputs=[
            {
                **tensor()["inputs"][0],
                "shape": [2, 4],
                "data": [3e38, -3e38, 3e38, 3e38, 1e30, 1e30, -1e30, 0],
            }
        ]
    )
    reply = http.post(INFER, content=body)
    if reply.status_code == 200:
        values = reply.json()["outputs"][0]["data"]
        assert None not in values and sum(values) == pytest.approx(2, abs=1e-3)
    else:
        error(reply, 400)


def raise_alarm(service: Service) -> str:
    """Quarantine an empty window of the model as a run does; returns the window's id."""
    sqlite = f"sqlite:///{service.home / 'acclimate.db'}"
    database = Database(service.environment.get("ACCLIMATE_DATABASE_URL", sqlite))
    with database.write() as connection:
        model_id = models.named(connection, NAME)["id"]
        window = windows.close(connection, model_id, closed_by="operator", needed=0)
        found = windows.Findings(drift={"kind": "abrupt", "effects": {}}, state="quarantined")
        windows.note(connection, model_id, window["number"], found)
    database.close()
    return f"w-{window['number']}"


def test_every_answer_names_the_alarm_that_stands(service, http):
    def told() -> tuple[Any, Any, Any]:
        paths = (INFER, f"{MODEL}/versions/1/infer")
        body = {"rows": [[0.0] * 4], "log": False}
        plain = answer(http.post(f"/api/v1/models/{NAME}/predict", json=body))
        v2 = [answer(http.post(path, content=sent()))["parameters"] for path in paths]
        return (*(parameters.get("alarm") for parameters in v2), plain["alarm"])

    assert told() == (None, None, None)
    window = raise_alarm(service)
    assert wait_for(lambda: told() == ("abrupt",) * 3, 10)
    url = f"/api/v1/models/{NAME}/windows/{window}/release"
    assert http.post(url, json={"reason": "looked at"}).status_code == 200
    assert wait_for(lambda: told() == (None, None, None), 10)
