"""Clocks that jump, and clocks that differ between machines: what is acknowledged is in one
window, what is due is done once.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from digits_model import create, ended, send, window
from history import load
from postgres import Postgres
from running import Service, process, wait_for

pytestmark = pytest.mark.slow

libfaketime = pytest.importorskip("libfaketime")
LIBRARY = next(Path(libfaketime.__file__).parent.rglob("libfaketime.so.1"), Path())
HOUR, DAY = 3600, 86_400
LOOKED_SECONDS = 2.5
"""After so long a process has looked at the file that tells how far its clock is off."""


@dataclass(frozen=True)
class Clock:
    """The wall clock of the processes that are started with `environment`; the monotonic
    one goes on as it is.
    """

    file: Path

    @property
    def environment(self) -> dict[str, str]:
        return {
            "LD_PRELOAD": str(LIBRARY),
            "FAKETIME_TIMESTAMP_FILE": str(self.file),
            "FAKETIME_CACHE_DURATION": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }

    @staticmethod
    def off(file: Path, seconds: int) -> Clock:
        """So many seconds off. Skips the test where libfaketime does not act: its wheel has
        a library for one platform.
        """
        clock = Clock(file)
        file.write_text(f"{DAY:+d}")
        asked = [sys.executable, "-c", "import time; print(time.time())"]
        told = subprocess.run(
            asked,
            env={**os.environ, **clock.environment},
            capture_output=True,
            text=True,
            check=True,
        )
        if float(told.stdout) < time.time() + DAY / 2:
            pytest.skip("libfaketime sets no clock on this platform")
        file.write_text(f"{seconds:+d}")
        return clock

    def set(self, seconds: int) -> None:
        """So many seconds off from now on, in processes that run too."""
        self.file.write_text(f"{seconds:+d}")
        time.sleep(LOOKED_SECONDS)


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.drill)])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def clock(short_folder: Path, kind: str) -> Clock:
    """Right at first."""
    return Clock.off(short_folder / f"clock-{kind}", 0)


@pytest.fixture
def service(
    request: pytest.FixtureRequest, short_folder: Path, clock: Clock, kind: str
) -> Iterator[Service]:
    """On SQLite the database's clock is one that jumps too; that of Postgres is right, as
    on a machine of its own.
    """
    environment = {"ACCLIMATE_LEASE_SECONDS": "4", **clock.environment}
    if kind == "postgres":
        environment["ACCLIMATE_DATABASE_URL"] = request.getfixturevalue("postgres").new_database()
    running = Service(home=short_folder / f"clocks-{kind}", environment=environment).start()
    yield running
    assert running.stop() == 0, running.logs()


@pytest.fixture(scope="module")
def right(postgres: Postgres, short_folder: Path) -> Iterator[Service]:
    """One whose clocks are all right."""
    environment = {
        "ACCLIMATE_LEASE_SECONDS": "4",
        "ACCLIMATE_DATABASE_URL": postgres.new_database(),
    }
    running = Service(home=short_folder / "right", environment=environment).start()
    yield running
    assert running.stop() == 0, running.logs()


@contextmanager
def worker(service: Service, clock: Clock) -> Iterator[None]:
    """While the block runs, a worker on a machine with this clock is the only one: the
    service's own is stopped.
    """
    broker = f"redis+socket://{service.home / 'run' / 'broker.sock'}?virtual_host=0"
    environment = {"ACCLIMATE_HOME": str(service.home), "ACCLIMATE_BROKER_URL": broker}
    environment |= service.environment | clock.environment
    with (
        service.suspended("worker-0"),
        process("worker", service.home / "log" / "other.log", environment),
    ):
        yield


def triggered(http: httpx.Client, name: str, window_id: str) -> dict[str, Any]:
    """The ended run that the rows of the window have started, the only one."""

    def found() -> Any:
        runs = http.get("/api/v1/runs", params={"model": name}).json()["items"]
        return [run for run in runs if run["trigger"] == "rows" and run["windows"] == [window_id]]

    (run,) = wait_for(found, 60)
    return ended(http, run["id"])


def test_a_clock_that_jumps_loses_no_row_and_keeps_no_window_open(service, clock, kind, drill):
    with service.http() as http:
        create(http, "steady")
        create(http, "jumping", max_rows=300)
        with load(service, "steady") as history:
            runs = []
            for number, off in enumerate((-2 * HOUR, DAY, 0), 1):
                clock.set(off)
                send(http, "jumping", window(number)[0])
                runs.append(triggered(http, "jumping", f"w-{number}"))
        published = len(http.get("/api/v1/models/jumping/promotions").json()["items"]) - 1
        acknowledged, found, copies = history.compare(http, "steady")
        counted = {
            "acknowledged": acknowledged,
            "found": found,
            "duplicates": copies,
            "published": published,
        }
        drill.note("22 clock", f"two hours back, a day on, right again; {kind}", **counted)
        assert {request.code for request in history.requests} == {200}
        assert (acknowledged, copies) == (found, 0)
        assert published == sum(run["state"] == "succeeded" for run in runs) >= 1


@pytest.mark.parametrize(
    "off", [pytest.param(-HOUR, marks=pytest.mark.drill), HOUR], ids=["behind", "ahead"]
)
def test_a_worker_whose_clock_is_off_does_what_is_due(right, tmp_path, drill, off):
    clock, name = Clock.off(tmp_path / "clock", off), f"beside{off}"
    with right.http() as http:
        create(http, name, max_rows=300)
        with worker(right, clock):
            send(http, name, window(1)[0])
            run = triggered(http, name, "w-1")
        drill.note(
            "22 clock", f"a worker {off:+d} s beside the others", published=int(run["promoted"])
        )
        assert (run["state"], run["attempt"]) == ("succeeded", 1)
