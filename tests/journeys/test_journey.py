"""The whole loop through public HTTP, on SQLite and on Postgres: serve, log, learn, judge,
swap, undo.
"""

from __future__ import annotations

import numpy as np
import pytest
from digits_model import create, learn, rows, send, served, stream, window
from running import Service, wait_for


@pytest.fixture(scope="module")
def walked(service: Service) -> dict:
    """One model that went through two windows."""
    name = "walked"
    with service.http() as http:
        first = create(http, name)
        answers, runs = [], []
        for number in (1, 2):
            answers += [(answer, number) for answer in send(http, name, window(number)[0])]
            run = learn(http, name, reason=f"window {number}")
            served(http, name, run["version"] if run["promoted"] else run["parent_version"])
            runs.append(run)
    return {"name": name, "first": first, "answers": answers, "runs": runs}


@pytest.fixture(scope="module")
def quiet(service: Service) -> str:
    """A model that learns only when it is asked to, and has no rows in its open window."""
    with service.http() as http:
        create(http, "quiet")
    return "quiet"


def test_version_1_is_trained_by_an_ordinary_run_and_served(service, walked):
    first = walked["first"]
    assert (first["trigger"], first["version"], first["promoted"], first["evidence"]) == (
        "create",
        "1",
        True,
        None,
    )
    with service.http() as http:
        promotions = http.get(f"/api/v1/models/{walked['name']}/promotions").json()["items"]
    assert [promotions[0][key] for key in ("epoch", "kind", "from", "to")] == [
        1,
        "first",
        None,
        "1",
    ]
    assert promotions[0]["served_at"] is not None


def test_an_unlabeled_window_is_learnt_judged_promoted_and_answered_with(service, walked):
    run = walked["runs"][0]
    assert (run["state"], run["promoted"], run["evidence"], run["parent_version"]) == (
        "succeeded",
        True,
        "label_free",
        "1",
    )
    assert run["window"]["rows"] == 300
    assert run["window"]["rows_pseudo_labelled"] + run["window"]["rows_refused"] <= 300
    assert {gate["verdict"] for gate in run["gates"] if gate["binds"]} == {"pass"}
    assert run["drift"]["kind"] == "covariate"
    with service.http() as http:
        answer = send(http, walked["name"], window(5)[0][:4])[0]
        document = http.get(f"/api/v1/models/{walked['name']}").json()
    assert answer["version"] == walked["runs"][-1]["version"] == document["champion"]
    assert answer["log"] == "os"


def test_the_promoted_version_beats_the_frozen_one_on_unlabelled_drift(service, walked):
    x, y = window(3)
    with service.http() as http:
        accuracy = {}
        for version in ("1", walked["runs"][-1]["version"]):
            body = {
                "inputs": [
                    {
                        "name": "input",
                        "shape": [300, 64],
                        "datatype": "FP32",
                        "data": x.ravel().tolist(),
                    }
                ]
            }
            body["parameters"] = {"log": False}
            reply = http.post(
                f"/v2/models/{walked['name']}/versions/{version}/infer", json=body
            ).json()
            tensors = {tensor["name"]: tensor["data"] for tensor in reply["outputs"]}
            accuracy[version] = float(np.mean(np.array(tensors["class"]) == y))
    assert accuracy[walked["runs"][-1]["version"]] > accuracy["1"] + 0.05


def test_two_hundred_answers_are_given_again_by_the_versions_they_name(service, walked):
    first, second = walked["answers"][1], walked["answers"][4]
    assert [first[0]["version"], second[0]["version"]] == ["1", walked["runs"][0]["version"]]
    checked = 0
    with service.http() as http:
        for answer, number in (first, second):
            # The second request of each window, row by row: other batches than those they were
            # first answered in.
            for x, told in zip(window(number)[0][100:200], answer["predictions"], strict=True):
                body = {
                    "inputs": [
                        {"name": "input", "shape": [1, 64], "datatype": "FP32", "data": x.tolist()}
                    ]
                }
                url = f"/v2/models/{walked['name']}/versions/{answer['version']}/infer"
                reply = http.post(url, json={**body, "parameters": {"log": False}}).json()
                tensors = {tensor["name"]: tensor["data"] for tensor in reply["outputs"]}
                assert reply["model_version"] == answer["version"]
                assert tensors["label"] == [told["label"]]
                assert (
                    np.abs(np.array(tensors["probabilities"]) - told["probabilities"]).max() < 1e-5
                )
                checked += 1
    assert checked == 200


def test_every_acknowledged_row_is_in_exactly_one_window(service, walked):
    with service.http() as http:
        late = send(http, walked["name"], window(7)[0][:50])
        logged = rows(http, walked["name"])
    acknowledged = {
        (answer["id"], row)
        for answer, _ in walked["answers"]
        for row in range(len(answer["predictions"]))
    }
    acknowledged |= {
        (answer["id"], row) for answer in late for row in range(len(answer["predictions"]))
    }
    found = [(row["prediction_id"], row["row"]) for row in logged]
    assert acknowledged <= set(found)
    assert len(found) == len(set(found)), "a row stands in the log twice"
    assert len({row["window"] for row in logged if row["prediction_id"] == late[0]["id"]}) == 1


def test_rows_opted_out_are_answered_and_not_logged(service, walked):
    with service.http() as http:
        body = {"rows": stream()[0][:3].tolist(), "log": False}
        answer = http.post(f"/api/v1/models/{walked['name']}/predict", json=body).json()
        assert answer["log"] == "off"
        assert answer["id"] not in {
            row["prediction_id"] for row in rows(http, walked["name"], window="open")
        }


def test_a_window_of_junk_is_refused_and_quarantined_while_the_champion_stays(service):
    name = "junk"
    with service.http() as http:
        create(http, name)
        x = np.random.default_rng(0).permuted(window(1)[0], axis=1)
        send(http, name, x)
        run = learn(http, name)
        assert (run["state"], run["promoted"], run["version"]) == ("rejected", False, None)
        assert run["drift"]["kind"] == "abrupt"
        windows = http.get(f"/api/v1/models/{name}/windows").json()["items"]
        assert [entry["state"] for entry in windows] == ["quarantined", "open"]
        assert windows[0]["id"] == run["window"]["id"]
        assert send(http, name, x[:1])[0]["version"] == "1"
        status = http.get("/api/v1/status").json()
        assert (
            next(model for model in status["models"] if model["name"] == name)["safe"]["state"]
            == "warn"
        )
        refused = http.post(f"/api/v1/models/{name}/runs", json={"windows": [windows[0]["id"]]})
        assert refused.status_code == 409 and refused.json()["type"].endswith("/window-quarantined")


def test_a_rollback_is_a_promotion_of_the_earlier_version_and_pauses_learning(service, walked):
    name = walked["name"]
    before, after = walked["runs"][-1]["parent_version"], walked["runs"][-1]["version"]
    with service.http() as http:
        reply = http.post(f"/api/v1/models/{name}/rollback", json={"reason": "test"})
        assert reply.status_code == 200, reply.text
        assert [reply.json()[key] for key in ("kind", "from", "to", "actor")] == [
            "rollback",
            after,
            before,
            "admin",
        ]
        served(http, name, before)
        document = http.get(f"/api/v1/models/{name}").json()
        assert (document["champion"], document["previous"], document["learning"]) == (
            before,
            after,
            "paused",
        )
        reply = http.get(f"/api/v1/models/{name}/aliases/champion")
        etag = reply.headers["ETag"]
        body = {"version": after, "reason": "forward again"}
        url = f"/api/v1/models/{name}/aliases/champion"
        assert http.put(url, json=body, headers={"If-Match": '"1"'}).status_code == 412
        assert http.put(url, json=body, headers={"If-Match": etag}).status_code == 200
        served(http, name, after)
        assert (
            http.patch(f"/api/v1/models/{name}", json={"learning": "on"}).json()["learning"] == "on"
        )


def test_too_few_rows_stay_in_the_open_window(service, quiet):
    with service.http() as http:
        send(http, quiet, window(2)[0][:20])
        reply = http.post(f"/api/v1/models/{quiet}/runs", json={})
        assert reply.status_code == 409
        body = reply.json()
        assert body["type"].endswith("/not-enough-rows") and (body["rows"], body["needed"]) == (
            20,
            150,
        )
        assert http.get(f"/api/v1/models/{quiet}").json()["open_window"] == {"rows": 20}


def test_a_full_window_starts_a_run_by_itself(service):
    name = "full"
    with service.http() as http:
        create(http, name, max_rows=200)
        send(http, name, window(2)[0][:210])
        runs = wait_for(
            lambda: [
                r
                for r in http.get("/api/v1/runs", params={"model": name}).json()["items"]
                if r["trigger"] == "rows"
            ]
        )
        assert runs[0]["window"]["rows"] == 210
        wait_for(lambda: http.get(f"/api/v1/runs/{runs[0]['id']}").json()["ended_at"], 60)


@pytest.mark.slow
def test_a_schedule_starts_a_run_by_itself_once_a_slot(service):
    name = "scheduled"
    with service.http() as http:
        create(http, name, schedule="@every 3s")
        send(http, name, window(2)[0][:160])
        runs = wait_for(
            lambda: [
                r
                for r in http.get("/api/v1/runs", params={"model": name}).json()["items"]
                if r["trigger"] == "schedule"
            ]
        )
        assert len(runs) == 1 and runs[0]["window"]["rows"] == 160
        wait_for(lambda: http.get(f"/api/v1/runs/{runs[0]['id']}").json()["ended_at"], 60)


def test_labels_given_to_rows_before_a_run_are_counted_by_it(service, quiet):
    with service.http() as http:
        x, y = window(1)
        answers = send(http, quiet, x)
        labels = [
            {"prediction_id": answers[0]["id"], "row": row, "label": int(y[row]), "source": "test"}
            for row in range(25)
        ]
        unknown = [
            {"prediction_id": "nobody", "row": 0, "label": 1},
            {"prediction_id": answers[0]["id"], "row": 0, "label": "x"},
        ]
        reply = http.post(f"/api/v1/models/{quiet}/feedback", json=labels + unknown).json()
        assert reply["accepted"] == 25 and [entry["index"] for entry in reply["rejected"]] == [
            25,
            26,
        ]
        assert http.post(f"/api/v1/models/{quiet}/feedback", json=labels).json()["duplicates"] == 25
        run = learn(http, quiet)
        assert run["window"]["rows_labelled"] == 25
        gates = {gate["gate"]: gate for gate in run["gates"]}
        assert gates["audited_gain"]["n"] == 25 and gates["audited_gain"]["binds"]
        # So few labels prove little, and the run says what it stood on.
        proved = gates["audited_accuracy"]["verdict"] == "pass"
        assert run["evidence"] == ("audited" if proved else "label_free")
