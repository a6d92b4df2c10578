"""Processes are killed where it hurts; a run ends exactly once, and every acknowledged row
is in the log exactly once.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import psutil
import pytest
from digits_model import SPEC, create, ended, learn, rows, seed_file, send, served, window
from history import load
from running import Service, wait_for

PATIENT_KILLS = 5
SLOW, DRILL = pytest.mark.slow, pytest.mark.drill


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def killed(request: pytest.FixtureRequest, short_folder: Path) -> Iterator[Service]:
    """A product of its own, whose processes these tests kill."""
    environment = {"ACCLIMATE_LEASE_SECONDS": "4"}
    if request.param == "postgres":
        environment["ACCLIMATE_DATABASE_URL"] = request.getfixturevalue("postgres").new_database()
    running = Service(
        home=short_folder / f"killed-{request.param}", environment=environment
    ).start()
    yield running
    assert running.stop() == 0, running.logs()


def start_training(http: httpx.Client, name: str) -> str:
    """A run that has just begun to train version 1."""
    files = {
        "spec": ("s.toml", SPEC.format(name=name, durability="os", schedule="never", max_rows=0)),
        "seed": ("s.npz", seed_file()),
    }
    run_id = http.post("/api/v1/models", files=files).json()["id"]
    wait_for(lambda: http.get(f"/api/v1/runs/{run_id}").json()["stage"] == "train")
    return run_id


def test_a_run_whose_trainer_is_killed_goes_on_in_another_attempt_and_ends_once(killed):
    with killed.http() as http:
        run_id = start_training(http, "trainer")
        killed.signal(f"trainer-{run_id}")
        run = ended(http, run_id)
        assert (run["state"], run["attempt"], run["version"]) == ("succeeded", 2, "1")
        assert len(http.get("/api/v1/models/trainer/versions").json()["items"]) == 1
        assert len(http.get("/api/v1/models/trainer/promotions").json()["items"]) == 1


@pytest.mark.slow
def test_a_run_whose_worker_is_killed_is_taken_up_when_its_lease_expires_and_ends_once(killed):
    with killed.http() as http:
        run_id = start_training(http, "worker")
        worker, trainer = killed.pid("worker-0"), killed.pid(f"trainer-{run_id}")
        killed.signal("worker-0")
        wait_for(lambda: not psutil.pid_exists(trainer), 10)
        run = ended(http, run_id)
        assert (run["state"], run["attempt"], run["version"]) == ("succeeded", 2, "1")
        assert killed.pid("worker-0") != worker
        assert len(http.get("/api/v1/models/worker/versions").json()["items"]) == 1


@pytest.mark.timeout(900)
@pytest.mark.parametrize("kills", [1, pytest.param(3, marks=SLOW), pytest.param(20, marks=DRILL)])
def test_rows_acknowledged_during_kills_are_in_the_log_exactly_once(killed, drill, kills):
    name = f"api-{kills}"
    with killed.http() as http:
        create(http, name, durability="fsync")
    with load(killed, name, clients=4, pause=0) as history:
        for kill in range(kills):
            if kill and kill % PATIENT_KILLS == 0:
                # By now it is started again only after 16 seconds, later 30: a new supervisor
                # begins at half a second.
                assert killed.stop() == 0
                killed.start()
            before = len(history.acknowledged)
            wait_for(lambda before=before: len(history.acknowledged) > before + 100, 60)
            dead = killed.pid("api-0")
            killed.signal("api-0")
            wait_for(lambda dead=dead: killed.pid("api-0") != dead, 60)
        before = len(history.acknowledged)
        wait_for(lambda: len(history.acknowledged) > before + 100, 60)
    assert {request.log for request in history.requests if request.code == 200} == {"fsync"}
    with killed.http() as http:
        assert learn(http, name)["window"] is not None
        acknowledged, found, copies = history.compare(http, name)
    counted = {"acknowledged": acknowledged, "found": found, "duplicates": copies}
    drill.note("1 kill -9 of the API", f"{kills} times under load, durability fsync", **counted)
    assert (acknowledged, copies) == (found, 0)


@pytest.mark.slow
def test_a_rollback_needs_neither_broker_nor_workers(killed):
    with killed.http() as http:
        create(http, "undo")
        send(http, "undo", window(1)[0])
        run = learn(http, "undo")
        assert run["promoted"], run["detail"]
        served(http, "undo", "2")
        os.kill(killed.process.pid, signal.SIGSTOP)  # so that nothing is started again
        try:
            for name in ("worker-0", "beat", "broker"):
                killed.signal(name)
            started = time.monotonic()
            reply = http.post("/api/v1/models/undo/rollback", json={"reason": "all is dead"})
            assert reply.status_code == 200 and reply.json()["to"] == "1"
            served(http, "undo", "1")
            assert time.monotonic() - started < 5
        finally:
            os.kill(killed.process.pid, signal.SIGCONT)
        wait_for(lambda: (killed.home / "run" / "broker.sock").exists())


@pytest.mark.slow
def test_a_run_asked_for_while_the_broker_is_dead_is_done_when_it_is_back(killed):
    with killed.http() as http:
        create(http, "ring")
        send(http, "ring", window(1)[0])
        killed.signal("broker")
        run = learn(http, "ring")
        assert run["state"] in ("succeeded", "rejected") and run["attempt"] == 1


def test_killing_the_supervisor_leaves_no_orphan_and_the_same_command_recovers_everything(killed):
    with killed.http() as http:
        create(http, "orphan")
        answers = send(http, "orphan", window(1)[0])
        version = answers[-1]["version"]
    family = [psutil.Process(killed.pid(name)) for name in ("api-0", "worker-0", "beat", "broker")]
    family += [child for process in family for child in process.children(recursive=True)]
    killed.kill()
    _, alive = psutil.wait_procs(family, timeout=10)
    assert alive == []
    killed.start()
    with killed.http() as http:
        found = [(row["prediction_id"], row["row"]) for row in rows(http, "orphan")]
        assert sorted(found) == sorted(
            (answer["id"], row) for answer in answers for row in range(len(answer["predictions"]))
        )
        served(http, "orphan", version)
        run = learn(http, "orphan")
        assert run["window"]["rows"] == len(found) == len(window(1)[0])
    assert np.isfinite(run["gates"][0]["value"])
