"""A recorded history of requests, and what is held against it afterwards, as Jepsen does."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
import numpy as np
from digits_model import rows, stream
from running import Service


@dataclass(frozen=True, kw_only=True)
class Request:
    """When a request was sent (monotonic seconds), how long it took, and what came: 0 for a
    connection that broke.
    """

    sent: float
    seconds: float
    code: int
    id: str | None = None
    version: str | None = None
    log: str | None = None
    rows: int = 0

    @property
    def addresses(self) -> list[tuple[str, int]]:
        return (
            [(self.id, row) for row in range(self.rows)]
            if self.id is not None and self.log != "off"
            else []
        )


@dataclass
class History:
    """Every request of a load, in the order in which they ended."""

    requests: list[Request] = field(default_factory=list)

    @property
    def acknowledged(self) -> list[tuple[str, int]]:
        return [address for request in self.requests for address in request.addresses]

    def between(self, start: float, end: float) -> list[Request]:
        """Those that were sent in this time."""
        return [request for request in self.requests if start <= request.sent < end]

    def p99(self, start: float, end: float) -> float:
        """Seconds that 99 of 100 requests sent in this time took at most."""
        return float(np.quantile([request.seconds for request in self.between(start, end)], 0.99))

    def compare(self, http: httpx.Client, model: str) -> tuple[int, int, int]:
        """(acknowledged, of those found in the log, copies too many): all equal and none is what
        must be.
        """
        found = Counter((row["prediction_id"], row["row"]) for row in rows(http, model))
        acknowledged = set(self.acknowledged)
        return (
            len(acknowledged),
            len(acknowledged & set(found)),
            sum(count - 1 for count in found.values()),
        )


@contextmanager
def load(
    service: Service, model: str, *, clients: int = 2, pause: float = 0.01, size: int = 8
) -> Iterator[History]:
    """While the block runs, so many clients send requests of the digits model, one after another,
    each on its own connection.
    """
    history, stop = History(), threading.Event()
    body = {"rows": stream()[0][:size].tolist()}

    def send() -> None:
        while not stop.is_set():
            with service.http() as http:
                while not stop.is_set() and _one(http, model, body, history):
                    time.sleep(pause)

    threads = [threading.Thread(target=send) for _ in range(clients)]
    for thread in threads:
        thread.start()
    try:
        yield history
    finally:
        stop.set()
        for thread in threads:
            thread.join(70)


def _one(http: httpx.Client, model: str, body: dict[str, Any], history: History) -> bool:
    """Send one request; False when the connection is of no more use."""
    sent = time.monotonic()
    try:
        reply = http.post(f"/api/v1/models/{model}/predict", json=body)
    except httpx.TransportError:
        history.requests.append(Request(sent=sent, seconds=time.monotonic() - sent, code=0))
        time.sleep(0.05)
        return False
    seconds = time.monotonic() - sent
    if reply.status_code != 200:
        history.requests.append(Request(sent=sent, seconds=seconds, code=reply.status_code))
        return True
    said = reply.json()
    answer = {
        "id": said["id"],
        "version": said["version"],
        "log": said["log"],
        "rows": len(said["predictions"]),
    }
    history.requests.append(Request(sent=sent, seconds=seconds, code=200, **answer))
    return True
