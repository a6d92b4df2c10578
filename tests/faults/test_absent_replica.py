"""A replica that is frozen, or was dead, while labels come and a model is deleted: nobody
waits long, nothing comes back.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from running import Service, wait_for
from small_model import create, labeled

pytestmark = pytest.mark.slow

X = labeled(30)[0]


@pytest.fixture(scope="module")
def pair(short_folder: Path) -> Iterator[Service]:
    running = Service(
        home=short_folder / "absent", environment={"ACCLIMATE_LOG_LEVEL": "DEBUG"}, replicas=2
    ).start()
    try:
        yield running
    finally:
        code = running.stop()
    assert code == 0, running.logs()


def ask(pair: Service, method: str, path: str, body: Any = None) -> httpx.Response:
    """On a connection of its own: one that the frozen replica had taken would hang with it."""
    with pair.http() as http:
        return http.request(method, path, json=body)


@contextmanager
def frozen(pair: Service, replica: str) -> Iterator[None]:
    pair.signal(replica, signal.SIGSTOP)
    try:
        yield
    finally:
        pair.signal(replica, signal.SIGCONT)


def journals(pair: Service, model_id: str) -> list[Path]:
    return list((pair.home / "journal").glob(f"*/{model_id}"))


def spread(pair: Service, name: str) -> tuple[list[str], str]:
    """Prediction ids of logged rows of which each replica holds some in its journal, and
    the id of the model.
    """
    ids = []
    before = {path.name for path in (pair.home / "journal").glob("*/*")}

    def both() -> Any:
        ids.append(
            ask(pair, "POST", f"/api/v1/models/{name}/predict", {"rows": X[:3].tolist()}).json()[
                "id"
            ]
        )
        found = [
            path
            for path in (pair.home / "journal").glob("*/*/*.open.arrow")
            if path.parent.name not in before
        ]
        return {path.parent.parent.name for path in found} == {"api-0", "api-1"} and found[
            0
        ].parent.name

    return ids, wait_for(both, 60)


def test_labels_wait_for_no_frozen_replica_and_a_deleted_model_does_not_come_back_with_it(pair):
    url = "/api/v1/models/absent"
    with pair.http() as http:
        create(http, "absent")
    ids, model_id = spread(pair, "absent")
    assert len(ask(pair, "GET", f"{url}/rows").text.splitlines()) == 3 * len(ids)
    for _ in range(6):
        assert ask(pair, "POST", f"{url}/predict", {"rows": X[:3].tolist()}).status_code == 200
    with frozen(pair, "api-1"):
        started = time.monotonic()
        said = ask(
            pair,
            "POST",
            f"{url}/feedback",
            [{"prediction_id": id, "row": 0, "label": 1} for id in ids],
        )
        quick = time.monotonic() - started
        assert said.json()["accepted"] == len(ids)
        # Rows of the frozen replica are not there yet; the answer says so after a short wait, not
        # after twelve seconds.
        started = time.monotonic()
        said = ask(
            pair, "POST", f"{url}/feedback", [{"prediction_id": "nobody", "row": 0, "label": 1}]
        )
        waited = time.monotonic() - started
        assert said.json()["rejected"][0]["index"] == 0
        assert quick < 3.0 and waited < 8.0, (quick, waited)
        assert ask(pair, "DELETE", url).status_code == 204
        wait_for(
            lambda: (
                ask(pair, "POST", f"{url}/predict", {"rows": X[:1].tolist()}).status_code == 404
            ),
            10,
        )
        wait_for(lambda: [path.parent.name for path in journals(pair, model_id)] == ["api-1"], 10)
    wait_for(lambda: journals(pair, model_id) == [], 20)
    for _ in range(10):
        assert ask(pair, "POST", f"{url}/predict", {"rows": X[:1].tolist()}).status_code == 404
    time.sleep(0.5)
    assert list((pair.home / "store" / "segments").glob(f"{model_id}/*")) == []
    wait_for(lambda: len(ask(pair, "GET", "/api/v1/status").json()["models"]) == 0)


def test_a_replica_that_was_dead_while_its_model_was_deleted_recovers_nothing_of_it(pair):
    url = "/api/v1/models/dead"
    with pair.http() as http:
        create(http, "dead")
    _, model_id = spread(pair, "dead")
    pid = pair.pid("api-1")
    pair.signal("api-1", signal.SIGSTOP)
    assert ask(pair, "DELETE", url).status_code == 204
    pair.signal("api-1")
    wait_for(lambda: pair.pid("api-1") != pid and journals(pair, model_id) == [], 60)
    assert list((pair.home / "store" / "segments").glob(f"{model_id}/*")) == []
    with pair.http() as http:
        create(http, "dead")
        answer = http.post(f"{url}/predict", json={"rows": X[:1].tolist()}).json()
    assert answer["version"] == "1" and np.isfinite(answer["predictions"][0]["confidence"])
