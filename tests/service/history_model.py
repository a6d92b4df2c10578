"""A small model with a history, created once per service: two runs, one of them started by a
trigger.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import httpx
import numpy as np
from running import Service, wait_for
from small_model import create, labeled

NAME = "history"
URL = f"/api/v1/models/{NAME}"
MAX_ROWS = 60


@dataclass(frozen=True)
class History:
    """What happened: the run of an operator during a pause, the one that started by itself after
    it, and what was seen.
    """

    paused: dict[str, Any]
    runs_during_pause: list[dict[str, Any]]
    asked_for: dict[str, Any]
    by_itself: dict[str, Any]


MADE: dict[str, History] = {}


def history(service: Service, http: httpx.Client) -> History:
    if service.url not in MADE:
        MADE[service.url] = _make(service, http)
    return MADE[service.url]


def send(
    http: httpx.Client, x: np.ndarray, *, name: str = NAME, id: str | None = None
) -> list[tuple[str, int]]:
    """The addresses of the rows, logged by one request."""
    body: dict[str, Any] = {"inputs": [{"name": "input", "shape": [len(x), 4], "datatype": "FP32"}]}
    body["inputs"][0]["data"] = x.ravel().tolist()
    reply = http.post(f"/v2/models/{name}/infer", json={**body, **({"id": id} if id else {})})
    assert reply.status_code == 200, reply.text
    return [(reply.json()["id"], row) for row in range(len(x))]


def ended(http: httpx.Client, run_id: str) -> dict[str, Any]:
    def terminal() -> Any:
        run = http.get(f"/api/v1/runs/{run_id}", params={"wait": 20}).json()
        return run if run["ended_at"] else None

    return wait_for(terminal, 90)


def learn(http: httpx.Client, **body: Any) -> dict[str, Any]:
    reply = http.post(f"{URL}/runs", json=body)
    assert reply.status_code == 202, reply.text
    return ended(http, reply.json()["id"])


def windows(http: httpx.Client, name: str = NAME) -> list[dict[str, Any]]:
    return http.get(f"/api/v1/models/{name}/windows").json()["items"]


def _make(service: Service, http: httpx.Client) -> History:
    create(http, NAME)
    etag = http.get(f"{URL}/policy").headers["ETag"]
    assert (
        http.put(
            f"{URL}/policy", json={"max_rows": MAX_ROWS}, headers={"If-Match": etag}
        ).status_code
        == 200
    )
    paused = http.patch(URL, json={"learning": "paused", "reason": "we look"}).json()
    x = labeled(90)[0] + 0.9
    send(http, x)
    # Whoever looks for triggers has looked at these rows at least once when it has come round
    # twice.
    rounds = _rounds(service)
    wait_for(lambda: _rounds(service) >= rounds + 2, 60)
    runs_during_pause = [run for run in _runs(http) if run["trigger"] != "create"]
    asked_for = learn(http, reason="asked for")
    assert (
        http.patch(URL, json={"learning": "on", "reason": "go on"}).json()["learning_reason"]
        == "go on"
    )
    send(http, labeled(90, seed=1)[0] + 0.9)
    started = wait_for(lambda: [run for run in _runs(http) if run["trigger"] == "rows"])
    by_itself = ended(http, started[0]["id"])
    etag = http.get(f"{URL}/policy").headers["ETag"]
    assert (
        http.put(f"{URL}/policy", json={"max_rows": 0}, headers={"If-Match": etag}).status_code
        == 200
    )
    return History(
        paused=paused, runs_during_pause=runs_during_pause, asked_for=asked_for, by_itself=by_itself
    )


def _runs(http: httpx.Client) -> list[dict[str, Any]]:
    return http.get("/api/v1/runs", params={"model": NAME}).json()["items"]


def _rounds(service: Service) -> float:
    """How often the worker has looked for triggers."""
    port = service.environment["ACCLIMATE_WORKER_METRICS_PORT"]
    text = httpx.get(f"http://127.0.0.1:{port}/metrics").text
    found = re.search(
        r'^acclimate_worker_tasks_total{outcome="done",task="trigger"} (\S+)$', text, re.MULTILINE
    )
    return float(found[1]) if found else 0.0
