"""A run is broken at every one of its stages: killed it goes on and ends as if nothing had
been, cancelled it leaves no trace.
"""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from digits_model import create, ended, learn, send, window
from drills import held, reached, release
from running import Service, wait_for

from acclimate.learning.results import STAGES
from acclimate.storage.registry.artifacts import Artifacts
from acclimate.storage.store import Store

pytestmark = pytest.mark.slow

LABELLED = 12


@pytest.fixture(scope="module")
def unbroken(service: Service) -> dict[str, Any]:
    """A model that has learnt one window, with some labels, in a run that nothing
    disturbed; version 1 serves again.
    """
    name = "broken"
    with service.http() as http:
        create(http, name)
        x, y = window(1)
        answers = send(http, name, x)
        labels = [
            {"prediction_id": answers[0]["id"], "row": row, "label": int(y[row]), "source": "anna"}
            for row in range(LABELLED)
        ]
        assert (
            http.post(f"/api/v1/models/{name}/feedback", json=labels).json()["accepted"] == LABELLED
        )
        run = learn(http, name)
        assert run["version"] == "2" and run["window"]["rows_labelled"] == LABELLED, run
        roll_back(http, name, run)
    return {"name": name, "run": run, "labels": labels}


def roll_back(http: httpx.Client, name: str, run: dict[str, Any]) -> None:
    """Version 1 is champion again, for the next run to start from."""
    if run["promoted"]:
        reply = http.post(f"/api/v1/models/{name}/rollback", json={"to": "1", "reason": "again"})
        assert reply.status_code == 200, reply.text


def published(http: httpx.Client, name: str) -> Any:
    """The versions that there are, and which were made champion, in order."""
    versions, promotions = (
        http.get(f"/api/v1/models/{name}/{what}").json()["items"]
        for what in ("versions", "promotions")
    )
    return [entry["version"] for entry in versions], [
        (entry["epoch"], entry["to"]) for entry in promotions
    ]


def start(http: httpx.Client, name: str) -> str:
    reply = http.post(f"/api/v1/models/{name}/runs", json={"windows": ["w-1"]})
    assert reply.status_code == 202, reply.text
    return str(reply.json()["id"])


def is_on_postgres(service: Service) -> bool:
    return "ACCLIMATE_DATABASE_URL" in service.environment


def artifact(
    service: Service, http: httpx.Client, name: str, version: str
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Manifest and arrays of a version, without what differs between two equal runs: their ids."""
    digest = http.get(f"/api/v1/models/{name}/versions/{version}").json()["digest"]
    artifacts = Artifacts(Store(f"file://{(service.home / 'store').resolve()}", Path("unused")))
    manifest, arrays = artifacts.read(digest)
    return {key: value for key, value in manifest.items() if key != "run"}, arrays


def gone_on(http: httpx.Client, run: dict[str, Any]) -> list[str]:
    """The stages whose kept results the last attempt went on from, as its log says."""

    def lines() -> Any:
        reply = http.get(f"/api/v1/runs/{run['id']}/logs", params={"attempt": run["attempt"]})
        found = [json.loads(line) for line in reply.text.splitlines()]
        return found if any(line["event"] == "the trainer ended" for line in found) else None

    told = wait_for(lines)
    assert {line["attempt"] for line in told} == {run["attempt"]}
    return [line["stage"] for line in told if line["event"] == "continuing from the stored result"]


def test_a_run_whose_trainer_is_killed_at_any_stage_ends_bit_equal(service, unbroken):
    name, whole = unbroken["name"], unbroken["run"]
    pairs = [
        ("snapshot", "diagnose"),
        ("pseudo_label", "train"),
        ("calibrate", "judge"),
        ("publish",),
    ]
    with service.http() as http:
        expected = artifact(service, http, name, whole["version"])
        for stages in [("judge",)] if is_on_postgres(service) else pairs:
            with held(service, *stages):
                run_id = start(http, name)
                for attempt, stage in enumerate(stages, 1):
                    reached(service, run_id, stage, attempt=attempt)
                    service.signal(f"trainer-{run_id}")
                    release(service, stage)
                run = ended(http, run_id)
            assert run["attempt"] == len(stages) + 1, run
            for key in (
                "state",
                "detail",
                "gates",
                "drift",
                "evidence",
                "window",
                "config_digest",
                "data_digest",
            ):
                assert run[key] == whole[key], (stages, key)
            manifest, arrays = artifact(service, http, name, run["version"])
            assert manifest == expected[0]
            assert arrays.keys() == expected[1].keys()
            for tensor, value in expected[1].items():
                assert np.array_equal(arrays[tensor], value), (stages, tensor)
            assert gone_on(http, run) == list(STAGES[: STAGES.index(stages[-1])])
            roll_back(http, name, run)


def test_a_resumed_run_goes_by_the_labels_that_were_there_when_it_was_asked_for(service, unbroken):
    name, whole = unbroken["name"], unbroken["run"]
    changed = [{**label, "label": (label["label"] + 1) % 10} for label in unbroken["labels"]]
    with service.http() as http, held(service, "diagnose"):
        run_id = start(http, name)
        reached(service, run_id, "diagnose")
        http.post(f"/api/v1/models/{name}/feedback", json=changed)
        service.signal(f"trainer-{run_id}")
        release(service, "diagnose")
        run = ended(http, run_id)
        http.post(f"/api/v1/models/{name}/feedback", json=unbroken["labels"])
        roll_back(http, name, run)
    assert run["attempt"] == 2
    assert run["window"]["rows_labelled"] == LABELLED and run["gates"] == whole["gates"]


def test_a_run_cancelled_at_any_stage_publishes_nothing_and_can_be_retried(service, unbroken):
    name = unbroken["name"]
    with service.http() as http:
        before = published(http, name)
        service.signal("worker-0", signal.SIGSTOP)
        try:
            run_id = start(http, name)
            cancelled = http.post(f"/api/v1/runs/{run_id}/cancel")
            assert (cancelled.status_code, cancelled.json()["state"]) == (202, "cancelled")
        finally:
            service.signal("worker-0", signal.SIGCONT)
        for stage in ("train", "publish") if is_on_postgres(service) else STAGES:
            with held(service, stage):
                run_id = start(http, name)
                reached(service, run_id, stage)
                assert http.post(f"/api/v1/runs/{run_id}/cancel").status_code == 202
                run = ended(http, run_id)
            assert (run["state"], run["stage"], run["version"], run["promoted"]) == (
                "cancelled",
                stage,
                None,
                False,
            )
            assert http.post(f"/api/v1/runs/{run_id}/cancel").status_code == 409
        assert published(http, name) == before
        retried = http.post(f"/api/v1/runs/{run_id}/retry").json()
        again = ended(http, retried["id"])
        roll_back(http, name, again)
    assert (again["trigger"], again["windows"], again["attempt"]) == ("retry", ["w-1"], 1)
    for key in ("state", "gates", "drift", "window", "evidence"):
        assert again[key] == unbroken["run"][key], key
