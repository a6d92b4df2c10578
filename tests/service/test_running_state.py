"""A version with running state: each answer names its state, and version and state repeat the
answer.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from digits_model import rows as exported
from running import Service, wait_for
from small_model import create

from acclimate.learning.models import bundle_format
from acclimate.learning.models.bundle import Bundle
from acclimate.learning.models.modes import Mode, PriorAdapted, Standardised
from acclimate.settings import Settings
from acclimate.storage.database import Database
from acclimate.storage.log import catalog
from acclimate.storage.log.segments import Segments
from acclimate.storage.registry import models, promotions, versions
from acclimate.storage.registry.artifacts import Artifacts
from acclimate.storage.store import Store
from service.inference.running_state import States

NAME = "following"
UNKNOWN = "01ARZ3NDEKTSV4RRFFQ69G5FAV"


@dataclass
class Following:
    """A model of whose versions some follow their traffic, and its memory, which the tests look
    into.
    """

    service: Service
    database: Database
    artifacts: Artifacts
    segments: Segments

    def publish(self, mode: Mode) -> str:
        """The new version with the networks of version 1 in this mode, champion when this
        returns.
        """
        with self.database.write() as connection:
            model_id = models.named(connection, NAME)["id"]
            first = versions.get(connection, model_id, 1)
            manifest, arrays = bundle_format.pack(self.bundle(1).with_mode(mode))
            lent = {"weights_digest": first["digest"], "mode": mode.name}
            number = versions.add(
                connection,
                model_id,
                versions.NewVersion(
                    digest=self.artifacts.write(manifest, arrays, lender=first["digest"]),
                    promoted=True,
                    parent=1,
                    run_id=first["run_id"],
                    gates=[],
                    evidence=None,
                    **lent,
                ),
            )
            promotions.promote(
                connection, model_id, number, kind="override", actor="test", reason="a mode"
            )
        self.wait_for_version(str(number))
        return str(number)

    def bundle(self, number: int) -> Bundle:
        with self.database.read() as connection:
            row = versions.get(connection, models.named(connection, NAME)["id"], number)
        return bundle_format.build(*self.artifacts.read(row["digest"]), device="cpu")

    def wait_for_version(self, version: str) -> None:
        wait_for(lambda: self.ask(np.zeros((1, 4)), log=False)["version"] == version)

    def ask(self, x: Any, **more: Any) -> dict[str, Any]:
        with self.service.http() as http:
            reply = http.post(
                f"/api/v1/models/{NAME}/predict", json={"rows": np.asarray(x).tolist(), **more}
            )
        assert reply.status_code == 200, reply.text
        return reply.json()

    def infer(self, path: str, x: Any, **parameters: Any) -> Any:
        rows = np.asarray(x)
        tensor = {
            "name": "input",
            "shape": list(rows.shape),
            "datatype": "FP32",
            "data": rows.tolist(),
        }
        with self.service.http() as http:
            return http.post(
                f"/v2/models/{NAME}{path}/infer",
                json={"inputs": [tensor], "parameters": parameters},
            )

    def again(self, version: str, x: Any, **parameters: Any) -> np.ndarray:
        """What the version asked by name answers, and the reply names the state that was asked for,
        if any.
        """
        reply = self.infer(f"/versions/{version}", x, log=False, **parameters)
        assert reply.status_code == 200, reply.text
        assert reply.json()["parameters"].get("state") == parameters.get("state")
        return np.array(reply.json()["outputs"][0]["data"]).reshape(len(x), 3)

    def metric(self, name: str) -> float:
        with self.service.http() as http:
            lines = http.get("/metrics").text.splitlines()
        return sum(
            float(line.split()[-1]) for line in lines if line.startswith(f'{name}{{model="{NAME}"')
        )


@pytest.fixture(scope="module")
def following(service: Service) -> Iterator[Following]:
    settings = Settings(
        home=service.home, database_url=service.environment.get("ACCLIMATE_DATABASE_URL")
    )
    database = Database(settings.database_address)
    store = Store(settings.store_address, service.home / "cache-of-the-tests")
    with service.http() as http:
        create(http, NAME)
    yield Following(service, database, Artifacts(store), Segments(store))
    database.close()


def traffic(n: int, seed: int, around: float = 3.0) -> np.ndarray:
    """Rows between the clouds that the model knows, most on one side."""
    return np.random.default_rng(seed).normal(around, 1.2, (n, 4)).astype(np.float32).round(3)


def served(reply: dict[str, Any]) -> np.ndarray:
    return np.array([row["probabilities"] for row in reply["predictions"]])


MODES = {"prior": PriorAdapted.of((0.3, 0.4, 0.3)), "standardise": Standardised.of(4)}


@pytest.mark.parametrize("mode", list(MODES))
def test_each_answer_names_its_state_and_is_reproduced_by_version_and_state(following, mode):
    version = following.publish(MODES[mode])
    with following.service.http() as http:
        assert http.get(f"/api/v1/models/{NAME}/versions/{version}").json()["mode"] == mode
        assert http.get(f"/api/v1/models/{NAME}/versions/1").json()["mode"] == "plain"
    renewed = following.metric("acclimate_running_state_renewals_total")
    sent = [traffic(16, seed) for seed in range(9)]
    replies = [following.ask(x) for x in sent]
    states = [reply["state"] for reply in replies]
    assert states[0] == states[1] == "start"
    assert [len(set(states[place : place + 2])) for place in (0, 2, 4, 6)] == [1] * 4
    assert len(set(states)) == 5
    for x, reply in zip(sent, replies, strict=True):
        assert (
            np.abs(following.again(version, x, state=reply["state"]) - served(reply)).max() <= 1e-6
        )
    plain, last = following.again(version, sent[-1]), served(replies[-1])
    assert np.abs(plain - last).max() > 1e-3
    assert np.abs(plain - following.again("1", sent[-1])).max() <= 1e-6
    assert following.metric("acclimate_running_state_renewals_total") == renewed + 4
    assert following.metric("acclimate_running_state_rows") == 128
    assert following.metric("acclimate_running_state_distance_ratio") > 0.05


def test_every_row_of_the_log_is_the_same_again_from_its_version_and_its_state(following):
    version = following.publish(MODES["prior"])
    replies = {
        reply["id"]: reply for reply in (following.ask(traffic(20, seed)) for seed in range(6))
    }
    named = following.infer(f"/versions/{version}", traffic(5, 9), log=True, state="start").json()
    with following.service.http() as http:
        told = [
            row
            for row in exported(http, NAME, fields="prediction")
            if row["prediction_id"] in replies
        ]
    assert len(told) == 120
    for row in told:
        reply = replies[row["prediction_id"]]
        assert row["state"] == reply["state"]
        assert row["probabilities"] == pytest.approx(
            reply["predictions"][row["row"]]["probabilities"], abs=1e-6
        )
    with following.database.read() as connection:
        lines = catalog.all_segments(connection, models.named(connection, NAME)["id"])
    checked, bundles = (
        0,
        {number: following.bundle(number) for number in range(1, int(version) + 1)},
    )
    for line in lines:
        rows = following.segments.read(line["key"], line["digest"])
        for place, state in enumerate(rows.state or ()):
            if state is None:
                continue
            bundle = bundles[int(rows.version[place])]
            known = (
                bundle.mode.start if state == "start" else bundle.mode.unpacked(rows.states[state])
            )
            answer = bundle.predict(rows.x[place : place + 1], known)
            # Alone and not in its batch: float32 rounds another way.
            assert np.abs(answer.probabilities[0] - rows.probabilities[place]).max() <= 1e-5
            if rows.version[place] == version:
                assert rows.raw is not None
                assert np.abs(answer.raw[0] - rows.raw[place]).max() <= 1e-5
                checked += 1
    assert checked == 125
    assert named["id"] in {id for line in lines for id in following.segments.ids(line["key"])[0]}


def test_answers_of_many_clients_at_once_are_each_the_same_again_by_the_state_they_name(following):
    version = following.publish(MODES["standardise"])
    sent = [traffic(8, seed) for seed in range(48)]
    with ThreadPoolExecutor(12) as pool:
        replies = list(pool.map(following.ask, sent))
    assert len({reply["state"] for reply in replies}) > 5
    for x, reply in zip(sent, replies, strict=True):
        # In another batch than then: float32 rounds another way.
        assert (
            np.abs(following.again(version, x, state=reply["state"]) - served(reply)).max() <= 1e-5
        )


def test_a_state_that_a_replica_still_holds_in_its_open_log_is_found_by_another(following):
    version = following.publish(MODES["prior"])
    x = traffic(40, 0)
    state = [following.ask(x) for _ in range(2)][1]["state"]
    with following.database.read() as connection:
        model_id = models.named(connection, NAME)["id"]
    bundle = following.bundle(int(version))
    other = States(following.database, following.segments)  # of a process that answered none of it
    found = other.find(model_id, int(version), bundle.mode, state)
    assert (found.id, found.version) == (state, int(version))
    assert (
        np.abs(
            bundle.predict(x, found.state).probabilities - following.again(version, x, state=state)
        ).max()
        < 1e-6
    )


def test_rows_that_are_not_logged_and_versions_asked_by_name_move_no_state(following):
    version = following.publish(MODES["prior"])
    following.ask(traffic(40, 0))
    state = following.ask(traffic(1, 1), log=False)["state"]
    assert state != "start"
    for seed in range(3):
        following.ask(traffic(64, seed), log=False)
        following.infer(f"/versions/{version}", traffic(64, seed), log=True, state=state)
        following.infer(f"/versions/{version}", traffic(64, seed), log=True)
    assert following.ask(traffic(40, 2))["state"] == state
    assert following.ask(traffic(1, 3))["state"] != state


def test_a_restart_begins_in_the_starting_state_and_finds_earlier_ones(following):
    start = np.array([0.6, 0.2, 0.2])
    version = following.publish(PriorAdapted.of(MODES["prior"].source, start=start))
    x = traffic(40, 5)
    replies = [following.ask(x) for _ in range(3)]
    assert [reply["state"] == "start" for reply in replies] == [True, False, False]
    dead = following.service.pid("api-0")
    following.service.signal("api-0", signal.SIGKILL)
    wait_for(lambda: following.service.pid("api-0") != dead)

    def answered() -> bool:
        with following.service.http() as http:
            return http.get(f"/v2/models/{NAME}/ready").status_code == 200

    wait_for(lambda: _tried(answered))
    fresh = following.ask(x)
    assert (fresh["version"], fresh["state"]) == (version, "start")
    assert (served(fresh) == served(replies[0])).all()
    for reply in replies:
        assert (
            np.abs(following.again(version, x, state=reply["state"]) - served(reply)).max() <= 1e-6
        )
    assert np.abs(following.again(version, x) - served(fresh)).max() > 1e-3


def test_a_state_that_cannot_be_had_is_refused_in_words(following):
    version = following.publish(MODES["prior"])
    following.ask(traffic(40, 0))
    mine = following.ask(traffic(1, 0))["state"]
    other = following.publish(MODES["standardise"])
    assert following.ask(traffic(1, 0))["state"] == "start"
    refusals = [
        (f"/versions/{version}", UNKNOWN, 404, "is unknown"),
        (f"/versions/{version}", "yesterday", 400, "is not the id of a state"),
        ("/versions/1", mine, 400, "plain mode"),
        (f"/versions/{other}", mine, 400, f"belongs to version {version}"),
        ("", mine, 400, "a state needs a version"),
    ]
    for path, state, status, said in refusals:
        reply = following.infer(path, traffic(1, 0), log=False, state=state)
        assert reply.status_code == status, reply.text
        assert said in reply.json()["error"]


def test_a_version_goes_on_from_its_own_state_when_it_comes_back(following):
    with following.service.http() as http:
        following.publish(MODES["standardise"])
        version = following.publish(MODES["prior"])
        following.ask(traffic(40, 0))
        assert following.ask(traffic(1, 0))["state"] != "start"
        body = {"reason": "try the one before", "pause_learning": False}
        back = http.post(f"/api/v1/models/{NAME}/rollback", json={**body, "to": "1"})
        assert back.status_code == 200, back.text
        following.wait_for_version("1")
        assert "state" not in following.ask(traffic(1, 0))
        assert following.metric("acclimate_running_state_rows") == 0
        http.post(f"/api/v1/models/{NAME}/rollback", json={**body, "to": version})
        following.wait_for_version(version)
        assert following.ask(traffic(1, 0))["state"] == "start"


def _tried(question: Any) -> bool:
    try:
        return bool(question())
    except Exception:
        return False
