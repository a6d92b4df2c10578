"""Runs over HTTP: plans, refusals, repeated requests, events and logs."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import psutil
import pytest
from digits_model import create, ended, send, window
from drills import held, reached
from refusals import problem
from running import Service, audit_log, wait_for

from acclimate.client.http import Client

NAME = "asked"


@pytest.fixture(scope="module")
def asked(service: Service) -> dict[str, Any]:
    """A model; what was answered on the way to its second version: refusal, plans, and the
    same request many times.
    """
    runs = f"/api/v1/models/{NAME}/runs"
    with service.http() as http:
        create(http, NAME)
        x, _ = window(1)
        send(http, NAME, x[:100])
        found: dict[str, Any] = {"refused": http.post(runs, json={})}
        found["small plan"] = http.post(runs, json={"dry_run": True})
        send(http, NAME, x[100:])
        http.post(f"/api/v1/models/{NAME}/feedback", json=label(http))
        found["before"] = listed(http)
        found["plan"] = http.post(runs, json={"dry_run": True})
        found["after"] = listed(http)
        headers = {"Idempotency-Key": "window 1"}
        with held(service, "train"):

            def ask(_: int) -> httpx.Response:
                with service.http() as other:
                    return other.post(runs, json={"reason": "once"}, headers=headers)

            with ThreadPoolExecutor(3) as pool:
                found["same"] = list(pool.map(ask, range(3)))
            run_id = found["same"][0].json()["id"]
            reached(service, run_id, "train")
            found["active"] = http.post(runs, json={})
            found["active retry"] = http.post(f"/api/v1/runs/{run_id}/retry")
            found["active plan"] = http.post(runs, json={"dry_run": True})
            found["replayed"] = http.post(runs, json={"reason": "once"}, headers=headers)
            followers = [
                threading.Thread(
                    target=follow, args=(service, run_id, found.setdefault("told", []))
                )
                for _ in range(60)
            ]
            for follower in followers:
                follower.start()
            found["while followed"] = http.get(f"/api/v1/runs/{run_id}")
            found["logs while it runs"] = wait_for(
                lambda: http.get(f"/api/v1/runs/{run_id}/logs").text
            )
        found["run"] = ended(http, run_id)
        for follower in followers:
            follower.join(30)
        found["replayed later"] = http.post(runs, json={"reason": "once"}, headers=headers)
        found["other body"] = http.post(runs, json={"reason": "twice"}, headers=headers)
        found["other path"] = http.post(
            "/api/v1/models/nobody/runs", json={"reason": "once"}, headers=headers
        )
    return found


def label(http: httpx.Client) -> list[dict[str, Any]]:
    line = json.loads(http.get(f"/api/v1/models/{NAME}/rows", params={"page_size": 1}).text)
    return [
        {"prediction_id": line["prediction_id"], "row": line["row"], "label": 3, "source": "anna"}
    ]


def listed(http: httpx.Client) -> Any:
    """What must not change by a plan."""
    windows = http.get(f"/api/v1/models/{NAME}/windows").json()["items"]
    return (
        windows,
        http.get("/api/v1/runs", params={"model": NAME}).json(),
        http.get(f"/api/v1/models/{NAME}").json(),
    )


def follow(service: Service, run_id: str, told: list[Any]) -> None:
    with Client(service.url, service.key) as client:
        told.append([(event.id, event.kind, event.content) for event in client.events(run_id)])


def test_a_run_over_too_few_rows_is_refused_with_how_many_there_are_and_they_stay(service, asked):
    problem(asked["refused"], 409)
    body = asked["refused"].json()
    assert (body["type"], body["rows"], body["needed"]) == ("/problems/not-enough-rows", 100, 150)
    plan = asked["small plan"].json()
    assert (plan["enough"], plan["would_learn"], plan["window"]["rows"], plan["needed"]) == (
        False,
        False,
        100,
        150,
    )
    assert plan["drift"] is None and "150" in plan["detail"]


def test_a_plan_says_what_the_run_then_finds_and_changes_nothing(asked):
    assert asked["plan"].status_code == 200
    plan, run = asked["plan"].json(), asked["run"]
    assert (plan["dry_run"], plan["model"], plan["enough"], plan["would_learn"]) == (
        True,
        NAME,
        True,
        True,
    )
    assert plan["window"].pop("rows_examined") == 300
    assert plan["window"] == run["window"]
    assert plan["window"]["rows_labelled"] == 1
    assert plan["drift"]["kind"] == run["drift"]["kind"]
    for name, effect in run["drift"]["effects"].items():
        assert plan["drift"]["effects"][name]["value"] == pytest.approx(effect["value"], abs=1e-5)
    assert asked["after"] == asked["before"]
    assert (
        asked["active plan"].status_code == 200 and asked["active plan"].json()["enough"] is False
    )


def test_the_same_request_sent_again_is_answered_with_the_run_that_it_started(service, asked):
    answers = [*asked["same"], asked["replayed"], asked["replayed later"]]
    assert [answer.status_code for answer in answers] == [202] * 5
    assert {answer.json()["id"] for answer in answers} == {asked["run"]["id"]}
    assert {answer.headers["Location"] for answer in answers} == {
        f"/api/v1/runs/{asked['run']['id']}"
    }
    assert answers[-1].json()["state"] == asked["run"]["state"]
    with service.http() as http:
        runs = http.get("/api/v1/runs", params={"model": NAME}).json()["items"]
        started = [entry for entry in audit_log(http) if entry["action"] == "run.start"]
    assert [run["trigger"] for run in runs] == ["operator", "create"]
    assert (
        len([entry for entry in started if entry["content"].get("run") == asked["run"]["id"]]) == 1
    )


def test_a_key_that_came_with_another_request_is_refused(asked):
    problem(asked["other body"], 422)
    assert asked["other body"].json()["type"] == "/problems/idempotency-key-reused"
    assert asked["other path"].status_code == 404


def test_a_key_is_the_callers_own_and_what_is_no_key_is_refused(service, asked):
    with service.http() as http:
        made = http.post("/api/v1/keys", json={"name": "other", "scopes": ["operate"]}).json()
        for bad in ("", "x" * 129, "tab\tbed"):
            reply = http.post(
                f"/api/v1/models/{NAME}/runs", json={}, headers={"Idempotency-Key": bad}
            )
            assert [pointer for pointer, _ in problem(reply, 422)] == [
                "#/header/Idempotency-Key"
            ], bad
    with service.http(made["key"]) as other:
        reply = other.post(
            f"/api/v1/models/{NAME}/runs",
            json={"reason": "once"},
            headers={"Idempotency-Key": "window 1"},
        )
        assert reply.json()["type"] == "/problems/not-enough-rows"


def test_while_a_run_is_active_another_and_a_retry_are_refused_with_where_it_is(asked):
    for reply in (asked["active"], asked["active retry"]):
        problem(reply, 409)
        assert reply.json()["type"] == "/problems/run-active"
        assert reply.headers["Location"] == f"/api/v1/runs/{asked['run']['id']}"


def test_many_who_follow_a_run_hear_the_same_events_in_order_and_the_end_last(asked):
    assert asked["while followed"].status_code == 200
    assert len(asked["told"]) == 60
    first = asked["told"][0]
    assert all(told == first for told in asked["told"])
    assert [int(id) for id, _, _ in first] == list(range(1, len(first) + 1))
    kinds = [kind for _, kind, _ in first]
    assert (
        kinds.count("gate") == len(asked["run"]["gates"])
        and kinds[-1] == "end"
        and kinds.count("end") == 1
    )
    states = [content["state"] for _, kind, content in first if kind == "state"]
    assert states == ["queued", "running", asked["run"]["state"]]
    stages = [content["stage"] for _, kind, content in first if kind == "stage"]
    assert stages == [
        "snapshot",
        "diagnose",
        "pseudo_label",
        "train",
        "calibrate",
        "judge",
        "publish",
    ]
    end = first[-1][2]
    assert (end["state"], end["version"]) == (asked["run"]["state"], asked["run"]["version"])


def test_a_stream_goes_on_after_the_last_event_that_was_heard(service, asked):
    first, path = asked["told"][0], f"/api/v1/runs/{asked['run']['id']}/events"
    with Client(service.url, service.key) as client:
        rest = [
            (event.id, event.kind, event.content)
            for event in client.events(asked["run"]["id"], after="4")
        ]
    assert rest == first[4:]
    with service.http() as http:
        whole = http.get(path)
        assert whole.headers["content-type"].startswith("text/event-stream")
        assert whole.text.startswith("retry: 1000\n\nid: 1\nevent: state\ndata: {")
        assert http.get(path, headers={"Last-Event-ID": first[-1][0]}).status_code == 204
        problem(http.get(path, headers={"Last-Event-ID": "x"}), 400)
        problem(http.get("/api/v1/runs/nobody/events"), 404)


def test_the_log_of_an_attempt_is_read_while_it_goes_on_and_holds_no_values_of_rows(service, asked):
    def whole() -> Any:
        text = http.get(f"/api/v1/runs/{asked['run']['id']}/logs").text
        return text if "the trainer ended" in text else None

    early = [json.loads(line) for line in asked["logs while it runs"].splitlines()]
    assert {line["event"] for line in early} == {"stage done"}
    with service.http() as http:
        late = [json.loads(line) for line in wait_for(whole).splitlines()]
        problem(http.get(f"/api/v1/runs/{asked['run']['id']}/logs", params={"attempt": 2}), 404)
    assert late[: len(early)] == early
    assert [line["stage"] for line in late if line["event"] == "stage done"][-1] == "judge"
    assert {(line["run"], line["attempt"]) for line in late} == {(asked["run"]["id"], 1)}
    assert not [value for line in late for value in line.values() if isinstance(value, list)]


@pytest.mark.slow
def test_an_ended_run_is_tried_again_over_its_window_and_on_record(service, asked):
    with service.http() as http:
        reply = http.post(f"/api/v1/runs/{asked['run']['id']}/retry")
        assert (reply.status_code, reply.headers["Location"]) == (
            202,
            f"/api/v1/runs/{reply.json()['id']}",
        )
        run = ended(http, reply.json()["id"])
        audit = audit_log(http)
    assert (run["trigger"], run["windows"], run["data_digest"]) == (
        "retry",
        ["w-1"],
        asked["run"]["data_digest"],
    )
    assert asked["run"]["id"] in run["reason"] and run["state"] in ("succeeded", "rejected")
    (start,) = [
        entry
        for entry in audit
        if entry["action"] == "run.start" and entry["content"].get("run") == run["id"]
    ]
    assert start["content"]["trigger"] == "retry"


@pytest.mark.slow
def test_a_stopping_replica_ends_its_event_streams_and_its_successor_continues_them(service, asked):
    told: list[Any] = []
    with service.http() as http, held(service, "judge"):
        run_id = http.post(f"/api/v1/runs/{asked['run']['id']}/retry").json()["id"]
        follower = threading.Thread(target=follow, args=(service, run_id, told))
        follower.start()
        reached(service, run_id, "judge")
        replica = psutil.Process(service.pid("api-0"))
        replica.terminate()
        replica.wait(15)  # connections that hang would hold it for 20 s
    with service.http() as http:
        run = ended(http, run_id)
    follower.join(60)
    (events,) = told
    assert [int(id) for id, _, _ in events] == list(range(1, len(events) + 1))
    assert (events[-1][1], events[-1][2]["state"]) == ("end", run["state"])
