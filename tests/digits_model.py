"""A small real model for journeys: handwritten digits as vectors of 64, upright as seed set, turned
as traffic.
"""

from __future__ import annotations

import io
from dataclasses import replace
from functools import cache
from typing import Any

import httpx
import numpy as np
from running import wait_for

from acclimate.cli import digits

SPEC = """
[model]
name = "{name}"
network = "mlp"
[model.network_args]
hidden = [256, 128]
[input]
kind = "vector"
shape = [64]
classes = ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"]
[log]
durability = "{durability}"
[policy]
learnable = "yes"
schedule = "{schedule}"
on_drift = false
max_rows = {max_rows}
"""


@cache
def stream() -> tuple[Any, Any, digits.Stream]:
    x, y, made = digits.make(seed=0)
    return x.reshape(len(x), 64), y, replace(made, x=made.x.reshape(len(made.x), 64))


def window(number: int) -> tuple[np.ndarray, np.ndarray]:
    """The rows and truths of the numbered window, from 1; the fourth is junk."""
    made = stream()[2]
    return made.x[made.t == number], made.y[made.t == number]


def seed_file(x: Any = None, y: Any = None) -> bytes:
    made = stream()
    out = io.BytesIO()
    np.savez(out, x=made[0] if x is None else x, y=made[1] if y is None else y)
    return out.getvalue()


def create(
    http: httpx.Client,
    name: str,
    *,
    durability: str = "os",
    schedule: str = "never",
    max_rows: int = 0,
    policy: str = "on_drift = false",
) -> dict[str, Any]:
    """The ended run that trained version 1 of a new model, with which every live replica answers
    when this returns; `policy` has its other lines.
    """
    spec = SPEC.format(name=name, durability=durability, schedule=schedule, max_rows=max_rows)
    spec = spec.replace("on_drift = false", policy)
    files = {"spec": ("spec.toml", spec), "seed": ("seed.npz", seed_file())}
    reply = http.post("/api/v1/models", files=files)
    assert reply.status_code == 202, reply.text
    run = ended(http, reply.json()["id"])
    assert run["state"] == "succeeded", run
    wait_for(lambda: http.get(f"/api/v1/runs/{run['id']}").json()["served_at"])
    return run


def send(http: httpx.Client, name: str, x: np.ndarray, *, size: int = 100) -> list[dict[str, Any]]:
    """The answers to the rows, sent in several requests."""
    answers = []
    for start in range(0, len(x), size):
        reply = http.post(
            f"/api/v1/models/{name}/predict", json={"rows": x[start : start + size].tolist()}
        )
        assert reply.status_code == 200, reply.text
        answers.append(reply.json())
    return answers


def learn(http: httpx.Client, name: str, **body: Any) -> dict[str, Any]:
    """The ended run that an operator asked for."""
    reply = http.post(f"/api/v1/models/{name}/runs", json=body)
    assert reply.status_code == 202, reply.text
    return ended(http, reply.json()["id"])


def answered(http: httpx.Client, name: str, version: str, x: np.ndarray) -> np.ndarray:
    """The labels (N,) that this version gives the rows; they are not logged."""
    shape, data = list(x.shape), x.ravel().tolist()
    tensor = {"name": "input", "shape": shape, "datatype": "FP32", "data": data}
    body = {"inputs": [tensor], "parameters": {"log": False}}
    reply = http.post(f"/v2/models/{name}/versions/{version}/infer", json=body).json()
    outputs = {each["name"]: each for each in reply["outputs"]}
    return np.array(outputs["class"]["data"])


def ended(http: httpx.Client, run_id: str, seconds: float = 90.0) -> dict[str, Any]:
    def terminal() -> Any:
        run = http.get(f"/api/v1/runs/{run_id}", params={"wait": 20}).json()
        return run if run["state"] in ("succeeded", "rejected", "failed", "cancelled") else None

    return wait_for(terminal, seconds)


def served(http: httpx.Client, name: str, version: str) -> None:
    """Returns when the model answers with the version."""
    row = stream()[0][:1].tolist()

    def answers() -> bool:
        reply = http.post(f"/api/v1/models/{name}/predict", json={"rows": row, "log": False})
        return reply.status_code == 200 and reply.json()["version"] == version

    wait_for(answers)


def rows(http: httpx.Client, name: str, **query: Any) -> list[dict[str, Any]]:
    """Every logged row that the export gives, over all its pages."""
    import json

    found: list[dict[str, Any]] = []
    token = None
    while True:
        params = {**query, "page_size": 1000, **({"page_token": token} if token else {})}
        reply = http.get(f"/api/v1/models/{name}/rows", params=params)
        assert reply.status_code == 200, reply.text
        found += [json.loads(line) for line in reply.text.splitlines()]
        token = reply.headers.get("Next-Page-Token")
        if token is None:
            return found
