"""Whoever reaches the broker can ring, and nothing else: forged, doubled and poisoned
messages run no code and no run twice.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from digits_model import create, ended, send, window
from drills import held, reached, release
from running import Service

pytestmark = pytest.mark.slow

NAME = "forged"


@pytest.fixture(scope="module")
def running(short_folder: Path) -> Iterator[Service]:
    environment = {"ACCLIMATE_DRILLS": str(short_folder / "drills-forged")}
    service = Service(home=short_folder / "forged", environment=environment).start()
    with service.http() as http:
        create(http, NAME)
        send(http, NAME, window(1)[0])
    yield service
    assert service.stop() == 0, service.logs()


@pytest.fixture
def forger(running: Service) -> Iterator[Celery]:
    app = Celery(
        "forger", broker=f"redis+socket://{running.home / 'run' / 'broker.sock'}?virtual_host=0"
    )
    app.conf.update(result_backend=None, task_default_queue="control")
    yield app
    app.close()


class Touch:
    """Unpickled, it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


def test_forged_messages_run_nothing_and_the_worker_goes_on(running, forger, tmp_path, drill):
    planted = tmp_path / "planted"
    for queue in ("train", "control"):
        forger.send_task("run", args=[Touch(planted)], queue=queue, serializer="pickle")
        forger.send_task("os.system", args=[f"touch {planted}"], queue=queue)
        for id in (
            "../../etc/passwd",
            "x" * 100_000,
            "01J0000000000000000000000A",
            {"id": 1},
            None,
        ):
            forger.send_task("run", args=[id], queue=queue)
        forger.send_task("run", args=[], kwargs={"run_id": "a", "owner": "me"}, queue=queue)
    with running.http() as http:
        reply = http.post(f"/api/v1/models/{NAME}/runs", json={})
        assert reply.status_code == 202
        run = ended(http, reply.json()["id"], 120)
    time.sleep(1)
    drill.note("37 forged messages", "pickle, unknown task, forged arguments, in both queues")
    assert run["state"] == "succeeded", run
    assert not planted.exists()


def test_a_message_that_comes_many_times_runs_a_run_once(running, forger, drill):
    with running.http() as http:
        with held(running, "train"):
            send(http, NAME, window(2)[0])
            run_id = http.post(f"/api/v1/models/{NAME}/runs", json={}).json()["id"]
            for _ in range(10):
                forger.send_task("run", args=[run_id], queue="train")
            reached(running, run_id, "train")
            for _ in range(10):
                forger.send_task("run", args=[run_id], queue="train")
            release(running, "train")
            run = ended(http, run_id)
        for _ in range(10):
            forger.send_task("run", args=[run_id], queue="train")
        time.sleep(3)
        again = http.get(f"/api/v1/runs/{run_id}").json()
        versions = [
            item["run"] for item in http.get(f"/api/v1/models/{NAME}/versions").json()["items"]
        ]
    drill.note(
        "6 a message thirty times",
        "before, while and after the run",
        published=versions.count(run_id),
    )
    assert run["attempt"] == 1
    assert again == {**run, "served_at": again["served_at"]}
    assert versions.count(run_id) == 1
