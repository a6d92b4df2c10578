"""A window is closed while one replica is frozen: it is not waited for, and what it had
logged is in the next window.
"""

from __future__ import annotations

import signal
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from digits_model import create, ended, rows, send, window
from running import Service, wait_for

pytestmark = pytest.mark.slow


@pytest.fixture
def pair(short_folder: Path) -> Iterator[Service]:
    """Two replicas that share one port."""
    running = Service(
        home=short_folder / "pair", environment={"ACCLIMATE_LEASE_SECONDS": "4"}, replicas=2
    ).start()
    yield running
    assert running.stop() == 0, running.logs()


@contextmanager
def only(service: Service, replica: str) -> Iterator[httpx.Client]:
    """A client of this replica alone: its one connection was taken while the other was frozen."""
    other = {"api-0": "api-1", "api-1": "api-0"}[replica]
    with service.http() as client:
        service.signal(other, signal.SIGSTOP)
        try:
            assert client.get("/v2/health/live").status_code == 200
        finally:
            service.signal(other, signal.SIGCONT)
        yield client


def test_rows_of_a_frozen_replica_go_into_the_next_window_and_none_is_lost(pair):
    x, _ = window(1)
    with pair.http() as http:
        create(http, "frozen")
        wait_for(lambda: len(http.get("/api/v1/models/frozen").json()["replicas"]) == 2)
        wait_for(
            lambda: (
                {row["version"] for row in http.get("/api/v1/models/frozen").json()["replicas"]}
                == {"1"}
            )
        )
    with only(pair, "api-0") as awake, only(pair, "api-1") as frozen:
        fixed = [answer["id"] for answer in send(awake, "frozen", x, size=50)]
        late = [answer["id"] for answer in send(frozen, "frozen", x, size=50)]
        pair.signal("api-1", signal.SIGSTOP)
        try:
            started = time.monotonic()
            reply = awake.post("/api/v1/models/frozen/runs", json={"reason": "one is frozen"})
            seconds = time.monotonic() - started
            assert reply.status_code == 202, reply.text
            first = ended(awake, reply.json()["id"])
        finally:
            pair.signal("api-1", signal.SIGCONT)
        assert first["window"]["rows"] == len(x), first
        assert 5 < seconds < 20, (
            "the barrier waits until the heartbeat is 10 s old, and 12 s at most"
        )
        assert frozen.get("/v2/health/live").status_code == 200

        def placed() -> dict[str, str]:
            return {row["prediction_id"]: row["window"] for row in rows(awake, "frozen")}

        wait_for(lambda: set(late) <= set(placed()))
        assert {placed()[id] for id in fixed} == {"w-1"} and {placed()[id] for id in late} == {
            "w-2"
        }
        second = awake.post("/api/v1/models/frozen/runs", json={"reason": "it is awake again"})
        assert second.status_code == 202, second.text
        assert ended(awake, second.json()["id"])["window"]["rows"] == len(x)
        counts = Counter((row["prediction_id"], row["row"]) for row in rows(awake, "frozen"))
        assert len(counts) == 2 * len(x) and set(counts.values()) == {1}
