"""The broker is killed, frozen and emptied: answers go on as before, every run that was
asked for is done, once.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from digits_model import create, ended, send, window
from history import load
from running import Service, wait_for

from workers.scheduler import MOST_UNANSWERED

pytestmark = pytest.mark.slow

SLOW = 0.05
"""Seconds that an answer may take beyond twice what it took before: on a busy machine
single ones wait for a core.
"""


@pytest.fixture(scope="module")
def running(short_folder: Path) -> Iterator[Service]:
    service = Service(
        home=short_folder / "broker", environment={"ACCLIMATE_LEASE_SECONDS": "4"}
    ).start()
    with service.http() as http:
        create(http, "steady")
    yield service
    assert service.stop() == 0, service.logs()


def kill(service: Service) -> None:
    service.signal("broker")


def freeze(service: Service) -> None:
    service.signal("broker", signal.SIGSTOP)


def empty(service: Service) -> None:
    with redis.Redis(unix_socket_path=str(service.home / "run" / "broker.sock")) as broker:
        broker.flushall()


@pytest.mark.parametrize("deed", [kill, freeze, empty])
def test_whatever_happens_to_the_broker_answers_go_on_and_a_run_is_done_once(running, drill, deed):
    name = deed.__name__  # type: ignore[attr-defined]
    with running.http() as http:
        create(http, name)
        send(http, name, window(1)[0])
        with load(running, "steady") as history:
            time.sleep(3)
            began = time.monotonic()
            deed(running)  # type: ignore[operator]
            try:
                asked = time.monotonic()
                reply = http.post(f"/api/v1/models/{name}/runs", json={})
                assert reply.status_code == 202, reply.text
                assert time.monotonic() - asked < 8
                if deed is empty:
                    deed(running)  # the message of this run too
                time.sleep(6)
                over = time.monotonic()
            finally:
                if deed is freeze:
                    running.signal("broker", signal.SIGCONT)
            run = ended(http, reply.json()["id"], 120)
            again = http.post(f"/api/v1/runs/{run['id']}/retry")
            assert again.status_code == 202
            other = ended(http, again.json()["id"], 120)
        published = len(http.get(f"/api/v1/models/{name}/promotions").json()["items"]) - 1
        acknowledged, found, copies = history.compare(http, "steady")
        before, during = history.p99(0, began), history.p99(began, over)
        done = (
            f"{name}, under load; p99 {1000 * before:.1f} ms before, {1000 * during:.1f} ms while"
        )
        counted = {
            "acknowledged": acknowledged,
            "found": found,
            "duplicates": copies,
            "published": published,
        }
        drill.note("13 broker", done, **counted)
        promoted = sum(found_run["state"] == "succeeded" for found_run in (run, other))
        assert (run["state"], run["attempt"], published) == ("succeeded", 1, promoted)
        assert {request.code for request in history.requests} == {200}
        assert during < 2 * before + SLOW
        assert (acknowledged, copies) == (found, 0)


@pytest.mark.drill
def test_without_a_worker_health_says_so_and_no_message_piles_up(running, drill):
    def learning() -> str:
        return str(http.get("/api/v1/status").json()["learning"]["state"])

    def age() -> float:
        line = 'acclimate_periodic_task_age_seconds{task="trigger"} '
        return next(
            float(told.removeprefix(line))
            for told in http.get("/metrics").text.splitlines()
            if line in told
        )

    with (
        redis.Redis(unix_socket_path=str(running.home / "run" / "broker.sock")) as broker,
        running.http() as http,
    ):
        create(http, "alone")
        wait_for(lambda: learning() == "ok")
        with running.suspended("worker-0"):
            wait_for(lambda: broker.llen("control") == MOST_UNANSWERED, 60)
            wait_for(lambda: learning() == "bad", 90)
            waiting, neglected = broker.llen("control"), age()
        wait_for(lambda: broker.llen("control") == 0 and learning() == "ok", 30)
        assert age() < 60 < neglected
    drill.note(
        "13 broker",
        f"no worker for a minute; health was red, {waiting} messages waited, none after it "
        f"was back",
    )
    assert waiting == MOST_UNANSWERED
