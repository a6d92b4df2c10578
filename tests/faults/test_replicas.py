"""Two replicas on one port: swaps under load, load failures, and exact totals."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from digits_model import learn
from prometheus_client.parser import text_string_to_metric_families
from running import Service, free_port, wait_for
from small_model import create, labeled

from service.metrics import KINDS

pytestmark = pytest.mark.slow

NAME = "pair"
PREDICT = f"/api/v1/models/{NAME}/predict"
SWAPS = 50
X = np.random.default_rng(0).uniform(-1, 5, (64, 4)).astype(np.float32)
"""On and between the clouds that the model knows, so that two versions do not agree."""
on_postgres = pytest.mark.parametrize("pair", ["postgres"], indirect=True)
"""What has nothing to do with the database is shown on one of them."""


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def pair(request: pytest.FixtureRequest, short_folder: Path) -> Iterator[Service]:
    """Two replicas, both open to scrapes, with a model of two versions, of which the second
    is champion.
    """
    environment = {"ACCLIMATE_METRICS_PORT": str(free_port())}
    if request.param == "postgres":
        environment["ACCLIMATE_DATABASE_URL"] = request.getfixturevalue("postgres").new_database()
    running = Service(
        home=short_folder / f"pair-{request.param}", environment=environment, replicas=2
    ).start()
    try:
        with running.http() as http:
            create(http, NAME)
            # Away from the clouds of the seed set, so that there is something to learn; too few
            # rows to pass the gates.
            rows = (labeled(150, seed=1)[0] + 0.8).tolist()
            assert http.post(PREDICT, json={"rows": rows}).status_code == 200
            run = learn(http, NAME)
            assert run["version"] == "2", run
            swap(http, "2", override=True)
        yield running
    finally:
        code = running.stop()
    assert code == 0, running.logs()


def promotions(http: httpx.Client) -> list[dict[str, Any]]:
    return http.get(f"/api/v1/models/{NAME}/promotions").json()["items"]


def replicas(http: httpx.Client) -> dict[str, dict[str, Any]]:
    return {
        replica["id"]: replica for replica in http.get(f"/api/v1/models/{NAME}").json()["replicas"]
    }


def within() -> float:
    """The two seconds that are promised, longer by as much as other programs keep this
    machine's cores busy.
    """
    return 2.0 * max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))


def seconds_between(earlier: str, later: str) -> float:
    return (datetime.fromisoformat(later) - datetime.fromisoformat(earlier)).total_seconds()


def served(http: httpx.Client, seconds: float = 30.0) -> dict[str, Any]:
    """The newest promotion, once every live replica answers with it."""
    return wait_for(
        lambda: newest if (newest := promotions(http)[-1])["served_at"] else None, seconds
    )


def swap(http: httpx.Client, version: str, **more: Any) -> None:
    """Ask for the version to be champion; half of the swaps are promotions, half rollbacks."""
    path = f"/api/v1/models/{NAME}"
    if version == "1":
        body = {"to": "1", "reason": "back", "pause_learning": False}
        reply = http.post(f"{path}/rollback", json=body)
    else:
        etag = http.get(f"{path}/aliases/champion").headers["ETag"]
        body = {"version": version, "reason": "forth", **more}
        reply = http.put(f"{path}/aliases/champion", json=body, headers={"If-Match": etag})
    assert reply.status_code == 200, reply.text


def probabilities(http: httpx.Client, version: str) -> np.ndarray:
    """The version's probabilities (64, C) for X."""
    data = X.ravel().tolist()
    body = {
        "parameters": {"log": False},
        "inputs": [{"name": "input", "shape": [64, 4], "datatype": "FP32", "data": data}],
        "outputs": [{"name": "probabilities"}],
    }
    reply = http.post(f"/v2/models/{NAME}/versions/{version}/infer", json=body)
    assert reply.status_code == 200, reply.text
    return np.array(reply.json()["outputs"][0]["data"]).reshape(64, -1)


def versions_answering(service: Service, requests: int = 24) -> set[str]:
    """Versions that answer over as many new connections."""
    row, found = X[:1].tolist(), set()
    for _ in range(requests):
        with service.http() as http:
            found.add(http.post(PREDICT, json={"rows": row, "log": False}).json()["version"])
    return found


def artifact(service: Service, http: httpx.Client, version: str) -> Path:
    digest = http.get(f"/api/v1/models/{NAME}/versions/{version}").json()["digest"]
    return service.home / "store/artifacts/sha256" / f"{digest.removeprefix('sha256:')}.safetensors"


def totals(text: str) -> dict[str, float]:
    """Every counter of the model over all its labels, by name."""
    found: dict[str, float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.labels.get("model") == NAME and sample.name.endswith(("_total", "_count")):
                found[sample.name] = found.get(sample.name, 0.0) + sample.value
    return found


def told(text: str) -> set[str]:
    """Versions of the model in acclimate_model_info."""
    return {
        sample.labels["version"]
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if family.name == "acclimate_model_info" and sample.labels["model"] == NAME
    }


def scraped(service: Service) -> str:
    """What any replica tells on the shared port, over a new connection."""
    with service.http() as http:
        return http.get("/metrics").text


def answers(service: Service) -> bool:
    try:
        with service.http() as http:
            return http.get(f"/v2/models/{NAME}/ready").status_code == 200
    except httpx.TransportError:
        return False


def killed(service: Service, name: str) -> None:
    """Returns when the replica was killed and its successor follows the champion."""
    dead, log = service.pid(name), service.home / "log" / f"{name}.log"
    said = log.stat().st_size
    service.signal(name)
    wait_for(lambda: service.pid(name) != dead)
    wait_for(lambda: "champion swapped in" in log.read_text()[said:])


def test_every_replica_answers_with_a_promoted_version_within_two_seconds_of_its_run(pair):
    with pair.http() as http:
        wait_for(lambda: served(http))
        first = http.get("/api/v1/runs", params={"model": NAME}).json()["items"][-1]
        assert first["trigger"] == "create"
        assert 0 <= seconds_between(first["ended_at"], first["served_at"]) <= within(), first
        assert {replica["version"] for replica in replicas(http).values()} == {"2"}
        assert set(replicas(http)) == {"api-0", "api-1"}
        assert http.get(f"/v2/models/{NAME}").json()["versions"] == ["1", "2"]
    assert versions_answering(pair) == {"2"}


def test_fifty_swaps_under_load_fail_no_request_and_every_answer_is_of_the_version_it_names(pair):
    with pair.http() as http:
        truth = {version: probabilities(http, version) for version in ("1", "2")}
    assert np.abs(truth["1"] - truth["2"]).max() > 1e-3
    answers: list[tuple[str, float]] = []
    failures: list[Any] = []
    stop = threading.Event()

    def load(number: int) -> None:
        rng = np.random.default_rng(number)
        while not stop.is_set():
            # A few requests a connection, so that each client meets both replicas.
            with pair.http() as client:
                for _ in range(10):
                    start = int(rng.integers(0, 60))
                    rows = slice(start, start + int(rng.integers(1, 5)))
                    try:
                        reply = client.post(
                            PREDICT, json={"rows": X[rows].tolist(), "log": number % 2 == 0}
                        )
                        assert reply.status_code == 200, reply.text
                    except (httpx.HTTPError, AssertionError) as error:
                        failures.append(error)
                        continue
                    given = np.array([row["probabilities"] for row in reply.json()["predictions"]])
                    version = reply.json()["version"]
                    answers.append((version, float(np.abs(given - truth[version][rows]).max())))

    clients = [threading.Thread(target=load, args=(number,)) for number in range(4)]
    for client in clients:
        client.start()
    with pair.http() as http:
        for number in range(SWAPS):
            swap(http, "12"[number % 2])
            newest = served(http)
            assert seconds_between(newest["at"], newest["served_at"]) <= within(), newest
    stop.set()
    for client in clients:
        client.join()
    assert failures == []
    assert {version for version, _ in answers} == {"1", "2"} and len(answers) > 2 * SWAPS
    assert max(apart for _, apart in answers) < 1e-5


@on_postgres
def test_a_replica_that_cannot_load_the_champion_keeps_the_old_one_says_so_and_recovers(pair):
    with pair.http() as http:
        assert served(http)["to"] == "2"
        killed(pair, "api-1")  # its successor has version 2 alone in memory, the other replica both
        whole = artifact(pair, http, "1").read_bytes()
        # Never in place: the store may share these bytes with a copy that is being read.
        artifact(pair, http, "1").unlink()
        artifact(pair, http, "1").write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
        swap(http, "1")
        problem = wait_for(lambda: replicas(http)["api-1"]["problem"])
        assert "version 1" in problem and "damaged" in problem
        wait_for(lambda: replicas(http)["api-0"]["version"] == "1")
        assert replicas(http)["api-0"]["problem"] is None
        assert (replicas(http)["api-1"]["version"], promotions(http)[-1]["served_at"]) == (
            "2",
            None,
        )
        wait_for(
            lambda: versions_answering(pair) == {"1", "2"}
        )  # which replica takes a connection is chance
        assert told(scraped(pair)) == {"1", "2"}
        health = http.get("/api/v1/status").json()["healthy"]
        assert health["state"] == "warn" and any("api-1" in reason for reason in health["reasons"])
        assert totals(scraped(pair))["acclimate_model_load_failures_total"] >= 1
        # Its successor has nothing to keep, and version 2 is the one that was rolled back from.
        dead = pair.pid("api-1")
        pair.signal("api-1")
        wait_for(lambda: told(scraped(pair)) == {"1"})
        wait_for(lambda: pair.pid("api-1") != dead)
        artifact(pair, http, "1").unlink()
        artifact(pair, http, "1").write_bytes(whole)
        assert served(http)["to"] == "1"
        assert replicas(http)["api-1"] == {**replicas(http)["api-0"], "id": "api-1"}
        assert http.get("/api/v1/status").json()["healthy"]["state"] == "ok"
    assert versions_answering(pair) == {"1"}
    assert told(scraped(pair)) == {"1"}


@on_postgres
def test_a_replica_that_starts_where_the_champion_is_damaged_serves_the_one_before(pair):
    with pair.http() as http:
        if promotions(http)[-1]["to"] != "1":
            swap(http, "1")
        swap(http, "2")
        served(http)
        whole = artifact(pair, http, "2").read_bytes()
        artifact(pair, http, "2").unlink()
        dead = pair.pid("api-1")
        pair.signal("api-1")
        wait_for(lambda: pair.pid("api-1") != dead)
        wait_for(lambda: replicas(http).get("api-1", {}).get("problem"))
        assert versions_answering(pair) <= {"1", "2"}
        artifact(pair, http, "2").write_bytes(whole)
        wait_for(lambda: replicas(http)["api-1"]["problem"] is None)
        assert replicas(http)["api-1"]["version"] == "2"


@on_postgres
def test_totals_are_exact_over_replicas_and_over_the_death_of_one(pair):
    x = X[:3].tolist()

    def ask(requests: int) -> None:
        for _ in range(requests):
            with pair.http() as http:
                assert http.post(PREDICT, json={"rows": x, "log": False}).status_code == 200

    before = totals(scraped(pair))
    ask(20)
    killed(pair, "api-0")
    ask(20)
    after = {totals(scraped(pair))["acclimate_predict_rows_total"] for _ in range(8)}
    assert after == {before["acclimate_predict_rows_total"] + 120}
    now = totals(scraped(pair))
    grown = {name: now[name] - before[name] for name in now if now[name] != before.get(name)}
    assert grown == {
        "acclimate_predict_requests_total": 40,
        "acclimate_predict_duration_seconds_count": 40,
        "acclimate_predict_rows_total": 120,
        "acclimate_prediction_confidence_ratio_count": 120,
        "acclimate_predicted_class_total": 120,
        "acclimate_inputs_logged_total": 120,
        "acclimate_model_swap_duration_seconds_count": 1,
    }
    assert len(list((pair.home / "metrics/api").iterdir())) == 2 * len(KINDS)


@on_postgres
def test_a_dead_replica_serves_nothing_and_the_open_port_is_taken_over(pair):
    url = f"http://127.0.0.1:{pair.environment['ACCLIMATE_METRICS_PORT']}/metrics"

    def answer() -> str | None:
        try:
            return httpx.get(url, timeout=5).text
        except httpx.TransportError:
            return None

    def serving(name: str) -> set[str]:
        folder = pair.home / "metrics/api"
        return {path.name for path in folder.glob(f"gauge_*_{name}.db")}

    assert totals(wait_for(answer)) == totals(scraped(pair))
    for name in ("api-0", "api-1"):
        files = serving(name)
        assert files
        killed(pair, name)
        wait_for(answer)
        assert serving(name) == files
    with pair.http() as http:
        champion = promotions(http)[-1]["to"]
    assert told(wait_for(answer)) == {champion}


@on_postgres
def test_a_replica_alone_exports_its_metrics_and_is_not_awaited_once_dead(pair, short_folder):
    port = str(free_port())
    environment = {
        **os.environ,
        "ACCLIMATE_DATABASE_URL": pair.environment["ACCLIMATE_DATABASE_URL"],
        "ACCLIMATE_HOME": str(short_folder / "alone"),
        "ACCLIMATE_REPLICA": "api_alone",
        "ACCLIMATE_PORT": port,
        "ACCLIMATE_STORE_URL": f"file://{(pair.home / 'store').resolve()}",
    }
    alone = Service(home=pair.home, url=f"http://127.0.0.1:{port}")
    started: list[subprocess.Popen[bytes]] = []

    def start() -> subprocess.Popen[bytes]:
        started.append(
            subprocess.Popen([sys.executable, "-m", "acclimate.cli.app", "serve"], env=environment)
        )
        wait_for(lambda: answers(alone))
        return started[-1]

    def rows_told() -> float:
        return totals(scraped(alone)).get("acclimate_predict_rows_total", 0.0)

    try:
        process = start()
        before = totals(scraped(pair))
        with alone.http() as http:
            for _ in range(3):
                reply = http.post(PREDICT, json={"rows": X[:5].tolist(), "log": False})
                assert reply.status_code == 200
        assert rows_told() == 15
        assert totals(scraped(pair)) == before
        process.terminate()
        assert process.wait(30) == -signal.SIGTERM  # after it has shut down in good order
        process = start()
        assert rows_told() == 0  # nobody else counts in its folder, so it begins anew
        with pair.http() as http:
            assert set(replicas(http)) == {"api-0", "api-1", "api_alone"}
            assert served(http)
            process.kill()
            process.wait()
            swap(http, "2" if promotions(http)[-1]["to"] == "1" else "1")
            assert served(http)
            assert set(replicas(http)) == {"api-0", "api-1"}
    finally:
        for process in started:
            process.kill()
            process.wait()
