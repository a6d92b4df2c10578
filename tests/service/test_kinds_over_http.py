"""Models of images, text and sequences over HTTP: created, predicted over both protocols, logged,
learnt.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import numpy as np
import pytest
from digits_model import ended, learn, rows
from refusals import inference_error, problem
from running import Service, wait_for

SPEC = """
[model]
name = "{name}"
network = "{network}"
members = 2
[model.network_args]
{args}
[input]
kind = "{kind}"
shape = {shape}
classes = ["low", "high"]
[policy]
learnable = "yes"
schedule = "never"
on_drift = false
max_rows = 0
min_window_rows = 40
"""
ODD = {
    "text": ["", "a\x00b", "naïve \U0001f3a7\nсловo", "x" * 60_000],
    "sequence": [[2**24 + 1, 2**62 + 1, 0, 2**63 - 1, 0, 0], [0] * 6],
    "image": [[[[0.1] * 8] * 8] * 2],
}


@dataclass(frozen=True)
class Kind:
    """What a kind's rows are sent as, and what is refused."""

    network: str
    args: str
    shape: list[int]
    datatype: str
    wrong: Any
    pointer: str


KINDS = {
    "image": Kind(
        "cnn", "channels = [4]\nhidden = [16]", [2, 8, 8], "UINT8", [[[0] * 8] * 8], "#/rows/1"
    ),
    "text": Kind("text", "buckets = 256\ndim = 8", [1], "BYTES", "x" * 65_537, "#/rows/1"),
    "sequence": Kind("text", "vocabulary = 64\ndim = 8", [6], "INT64", [1, -1], "#/rows/1/1"),
}


def labeled(kind: str, count: int, seed: int) -> tuple[list[Any], np.ndarray]:
    """Rows that differ by class: brightness, words, or ids."""
    rng = np.random.default_rng(seed)
    y = np.arange(count) % 2
    if kind == "image":
        return (rng.integers(0, 100, (count, 2, 8, 8)) + 100 * y[:, None, None, None]).tolist(), y
    ids = rng.integers(1, 20, (count, 6)) + 20 * y[:, None]
    if kind == "sequence":
        return ids.tolist(), y
    return [" ".join(f"word{number}" for number in row) for row in ids], y


# One database is enough: rows never stand in it.
once = pytest.mark.parametrize("service", ["sqlite"], indirect=True, scope="session")
pytestmark = [pytest.mark.slow, once]


@pytest.fixture(scope="module", params=list(KINDS))
def model(
    service: Service, request: pytest.FixtureRequest
) -> Iterator[tuple[httpx.Client, str, str]]:
    """A client, and a model of each kind whose version 1 answers."""
    kind, made = request.param, KINDS[request.param]
    name = f"kind-{kind}"
    spec = SPEC.format(name=name, kind=kind, network=made.network, args=made.args, shape=made.shape)
    x, y = labeled(kind, 100, seed=0)
    np.savez_compressed(seed := io.BytesIO(), x=np.array(x), y=y)
    with service.http() as http:
        reply = http.post(
            "/api/v1/models",
            files={"spec": ("spec.toml", spec), "seed": ("seed.npz", seed.getvalue())},
        )
        assert reply.status_code == 202, reply.text
        run = ended(http, reply.json()["id"])
        assert run["state"] == "succeeded", run
        wait_for(lambda: http.get(f"/v2/models/{name}/ready").status_code == 200)
        yield http, name, kind


def tensor(kind: str, x: Any, **changes: Any) -> dict[str, Any]:
    made = KINDS[kind]
    body = {
        "name": "input",
        "datatype": made.datatype,
        "shape": [len(x), *made.shape],
        "data": x,
        **changes,
    }
    return {"inputs": [body], "parameters": {"log": False}}


def test_rows_of_the_kind_are_answered_alike_over_both_protocols_and_rightly(model):
    http, name, kind = model
    x, y = labeled(kind, 60, seed=1)
    reply = http.post(f"/api/v1/models/{name}/predict", json={"rows": x, "log": False}).json()
    told = [answer["probabilities"] for answer in reply["predictions"]]
    assert np.mean(np.argmax(told, axis=1) == y) > 0.9
    outputs = http.post(f"/v2/models/{name}/infer", json=tensor(kind, x)).json()["outputs"]
    np.testing.assert_allclose(np.reshape(outputs[0]["data"], (60, 2)), told, atol=1e-5)


def test_odd_rows_are_logged_exactly_refused_ones_not_at_all_and_the_window_is_learnt(model):
    http, name, kind = model
    made, odd = KINDS[kind], ODD[kind]
    predict, infer = f"/api/v1/models/{name}/predict", f"/v2/models/{name}/infer"
    x = labeled(kind, 60, seed=2)[0]
    answered = [http.post(predict, json={"rows": part}) for part in (odd, x)]
    assert [reply.status_code for reply in answered] == [200, 200]
    ((pointer, _),) = problem(http.post(predict, json={"rows": [x[0], made.wrong]}), 400)
    assert pointer == made.pointer
    wrong = {"image": "BYTES", "text": "FP32", "sequence": "FP32"}[kind]
    said = inference_error(http.post(infer, json=tensor(kind, x, datatype=wrong)), 400)
    assert "datatype" in said and ("FP32" if kind == "image" else made.datatype) in said
    raw = b'{"rows": ["half \\ud83d"]}'
    problem(http.post(predict, content=raw, headers={"Content-Type": "application/json"}), 400)
    logged = rows(http, name, fields="input")
    want = [row if kind != "text" else [row] for row in odd + x]
    told = [np.reshape(row["input"], made.shape).tolist() for row in logged]
    if kind == "image":
        np.testing.assert_allclose(told, want, rtol=1e-6)
    else:
        assert told == [np.reshape(row, made.shape).tolist() for row in want]
    run = learn(http, name)
    assert run["state"] in ("succeeded", "rejected"), json.dumps(run)
    assert run["window"]["rows"] == len(odd) + len(x)
