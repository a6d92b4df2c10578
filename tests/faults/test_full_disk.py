"""The journal's disk is full: rows are refused loudly, none that was acknowledged is lost,
with room again it goes on.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest
from digits_model import create
from history import load
from running import Service, wait_for

pytestmark = pytest.mark.slow

ROOM = 512 * 2**10
"""Bytes that a file of the API's process may have: more than its log has, less than the
journal wants.
"""


@pytest.fixture(scope="module")
def running(postgres: object, short_folder: Path) -> Iterator[Service]:
    # The database is another process, which has room.
    address = postgres.new_database()  # type: ignore[attr-defined]
    service = Service(
        home=short_folder / "full", environment={"ACCLIMATE_DATABASE_URL": address}
    ).start()
    with service.http() as http:
        create(http, "full")
    yield service
    assert service.stop() == 0, service.logs()


def refused(http: httpx.Client) -> float:
    """`acclimate_inputs_logged_total` with the outcome dropped."""
    lines = http.get("/metrics").text.splitlines()
    found = [
        line
        for line in lines
        if line.startswith("acclimate_inputs_logged_total") and 'outcome="dropped"' in line
    ]
    return sum(float(line.rpartition(" ")[2]) for line in found)


def test_a_full_disk_refuses_rows_loudly_and_loses_none_that_was_acknowledged(running, drill):
    api = psutil.Process(running.pid("api-0"))
    limits = api.rlimit(psutil.RLIMIT_FSIZE)
    with running.http() as http:
        with load(running, "full", size=100) as history:
            time.sleep(1)
            api.rlimit(psutil.RLIMIT_FSIZE, (ROOM, resource.RLIM_INFINITY))
            try:
                wait_for(lambda: any(request.code == 503 for request in history.requests))
                time.sleep(2)
                assert http.get("/v2/health/ready").status_code == 200
                assert refused(http) > 0
                body = {"rows": [[0.0] * 64], "log": False}
                assert http.post("/api/v1/models/full/predict", json=body).status_code == 200
            finally:
                api.rlimit(psutil.RLIMIT_FSIZE, limits)
            freed = time.monotonic()
            time.sleep(2)
            wait_for(lambda: len(history.between(freed + 1, float("inf"))) > 20)
        acknowledged, found, copies = history.compare(http, "full")
        counted = {"acknowledged": acknowledged, "found": found, "duplicates": copies}
        refusals = sum(request.code == 503 for request in history.requests)
        drill.note(
            "14 disk full",
            f"no file beyond {ROOM // 2**10} KiB, then room again; {refusals} refused",
            **counted,
        )
        assert {request.code for request in history.requests} == {200, 503}
        assert {request.code for request in history.between(freed + 1, float("inf"))} == {200}
        assert (acknowledged, copies) == (found, 0)
        assert api.pid == running.pid("api-0"), "it was not started anew"
