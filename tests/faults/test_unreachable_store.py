"""The store goes away under load: rows wait on the replica's disk up to a limit, are
refused beyond it, and all arrive later.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from digits_model import create
from history import load
from running import Service, wait_for

pytestmark = pytest.mark.slow

LIMIT_MIB = 4.0
BACKLOG = "acclimate_journal_backlog_bytes"


@pytest.fixture(scope="module")
def running(short_folder: Path) -> Iterator[Service]:
    service = Service(
        home=short_folder / "away", environment={"ACCLIMATE_JOURNAL_LIMIT_MIB": str(LIMIT_MIB)}
    ).start()
    with service.http() as http:
        create(http, "away")
    yield service
    assert service.stop() == 0, service.logs()


@contextmanager
def away(running: Service) -> Iterator[None]:
    """Where the store's folder stood there is a file while the block runs: nothing can be
    read or written below it.
    """
    store, elsewhere = running.home / "store", running.home / "elsewhere"
    store.rename(elsewhere)
    store.touch()
    try:
        yield
    finally:
        store.unlink()
        elsewhere.rename(store)


def metric(http: httpx.Client, name: str) -> float:
    [line] = [
        line for line in http.get("/metrics").text.splitlines() if line.startswith(f"{name} ")
    ]
    return float(line.rpartition(" ")[2])


def health(http: httpx.Client) -> tuple[str, str]:
    healthy = http.get("/api/v1/status").json()["healthy"]
    return healthy["state"], " ".join(healthy["reasons"])


def test_rows_that_the_store_does_not_take_wait_up_to_a_limit_and_all_arrive_later(running, drill):
    with running.http() as http, load(running, "away", size=100, pause=0.05) as history:
        time.sleep(2)
        with away(running):
            # Whoever asks for a plan makes every replica seal: the file cannot leave its disk.
            http.post("/api/v1/models/away/runs", json={"dry_run": True})
            wait_for(
                lambda: (
                    http.get("/v2/health/ready").json().get("degraded") == "does not answer: store"
                ),
                30,
            )
            assert health(http)[0] == "warn"
            assert "wait on its disk" in health(http)[1]
            wait_for(lambda: any(request.code == 503 for request in history.requests), 60)
            time.sleep(3)
            waiting = metric(http, BACKLOG)
            refused = sum(request.code == 503 for request in history.requests)
            body = {"rows": [[0.0] * 64], "log": False}
            assert http.post("/api/v1/models/away/predict", json=body).status_code == 200
            assert http.get("/v2/health/ready").status_code == 200
        back = time.monotonic()
        wait_for(lambda: health(http)[0] == "ok", 30)
        wait_for(lambda: len(history.between(back + 5, float("inf"))) > 20)
        assert {request.code for request in history.between(back + 5, float("inf"))} == {200}
    with running.http() as http:
        acknowledged, found, copies = history.compare(http, "away")
        drill.note(
            "16 store away",
            f"{waiting / 2**20:.1f} MiB waited of {LIMIT_MIB:.0f}; {refused} requests refused",
            acknowledged=acknowledged,
            found=found,
            duplicates=copies,
        )
        assert refused > 0
        assert LIMIT_MIB * 2**20 <= waiting < 1.5 * LIMIT_MIB * 2**20
        assert (acknowledged, copies) == (found, 0)
        assert wait_for(lambda: metric(http, BACKLOG) < 2**20)


def test_a_replica_killed_while_the_store_is_away_comes_back_and_loses_nothing(running, drill):
    with load(running, "away") as history:
        time.sleep(2)
        with away(running):
            killed = running.pid("api-0")
            os.kill(killed, signal.SIGKILL)
            with running.http() as http:
                assert wait_for(lambda: running.pid("api-0") != killed and _live(http), 30)
                # Its versions are in the store: until it is back, this says so and promises
                # nothing.
                body = {"rows": [[0.0] * 64]}
                assert http.post("/api/v1/models/away/predict", json=body).status_code == 503
        with running.http() as http:
            assert wait_for(
                lambda: http.post("/api/v1/models/away/predict", json=body).status_code == 200, 30
            )
    with running.http() as http:
        assert wait_for(lambda: health(http)[0] == "ok", 30)
        acknowledged, found, copies = history.compare(http, "away")
        counted = {"acknowledged": acknowledged, "found": found, "duplicates": copies}
        drill.note(
            "10 killed while the store is away",
            "starts without it, serves once it is back",
            **counted,
        )
        assert acknowledged > 0
        assert (acknowledged, copies) == (found, 0)


def _live(http: httpx.Client) -> bool:
    try:
        return http.get("/v2/health/live").status_code == 200
    except httpx.TransportError:
        return False
