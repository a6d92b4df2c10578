"""Postgres is frozen, and killed, under load: answers go on as before, nothing is lost, and
everybody is told.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil
import pytest
from digits_model import create, learn, send, window
from history import load
from postgres import Postgres
from running import Service, wait_for

pytestmark = pytest.mark.slow

SLOW = 0.05
"""Seconds that an answer may take beyond twice what it took before: on a busy machine
single ones wait for a core.
"""


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    with Postgres.started() as server:
        yield server


@pytest.fixture(scope="module")
def running(server: Postgres, short_folder: Path) -> Iterator[Service]:
    environment = {"ACCLIMATE_LEASE_SECONDS": "4", "ACCLIMATE_DATABASE_URL": server.new_database()}
    service = Service(home=short_folder / "frozen-database", environment=environment).start()
    with service.http() as http:
        create(http, "frozen")
    yield service
    assert service.stop() == 0, service.logs()


@contextmanager
def frozen(server: Postgres) -> Iterator[None]:
    """No process of the server runs while the block does; its connections stay open."""
    family = [
        psutil.Process(server.process.pid),
        *psutil.Process(server.process.pid).children(recursive=True),
    ]
    for process in family:
        os.kill(process.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for process in reversed(family):
            os.kill(process.pid, signal.SIGCONT)


@pytest.mark.parametrize("seconds", [12, pytest.param(60, marks=pytest.mark.drill)])
def test_a_frozen_postgres_delays_no_answer_and_loses_nothing(running, server, drill, seconds):
    with running.http() as http, load(running, "frozen") as history:
        time.sleep(5)
        began = time.monotonic()
        with frozen(server):
            time.sleep(6)
            told = http.get("/v2/health/ready").json()
            asked = time.monotonic()
            status = http.get("/api/v1/status").json()
            assert time.monotonic() - asked < 2
            assert (told["ready"], "degraded" in told, status["healthy"]["state"]) == (
                True,
                True,
                "warn",
            )
            with running.http("acc_" + "x" * 43) as stranger:
                assert stranger.get("/api/v1/status").status_code == 503
            time.sleep(max(0.0, began + seconds - time.monotonic()))
            thawed = time.monotonic()
        wait_for(lambda: "degraded" not in http.get("/v2/health/ready").json())
        time.sleep(1)
    before, during = history.p99(0, began), history.p99(began, thawed)
    codes = {request.code for request in history.requests}
    with running.http() as http:
        acknowledged, found, copies = history.compare(http, "frozen")
        drill.note(
            "11 Postgres frozen",
            f"{seconds} s under load; p99 {1000 * before:.1f} ms before, {1000 * during:.1f} "
            f"ms while",
            acknowledged=acknowledged,
            found=found,
            duplicates=copies,
        )
        assert codes == {200}
        assert during < 2 * before + SLOW
        assert (acknowledged, copies) == (found, 0)
        assert wait_for(lambda: http.get("/api/v1/status").json()["healthy"]["state"] == "ok")


def test_a_run_whose_database_was_killed_goes_on_and_publishes_once(running, server, drill):
    with running.http() as http:
        create(http, "killed")
        send(http, "killed", window(1)[0])
        run_id = http.post("/api/v1/models/killed/runs", json={}).json()["id"]
        with load(running, "frozen") as history:
            for _ in range(3):
                time.sleep(1.5)
                # One killed process of it makes the server end every session and recover.
                os.kill(psutil.Process(server.process.pid).children()[0].pid, signal.SIGKILL)
            run = wait_for(lambda: _ended(http, run_id), 120)
        published = len(http.get("/api/v1/models/killed/promotions").json()["items"]) - 1
        acknowledged, found, copies = history.compare(http, "frozen")
        counted = {
            "acknowledged": acknowledged,
            "found": found,
            "duplicates": copies,
            "published": published,
        }
        drill.note(
            "12, 24 Postgres killed", "three times while a run trained, under load", **counted
        )
        assert (run["state"], published) == ("succeeded", 1), run
        assert (acknowledged, copies) == (found, 0)
        assert {request.code for request in history.requests} == {200}
        send(http, "killed", window(2)[0])
        assert learn(http, "killed")["window"]["rows"] == len(window(2)[0])


def _ended(http: httpx.Client, run_id: str) -> dict[str, object] | None:
    reply = http.get(f"/api/v1/runs/{run_id}")
    return reply.json() if reply.status_code == 200 and reply.json()["ended_at"] else None
