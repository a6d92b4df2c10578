"""The rate limit of a key and the time limit of a body, on a service with low limits."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from refusals import problem
from running import Service
from small_model import create, labeled

from service.errors import Refusal
from service.inference.rate_limit import RateLimit

pytestmark = pytest.mark.slow

PREDICT = "/api/v1/models/limits/predict"
ROWS_A_SECOND = 100.0
MOST_ROWS = 1000
"""Ten seconds' worth, and more than one request may have."""


@pytest.fixture(scope="module")
def tight(short_folder: Path) -> Iterator[Service]:
    environment = {
        "ACCLIMATE_RATE_LIMIT_ROWS": f"{ROWS_A_SECOND:g}",
        "ACCLIMATE_MAX_REQUEST_ROWS": "512",
        "ACCLIMATE_BODY_SECONDS": "1",
    }
    running = Service(home=short_folder / "tight", environment=environment).start()
    with running.http() as http:
        create(http, "limits")
    yield running
    assert running.stop() == 0, running.logs()


@pytest.fixture
def http(tight: Service) -> Iterator[httpx.Client]:
    """A client with a key of its own, which has sent nothing."""
    with tight.http() as admin:
        key = admin.post("/api/v1/keys", json={"name": "sensor", "scopes": ["predict"]}).json()[
            "key"
        ]
    with tight.http(key) as http:
        yield http


def send(http: httpx.Client, rows: int) -> httpx.Response:
    return http.post(PREDICT, json={"rows": labeled(rows)[0].tolist()})


def test_a_key_that_has_sent_too_much_waits_and_others_do_not(tight, http):
    assert [send(http, 500).status_code for _ in range(2)] == [200, 200]
    refused = [send(http, 500) for _ in range(4)]
    assert {reply.status_code for reply in refused[1:]} == {429}
    problem(refused[-1], 429)
    wait = int(refused[-1].headers["Retry-After"])
    assert 1 <= wait <= 6
    infer = {
        "inputs": [{"name": "input", "shape": [1, 4], "datatype": "FP32", "data": [1, 2, 3, 4]}]
    }
    assert list(http.post("/v2/models/limits/infer", json=infer).json()) == ["error"]
    with tight.http() as other:
        assert send(other, 10).status_code == 200
    time.sleep(wait)
    assert send(http, 1).status_code == 200


def test_labels_count_like_rows(tight):
    with tight.http() as admin:
        key = admin.post("/api/v1/keys", json={"name": "labels", "scopes": ["feedback"]}).json()[
            "key"
        ]
    labels = [{"prediction_id": "p", "row": row, "label": 0} for row in range(2 * MOST_ROWS)]
    with tight.http(key) as http:
        codes = [
            http.post("/api/v1/models/limits/feedback", json=labels).status_code for _ in range(2)
        ]
    assert codes == [200, 429]


def test_refused_requests_cost_a_row_and_are_never_logged(tight, http):
    codes = [http.post(PREDICT, content=b"{").status_code for _ in range(3)]
    assert codes == [400] * 3
    sent = [send(http, 512) for _ in range(4)]
    logged = {reply.json()["id"] for reply in sent if reply.status_code == 200}
    assert 0 < len(logged) < 4
    with tight.http() as admin:
        found = admin.get(
            "/api/v1/models/limits/rows", params={"page_size": 10_000}
        ).text.splitlines()
    counted = [json.loads(line)["prediction_id"] for line in found]
    assert sum(id in logged for id in counted) == 512 * len(logged)


def test_a_body_that_does_not_come_is_refused_in_time_and_nothing_of_it_is_kept(tight):
    host, port = tight.url.removeprefix("http://").split(":")
    head = (
        f"POST {PREDICT} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {tight.key}\r\n"
        "Content-Type: application/json\r\nContent-Length: 1000\r\n\r\n"
    )
    with socket.create_connection((host, int(port)), timeout=20) as client:
        client.sendall(head.encode() + b'{"rows": [[0,')
        started = time.monotonic()
        reply = b""
        while part := client.recv(65_536):  # until the service closes the connection
            reply += part
        seconds = time.monotonic() - started
    assert reply.split()[1] == b"408" and b"too-slow" in reply, reply
    assert 0.8 < seconds < 15


def test_every_answer_tells_a_browser_to_run_and_frame_nothing(tight):
    asked = ("/v2/health/live", "/api/v1/status", "/metrics", "/openapi.json", "/nowhere", "/docs")
    with tight.http() as http:
        replies = {path: http.get(path) for path in asked}
    for path, reply in replies.items():
        policy = reply.headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none'") and "frame-ancestors 'none'" in policy, path
        assert reply.headers["X-Content-Type-Options"] == "nosniff", path
        assert ("unsafe" in policy) == (path == "/docs"), path
        assert (
            "set-cookie" not in reply.headers and "access-control-allow-origin" not in reply.headers
        ), path


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_replicas_share_a_key_s_rows_and_silence_gives_back_no_more_than_ten_seconds():
    clock, replicas = Clock(), 2
    limit = RateLimit(1000.0, most_request_rows=512, replicas=lambda: replicas, clock=clock)
    limit.admit("a")
    limit.charge("a", 5000)
    with pytest.raises(Refusal, match="rate-limited"):
        limit.admit("a")
    clock.now += 1.0
    limit.admit("a")
    limit.charge("a", 1500)
    with pytest.raises(Refusal) as told:
        limit.admit("a")
    assert told.value.headers == {"Retry-After": "2"}
    clock.now += 1e6
    limit.admit("a")
    limit.charge("a", 5001)
    with pytest.raises(Refusal):
        limit.admit("a")
    limit.admit("b")
    replicas = 1
    clock.now += 1.0
    limit.admit("a")
    limit.charge("a", 998)
    limit.admit("a")


def test_without_a_limit_nothing_is_counted():
    limit = RateLimit(None, most_request_rows=512, replicas=lambda: 1)
    for _ in range(3):
        limit.admit("a")
        limit.charge("a", 10**9)
