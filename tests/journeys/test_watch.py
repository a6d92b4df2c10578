"""The watch over new champions and the drift trigger, on running processes: who is taken
back, who is left alone.
"""

from __future__ import annotations

import json
from typing import Any

import httpx
import numpy as np
import pytest
from digits_model import create, ended, learn, send, served, window
from planted_versions import plant
from prometheus_client.parser import text_string_to_metric_families
from running import Service, audit_log, wait_for
from sklearn.datasets import load_digits

NAME = "watched"
Found = dict[str, Any]


def of_one_class(service: Service, name: str, version: str, rows: np.ndarray) -> str:
    """The number of a new rejected version: the given one, whose last layer now says 7 to
    nearly everything.
    """

    def changed(arrays: dict[str, Any]) -> dict[str, Any]:
        last = [key for key in arrays if key.endswith("bias") and arrays[key].shape == (10,)]
        assert last, sorted(arrays)
        seven = np.float32(40) * (np.arange(10) == 7).astype(np.float32)
        return arrays | {key: arrays[key] + seven for key in last}

    return plant(service, name, version, changed, rows=rows, passed=False)


def promotions(http: httpx.Client, name: str = NAME) -> list[Found]:
    found: list[Found] = http.get(f"/api/v1/models/{name}/promotions").json()["items"]
    return found


def health(http: httpx.Client, which: str, name: str = NAME) -> Found:
    models = http.get("/api/v1/status").json()["models"]
    found: Found = next(model[which] for model in models if model["name"] == name)
    return found


@pytest.fixture(scope="module")
def watched(service: Service) -> Found:
    """A version that learnt and passed its watch, then one of a single class that an
    operator promoted all the same.
    """
    found: Found = {}
    with service.http() as http:
        create(http, NAME, policy="on_drift = false\nwatch_rows = 120")
        send(http, NAME, window(1)[0])
        run = learn(http, NAME)
        assert run["promoted"], run["detail"]
        served(http, NAME, "2")
        found["watching"] = wait_for(lambda: promotions(http)[-1]["watch"])
        found["health_watching"] = health(http, "safe")
        send(http, NAME, window(1)[0][:130], size=130)
        found["passed"] = wait_for(
            lambda: (w := promotions(http)[-1]["watch"])["state"] != "watching" and w
        )
        found["after_passed"] = promotions(http)
        bad = of_one_class(service, NAME, "2", window(1)[0])
        url = f"/api/v1/models/{NAME}/aliases/champion"
        etag = http.get(url).headers["ETag"]
        body = {"version": bad, "reason": "I know better", "override": True}
        assert http.put(url, json=body, headers={"If-Match": etag}).status_code == 200
        served(http, NAME, bad)
        send(http, NAME, window(1)[0][130:270], size=140)
        found["rolled_back"] = wait_for(
            lambda: (p := promotions(http))[-1]["kind"] == "rollback" and p
        )
        served(http, NAME, "2")
        found["bad"] = bad
    return found


def test_a_good_promotion_is_watched_and_passes_silently(watched):
    assert (watched["watching"]["state"], watched["watching"]["needed"]) == ("watching", 120)
    assert watched["health_watching"]["state"] == "ok"
    assert watched["health_watching"]["reasons"] == ["version 2 is being watched: 0 of 120 rows"]
    assert (watched["passed"]["state"], watched["passed"]["rows"]) == ("passed", 120)
    assert [entry["kind"] for entry in watched["after_passed"]] == ["first", "promote"]


def test_a_promoted_version_that_answers_one_class_is_rolled_back(service, watched):
    override, rollback = watched["rolled_back"][-2:]
    assert (override["kind"], override["to"], override["watch"]["state"]) == (
        "override",
        watched["bad"],
        "worse",
    )
    assert override["watch"]["found"]["shares"][7] > 0.9
    assert (rollback["kind"], rollback["actor"], rollback["from"], rollback["to"]) == (
        "rollback",
        "watch",
        watched["bad"],
        "2",
    )
    assert "classes" in rollback["reason"] and rollback["watch"] is None
    with service.http() as http:
        entry = [
            entry
            for entry in audit_log(http)
            if entry["actor"] == "watch" and entry["target"] == NAME
        ]
        assert [one["action"] for one in entry] == ["version.rollback"]
        text = http.get("/metrics").text
    found = {
        sample.labels["kind"]: sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == "acclimate_promotions_total" and sample.labels["model"] == NAME
    }
    assert (found["rollback"], found["override"]) == (1, 1)


def test_learning_is_paused_and_the_window_quarantined_until_cleared(service, watched):
    with service.http() as http:
        model = http.get(f"/api/v1/models/{NAME}").json()
        assert (model["champion"], model["learning"]) == ("2", "paused")
        assert "the watch found version" in model["learning_reason"]
        assert (
            http.get(f"/api/v1/models/{NAME}/windows").json()["items"][0]["state"] == "quarantined"
        )
        safe, learning = health(http, "safe"), health(http, "learning")
        assert (safe["state"], learning["state"]) == ("warn", "warn")
        assert (
            "rolled back to version 2" in safe["reasons"][0] and "quarantined" in safe["reasons"][1]
        )
        assert learning["reasons"][0].startswith("paused: rolled back to version 2")
        http.patch(f"/api/v1/models/{NAME}", json={"learning": "on"})
        assert health(http, "safe")["reasons"] == [safe["reasons"][1]]
        http.post(
            f"/api/v1/models/{NAME}/windows/w-1/release",
            json={"reason": "it was the version, not the rows"},
        )
        assert health(http, "safe")["state"] == "ok"


def test_a_rolled_back_version_that_an_operator_promotes_is_not_monitored(service, watched):
    with service.http() as http:
        url = f"/api/v1/models/{NAME}/aliases/champion"
        body = {"version": watched["bad"], "reason": "still", "override": True}
        etag = http.get(url).headers["ETag"]
        assert http.put(url, json=body, headers={"If-Match": etag}).status_code == 200
        found = wait_for(lambda: promotions(http)[-1]["watch"])
        assert found["state"] == "waived" and "has been champion before" in found["detail"]


def test_the_interval_of_a_label_free_estimate_holds_the_truth(service, watched):
    with service.http() as http:
        window_1 = http.get(f"/api/v1/models/{NAME}/windows").json()["items"][0]
    found = window_1["estimate"]
    assert set(found) == {"value", "lower", "upper", "estimator", "refused"}
    assert (found["estimator"], found["refused"], window_1["rows_labelled"]) == (
        "mean_confidence",
        None,
        0,
    )
    assert found["lower"] < found["value"] < found["upper"]
    second = window_1["second_opinion"]
    assert second["estimator"] in ("seed_recall", "hindsight") and 0 < second["value"] <= 1
    x, y = window(1)
    body = {
        "inputs": [
            {"name": "input", "shape": [len(x), 64], "datatype": "FP32", "data": x.ravel().tolist()}
        ]
    }
    body["parameters"] = {"log": False}
    with service.http() as http:
        reply = http.post(f"/v2/models/{NAME}/versions/1/infer", json=body).json()
    answers = {tensor["name"]: np.array(tensor["data"]) for tensor in reply["outputs"]}
    assert found["value"] == pytest.approx(answers["confidence"].mean(), abs=1e-4)
    assert found["lower"] < (answers["class"] == y).mean() < found["upper"]


@pytest.mark.slow
def test_drift_in_the_answers_starts_a_run_by_itself_and_rows_like_the_seeds_do_not(service):
    name = "drifting"
    images = load_digits().data.astype(np.float32)
    unseen = images[np.random.default_rng(0).permutation(len(images))][897:]
    with service.http() as http:
        create(http, name, policy="on_drift = true\nmin_window_rows = 100")
        send(http, name, unseen[:200])

        def looked() -> list[Found]:
            lines = (service.home / "log" / "worker-0.log").read_text().splitlines()
            events = [json.loads(line) for line in lines if "looked for drift" in line]
            return [event for event in events if event["model"] == name and event["rows"] >= 200]

        assert wait_for(looked)[-1]["found"] is None
        assert [run["trigger"] for run in _runs(http, name)] == ["create"]
        assert health(http, "learning", name)["reasons"] == ["200 rows wait in the open window"]
        send(http, name, window(6)[0])
        newest = wait_for(
            lambda: (found := _runs(http, name))[0]["trigger"] == "drift" and found[0]
        )
        assert "fell from" in newest["reason"] or "moved by" in newest["reason"]
        run = ended(http, newest["id"])
        assert run["window"]["rows"] == 500
        closed = http.get(f"/api/v1/models/{name}/windows").json()["items"][0]
        assert closed["closed_by"] == "drift" and closed["estimate"] is not None


def _runs(http: httpx.Client, name: str) -> list[Found]:
    found: list[Found] = http.get("/api/v1/runs", params={"model": name}).json()["items"]
    return found
