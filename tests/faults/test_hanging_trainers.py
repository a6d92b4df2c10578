"""Trainers that hang, wake too late, die again and again, or have to leave: a run ends once
and publishes once, or never.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from digits_model import create, ended, learn, send, window
from drills import held, reached, release
from postgres import Postgres
from running import Service, wait_for

pytestmark = pytest.mark.slow

NAME = "hanging"


@pytest.fixture(scope="module")
def two_workers(postgres: Postgres, short_folder: Path) -> Iterator[Service]:
    """A product with two workers, whose leases are short.

    On Postgres, as two machines would have: a process that is stopped in the middle of a write
    keeps SQLite's one lock, while Postgres ends its session after 30 seconds.
    """
    environment = {
        "ACCLIMATE_LEASE_SECONDS": "3",
        "ACCLIMATE_DRILLS": str(short_folder / "drills-hanging"),
    }
    environment["ACCLIMATE_DATABASE_URL"] = postgres.new_database()
    running = Service(home=short_folder / "hanging", environment=environment, workers=2).start()
    with running.http() as http:
        create(http, NAME)
        send(http, NAME, window(1)[0])
        assert learn(http, NAME)["promoted"]
    yield running
    assert running.stop() == 0, running.logs()


@pytest.fixture
def http(two_workers: Service) -> Iterator[httpx.Client]:
    with two_workers.http() as http:
        yield http


def start(http: httpx.Client, windows: list[str] | None = None) -> str:
    reply = http.post(
        f"/api/v1/models/{NAME}/runs", json={} if windows is None else {"windows": windows}
    )
    assert reply.status_code == 202, reply.text
    return str(reply.json()["id"])


def published(http: httpx.Client) -> int:
    return len(http.get(f"/api/v1/models/{NAME}/versions").json()["items"])


def events(service: Service, name: str) -> str:
    return (service.home / "log" / f"{name}.log").read_text()


def worker_of(service: Service, run_id: str) -> str:
    """Which of the workers has started the run's trainer."""
    parents = psutil.Process(service.pid(f"trainer-{run_id}")).parents()
    names = {service.pid(name): name for name in ("worker-0", "worker-1")}
    return next(names[parent.pid] for parent in parents if parent.pid in names)


def test_a_machine_frozen_past_its_lease_publishes_nothing_afterwards(two_workers, http, drill):
    before = published(http)
    with held(two_workers, "publish"):
        run_id = start(http, ["w-1"])
        reached(two_workers, run_id, "publish")
        worker = psutil.Process(two_workers.pid(worker_of(two_workers, run_id)))
        trainer = psutil.Process(two_workers.pid(f"trainer-{run_id}"))
        family = {process.pid for process in (worker, *worker.children(recursive=True), trainer)}
        for pid in family:
            os.kill(pid, signal.SIGSTOP)
        try:
            reached(two_workers, run_id, "publish", attempt=2)
        finally:
            # Both hold what is to be published; the first to go on is the one whose lease was lost.
            release(two_workers, "publish")
            for pid in family:
                os.kill(pid, signal.SIGCONT)
        run = ended(http, run_id)
    wait_for(lambda: not psutil.pid_exists(trainer.pid), 60)
    drill.note(
        "7 frozen past the lease",
        "worker and trainer stopped at publish, then continued",
        published=published(http) - before,
    )
    assert (
        run["state"] in ("succeeded", "rejected"),
        run["attempt"],
        run["version"] is not None,
    ) == (True, 2, True), run
    assert published(http) == before + 1
    assert "the run belongs to another claim; nothing was published" in events(
        two_workers, "worker-0"
    ) + events(two_workers, "worker-1")


def test_a_hanging_trainer_is_killed_and_another_attempt_goes_on(two_workers, http, drill):
    # With one worker alone, since nobody else shall take the run while this one waits for its
    # trainer.
    with held(two_workers, "train"):
        run_id = start(http, ["w-1"])
        reached(two_workers, run_id, "train")
        name = worker_of(two_workers, run_id)
        other = {"worker-0": "worker-1", "worker-1": "worker-0"}[name]
        idle = psutil.Process(two_workers.pid(other))
        idle_family = [idle, *idle.children(recursive=True)]
        for process in idle_family:
            process.suspend()
        trainer = two_workers.pid(f"trainer-{run_id}")
        os.kill(trainer, signal.SIGSTOP)
        try:
            asked = time.monotonic()
            wait_for(lambda: not psutil.pid_exists(trainer), 60)
            seconds = time.monotonic() - asked
            release(two_workers, "train")
            run = ended(http, run_id)
        finally:
            for process in idle_family:
                process.resume()
    drill.note("21 a trainer hangs", f"stopped in train, one worker; killed after {seconds:.0f} s")
    assert run["attempt"] == 2 and run["state"] in ("succeeded", "rejected"), run
    assert "the trainer hangs and is killed" in events(two_workers, name)


def test_a_run_fails_after_three_killed_trainers(two_workers, http, drill):
    before = published(http)
    with held(two_workers, "train"):
        run_id = start(http, ["w-1"])
        for attempt in (1, 2, 3):
            reached(two_workers, run_id, "train", attempt=attempt)
            # As the kernel does where memory ran out.
            two_workers.signal(f"trainer-{run_id}")
        run = ended(http, run_id)
    drill.note(
        "18 killed each time", "SIGKILL in train, three times", published=published(http) - before
    )
    assert (run["state"], run["attempt"], published(http)) == ("failed", 3, before), run
    assert "none of 3 attempts" in run["detail"]


def test_a_worker_that_is_told_to_leave_hands_the_run_over(two_workers, http, drill):
    with held(two_workers, "train"):
        run_id = start(http, ["w-1"])
        reached(two_workers, run_id, "train")
        name = worker_of(two_workers, run_id)
        leaving = two_workers.pid(name)
        two_workers.signal(name, signal.SIGTERM)
        told = time.monotonic()
        wait_for(lambda: not psutil.pid_exists(leaving), 60)
        seconds = time.monotonic() - told
        release(two_workers, "train")
        run = ended(http, run_id)
    drill.note(
        "20 SIGTERM of a worker",
        f"in train; it left after {seconds:.0f} s, attempt {run['attempt']} ended the run",
    )
    assert run["state"] in ("succeeded", "rejected"), run


def test_a_thousand_requests_for_a_run_start_one(two_workers, http, drill):
    send(http, NAME, window(2)[0])
    with held(two_workers, "snapshot"):
        first = start(http)
        codes: dict[int, int] = {}
        for _ in range(1000):
            code = http.post(f"/api/v1/models/{NAME}/runs", json={}).status_code
            codes[code] = codes.get(code, 0) + 1
    run: dict[str, Any] = ended(http, first)
    found = http.get("/api/v1/runs", params={"model": NAME}).json()["items"]
    drill.note("23 a storm of requests", f"1000 while a run was active: {codes}")
    assert codes == {409: 1000}
    assert found[0]["id"] == run["id"]
