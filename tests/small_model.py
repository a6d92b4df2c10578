"""A model of four numbers and three classes, created over HTTP: trained in seconds."""

from __future__ import annotations

import io
from typing import Any

import httpx
import numpy as np
from running import wait_for

SPEC = """
[model]
name = "{name}"
network = "mlp"
members = 1
[model.network_args]
hidden = [16]
[input]
kind = "vector"
shape = [4]
classes = ["low", "middle", "high"]
[policy]
learnable = "yes"
schedule = "never"
on_drift = false
max_rows = 0
min_window_rows = 40
"""


def labeled(rows: int = 90, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """x (rows, 4) in three separate clusters, y (rows,)."""
    rng = np.random.default_rng(seed)
    y = np.arange(rows) % 3
    x = rng.normal(0, 0.3, (rows, 4)) + 2.0 * y[:, None]
    return x.astype(np.float32), y


def seed_file(x: Any = None, y: Any = None) -> bytes:
    good_x, good_y = labeled()
    out = io.BytesIO()
    np.savez(out, x=good_x if x is None else x, y=good_y if y is None else y)
    return out.getvalue()


def post(
    http: httpx.Client, spec: str | bytes, seed: bytes, name: str = "seed.npz"
) -> httpx.Response:
    return http.post("/api/v1/models", files={"spec": ("spec.toml", spec), "seed": (name, seed)})


def create(http: httpx.Client, name: str, spec: str = SPEC, seed: bytes | None = None) -> None:
    """Create the model; returns when every live replica answers with version 1."""
    reply = post(http, spec.format(name=name), seed_file() if seed is None else seed)
    assert reply.status_code == 202, reply.text

    def run(**wait: int) -> Any:
        return http.get(f"/api/v1/runs/{reply.json()['id']}", params=wait).json()

    wait_for(lambda: run(wait=20)["ended_at"], 90)
    assert run()["state"] == "succeeded", run()
    wait_for(lambda: run()["served_at"])


def tensor(**changes: Any) -> dict[str, Any]:
    """A /v2 request body of one row, with changes to its tensor."""
    return {
        "inputs": [
            {"name": "input", "shape": [1, 4], "datatype": "FP32", "data": [1, 2, 3, 4], **changes}
        ]
    }
