"""Hours in twenty minutes: 200 swaps under load, and what each process holds meanwhile; slopes are
printed, and bounded.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import numpy as np
import psutil
import pytest
import redis
from digits_model import create, learn, send, window
from history import load
from running import Service, wait_for

SECONDS = 20 * 60
SWAPS = 200
NAME = "soak"
MOST_SWAP_SECONDS = 30.0
SETTLED = 0.25
"""The first part of the time, in which caches fill and pools open."""
LIMITS = {"MiB": 40.0, "descriptors": 12.0, "threads": 6.0, "keys": 20.0, "series": 40.0}
"""How much more of each there may be after an hour, by the slope of what was seen."""


@pytest.fixture(scope="module")
def running(short_folder: Path) -> Iterator[Service]:
    service = Service(home=short_folder / "soak", replicas=2).start()
    with service.http() as http:
        create(http, NAME)
        send(http, NAME, window(1)[0])
        assert learn(http, NAME)["version"] == "2"
    yield service
    assert service.stop() == 0, service.logs()


@dataclass
class Samples:
    """What was held at each moment, by name."""

    at: list[float] = field(default_factory=list)
    held: dict[str, list[float]] = field(default_factory=dict)

    def take(self, service: Service, http: httpx.Client) -> None:
        self.at.append(time.monotonic())
        for name in ("api-0", "api-1", "worker-0", "beat", "broker"):
            parent = psutil.Process(service.pid(name))
            family = [parent, *(child for child in parent.children() if name == "worker-0")]
            self._note(f"{name} MiB", sum(process.memory_info().rss for process in family) / 2**20)
            self._note(f"{name} descriptors", sum(process.num_fds() for process in family))
            self._note(f"{name} threads", sum(process.num_threads() for process in family))
        with redis.Redis(unix_socket_path=str(service.home / "run" / "broker.sock")) as broker:
            self._note("broker keys", float(broker.dbsize()))  # type: ignore[arg-type]
        self._note("metrics series", len(http.get("/metrics").text.splitlines()))

    def slopes(self) -> dict[str, float]:
        """How much more an hour, fitted to what was seen once everything had settled."""
        start = int(SETTLED * len(self.at))
        hours = (np.array(self.at[start:]) - self.at[start]) / 3600
        return {
            name: float(np.polyfit(hours, values[start:], 1)[0])
            for name, values in self.held.items()
        }

    def _note(self, name: str, value: float) -> None:
        self.held.setdefault(name, []).append(value)


def swap(http: httpx.Client, to: str) -> float:
    """Make the version champion; seconds until every replica answers with it."""
    reply = http.post(
        f"/api/v1/models/{NAME}/rollback",
        json={"to": to, "reason": "soak", "pause_learning": False},
    )
    assert reply.status_code == 200, reply.text
    started = time.monotonic()

    def served() -> bool:
        return bool(http.get(f"/api/v1/models/{NAME}/promotions").json()["items"][-1]["served_at"])

    wait_for(served, MOST_SWAP_SECONDS)
    return time.monotonic() - started


@pytest.mark.soak
@pytest.mark.timeout(SECONDS + 600)
def test_two_hundred_swaps_leave_nothing_behind(running, drill):
    samples, seconds = Samples(), []
    with running.http() as http, load(running, NAME, clients=2, pause=0.05) as history:
        began = time.monotonic()
        for number in range(SWAPS):
            seconds.append(swap(http, "1" if number % 2 == 0 else "2"))
            samples.take(running, http)
            time.sleep(max(0.0, began + (number + 1) * SECONDS / SWAPS - time.monotonic()))
    slopes = samples.slopes()
    with running.http() as http:
        acknowledged, found, copies = history.compare(http, NAME)
    for name, slope in sorted(slopes.items()):
        print(
            f"{name:<22} {samples.held[name][0]:>9.1f} -> {samples.held[name][-1]:>9.1f}   "
            f"{slope:+9.2f} an hour"
        )
    counted = {"acknowledged": acknowledged, "found": found, "duplicates": copies}
    told = (
        f"{SWAPS} swaps in {SECONDS // 60} minutes; served after {np.median(seconds):.2f} "
        f"s, at most {max(seconds):.2f} s"
    )
    drill.note("4, 26 soak", told, **counted)
    assert {request.code for request in history.requests} == {200}
    assert (acknowledged, copies) == (found, 0)
    over = {
        name: slope for name, slope in slopes.items() if slope > LIMITS[name.rpartition(" ")[2]]
    }
    assert over == {}
