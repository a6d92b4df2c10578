"""Versions over HTTP: aliases, overrides, rollbacks, prediction by number, deletion."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import numpy as np
import pytest
from history_model import NAME, URL, ended, history, send, windows
from refusals import inference_error, problem
from running import Service, audit_log, wait_for
from small_model import SPEC, labeled, post, seed_file, tensor

CHAMPION = f"{URL}/aliases/champion"


@pytest.fixture(scope="module")
def http(service: Service) -> Iterator[httpx.Client]:
    with service.http() as http:
        history(service, http)
        yield http


def ask(http: httpx.Client, version: str, **parameters: Any) -> httpx.Response:
    return http.post(
        f"/v2/models/{NAME}/versions/{version}/infer", json={**tensor(), "parameters": parameters}
    )


def versions(http: httpx.Client) -> dict[str, dict[str, Any]]:
    return {entry["version"]: entry for entry in http.get(f"{URL}/versions").json()["items"]}


def stored(service: Service, digest: str) -> bool:
    name = digest.removeprefix("sha256:")
    return (service.home / "store" / "artifacts" / "sha256" / f"{name}.safetensors").exists()


def test_a_pause_holds_back_triggers_and_not_operators_and_says_why(service, http):
    told = history(service, http)
    assert (told.paused["learning"], told.paused["learning_reason"]) == ("paused", "we look")
    assert told.runs_during_pause == []
    assert (told.asked_for["trigger"], told.asked_for["state"]) == ("operator", "rejected")
    assert told.by_itself["trigger"] == "rows" and told.by_itself["window"]["rows"] == 90
    assert {told.asked_for["version"], told.by_itself["version"]} == {"2", "3"}


def test_a_policy_shows_the_limits_and_rules_of_the_release_and_may_be_sent_back_whole(http):
    read = http.get(f"{URL}/policy")
    policy = read.json()
    assert {"value", "unit", "protects", "source"} <= set(policy["thresholds"][0])
    assert policy["rules"]["isolated"].startswith("a row without neighbours")
    written = http.put(f"{URL}/policy", json=policy, headers={"If-Match": read.headers["ETag"]})
    assert (written.status_code, written.json()) == (200, policy)


def test_a_version_that_was_never_champion_answers_only_where_nothing_is_logged(http):
    assert "never champion" in inference_error(ask(http, "2"), 400)
    assert "never champion" in inference_error(ask(http, "2", log=True), 400)
    reply = ask(http, "2", log=False)
    assert (reply.status_code, reply.json()["model_version"]) == (200, "2")
    inference_error(ask(http, "99", log=False), 404)


def test_a_deleted_version_answers_nobody_and_stays_in_the_history(service, http):
    before = versions(http)["3"]
    assert ask(http, "3", log=False).status_code == 200, "it is in memory now"
    assert "3" in http.get(f"/v2/models/{NAME}").json()["versions"]
    assert before["state"] == "rejected" and stored(service, before["digest"])
    for version, name in (("1", "anchor"), ("champion", "champion")):
        reply = http.delete(f"{URL}/versions/{version}")
        problem(reply, 409)
        assert (
            name in reply.json()["detail"] and reply.json()["type"] == "/problems/version-aliased"
        )
    assert http.delete(f"{URL}/versions/3").status_code == 204
    assert "was deleted" in inference_error(ask(http, "3", log=False), 404)
    inference_error(http.get(f"/v2/models/{NAME}/versions/3/ready"), 404)
    assert "3" not in http.get(f"/v2/models/{NAME}").json()["versions"]
    assert not stored(service, before["digest"])
    after = versions(http)["3"]
    assert (after["state"], after["run"], after["digest"]) == (
        "deleted",
        before["run"],
        before["digest"],
    )
    assert after["deleted_at"] is not None
    assert http.delete(f"{URL}/versions/3").status_code == 204
    problem(http.delete(f"{URL}/versions/9"), 404)
    etag = http.get(CHAMPION).headers["ETag"]
    for override in (True, False):
        body = {"version": "3", "reason": "r", "override": override}
        reply = http.put(CHAMPION, json=body, headers={"If-Match": etag})
        problem(reply, 404)
        assert "was deleted" in reply.json()["detail"]
    problem(http.post(f"{URL}/rollback", json={"to": "3", "reason": "r"}), 404)
    entries = audit_log(http)
    told = [
        entry for entry in entries if (entry["target"], entry["action"]) == (NAME, "version.delete")
    ]
    assert [entry["content"]["version"] for entry in told] == [3]


def test_a_champion_is_set_only_against_the_seen_epoch_and_failed_gates_need_an_override(http):
    def put(etag: str | None, **body: Any) -> httpx.Response:
        headers = {"If-Match": etag} if etag is not None else {}
        return http.put(
            CHAMPION, json={"version": "2", "reason": "we know better", **body}, headers=headers
        )

    etag = http.get(CHAMPION).headers["ETag"]
    assert etag == '"1"'
    problem(put(None), 428)
    problem(put('"7"', override=True), 412)
    reply = put(etag)
    problem(reply, 409)
    assert reply.json()["type"] == "/problems/gate-not-passed"
    reply = put(etag, override=True)
    assert (reply.status_code, reply.headers["ETag"]) == (200, '"2"'), reply.text
    assert reply.json() == {"alias": "champion", "version": "2", "epoch": 2}
    problem(put(etag, override=True), 412)
    reply = put('"2"', override=True)
    problem(reply, 409)
    assert reply.json()["type"] == "/problems/already-champion"
    back = http.post(
        f"{URL}/rollback", json={"reason": "we did not", "pause_learning": False}
    ).json()
    assert (back["from"], back["to"], back["kind"]) == ("2", "1", "rollback")
    problem(http.post(f"{URL}/rollback", json={"to": "1", "reason": "again"}), 409)
    reply = http.put(
        CHAMPION, json={"version": "previous", "reason": "so what"}, headers={"If-Match": '"3"'}
    )
    assert reply.json() == {"alias": "champion", "version": "2", "epoch": 4}


def test_learner_and_proved_version_have_aliases_that_are_read_and_not_set(http):
    told = http.get(URL).json()
    assert (told["champion"], told["learner"], told["proved"]) == ("2", "2", "1")
    assert told["divergence"] is None
    etag = http.get(CHAMPION).headers["ETag"]
    for alias in ("learner", "proved"):
        url = f"{URL}/aliases/{alias}"
        read = http.get(url)
        assert (read.json()["version"], read.headers["ETag"]) == (told[alias], etag)
        body = {"version": "1", "reason": "r"}
        problem(http.put(url, json=body, headers={"If-Match": etag}), 422)
        reply = http.delete(f"{URL}/versions/{alias}")
        problem(reply, 409)
        assert alias in reply.json()["detail"]


def test_every_change_of_champion_is_told_with_kind_actor_and_reason(http):
    expected = [
        ("first", None, "1", "loop", None),
        ("override", "1", "2", "admin", "we know better"),
        ("rollback", "2", "1", "admin", "we did not"),
        ("promote", "1", "2", "admin", "so what"),
    ]
    items, token = [], None
    while not items or token is not None:
        query = {"page_size": 3, **({"page_token": token} if token else {})}
        told = http.get(f"{URL}/promotions", params=query).json()
        items, token = [*items, *told["items"]], told["next_page_token"]
    names = ("kind", "from", "to", "actor", "reason")
    assert [tuple(item[name] for name in names) for item in items] == expected
    assert [item["epoch"] for item in items] == [1, 2, 3, 4]
    assert [item["evidence"] for item in items[:3]] == [None, None, None]
    problem(http.get(f"{URL}/promotions?page_token=x"), 422)
    entries = audit_log(http)
    told = [entry for entry in entries if entry["target"] == NAME and entry["actor"] == "admin"]
    actions = [
        (entry["action"], entry["content"]["version"])
        for entry in told
        if "version" in entry["content"]
    ]
    assert [entry for entry in actions if entry[0] != "version.delete"] == [
        ("version.override", 2),
        ("version.rollback", 1),
        ("version.promote", 2),
    ]


def test_every_former_champion_answers_by_number_and_logs_on_request(http):
    wait_for(
        lambda: http.post(f"/v2/models/{NAME}/infer", json=tensor()).json()["model_version"] == "2"
    )
    for version in ("1", "2"):
        for log, told in ((None, "off"), (False, "off"), (True, "os")):
            parameters = {} if log is None else {"log": log}
            reply = ask(http, version, **parameters).json()
            assert (reply["model_version"], reply["parameters"]["log"]) == (version, told)


def doomed(http: httpx.Client) -> dict[str, Any]:
    """The queued run of a new model."""
    # So many rows that no run of the traffic's begins: one that is active would keep the model.
    spec = SPEC.format(name="doomed").replace("min_window_rows = 40", "min_window_rows = 1000000")
    reply = post(http, spec, seed_file())
    assert reply.status_code == 202, reply.text
    return reply.json()


# On SQLite one writes at a time, so that little can meet; what is left of a model is looked at on
# both in tests/storage.
@pytest.mark.parametrize("service", ["postgres"], indirect=True)
def test_a_model_is_deleted_under_traffic_and_its_name_is_free_again(service, http):
    url = "/api/v1/models/doomed"
    others = journals(service)
    run = doomed(http)
    reply = http.delete(url)
    problem(reply, 409)
    assert reply.headers["Location"] == f"/api/v1/runs/{run['id']}"
    assert ended(http, run["id"])["state"] == "succeeded"
    wait_for(lambda: http.get("/v2/models/doomed/ready").status_code == 200)
    x = labeled(30)[0]
    rows = send(http, x, name="doomed")
    label = [{"prediction_id": rows[0][0], "row": 0, "label": 1}]
    assert http.post(f"{url}/feedback", json=label).json()["accepted"] == 1
    digest = http.get(f"{url}/versions/1").json()["digest"]
    (model_id,) = journals(service) - others
    entries = audit_log(http)
    during, after = delete_under_traffic(http, url, label)
    # 409: too few rows for a run. Everything else is an answer, or that the model is gone.
    assert during <= {200, 404, 409} and 200 in during and after == {404}, (during, after)
    for path in ("", "/rows", "/windows", "/versions", "/promotions", "/label-queue", "/policy"):
        problem(http.get(f"{url}{path}"), 404)
    problem(http.delete(url), 404)
    problem(http.get(f"/api/v1/runs/{run['id']}"), 404)
    assert not stored(service, digest)
    wait_for(lambda: model_id not in journals(service), 10)
    assert list((service.home / "store" / "segments" / model_id).rglob("*")) == []
    # The worker may have written the last lines of the run after that.
    wait_for(lambda: list((service.home / "store" / "logs" / run["id"]).rglob("*")) == [], 30)
    told = audit_log(http)
    assert told[: len(entries)] == entries
    assert [(entry["action"], entry["target"]) for entry in told[len(entries) :]] == [
        ("model.delete", "doomed")
    ]

    assert ended(http, doomed(http)["id"])["version"] == "1"
    wait_for(lambda: http.get("/v2/models/doomed/ready").status_code == 200)
    assert http.get(f"{url}/rows").text == ""
    assert [(window["id"], window["rows"]) for window in windows(http, "doomed")] == [("w-1", 0)]
    assert http.post(f"{url}/feedback", json=label).json()["rejected"][0]["index"] == 0
    assert np.isfinite(
        http.post(f"{url}/predict", json={"rows": x[:1].tolist()}).json()["predictions"][0][
            "confidence"
        ]
    )
    assert http.delete(url).status_code == 204


def delete_under_traffic(http: httpx.Client, url: str, label: Any) -> tuple[set[int], set[int]]:
    """The status codes of all kinds of requests that went on while the model was deleted, and after
    it was.
    """
    requests = [
        ("POST", "/predict", {"rows": labeled(3)[0].tolist()}),
        ("POST", "/feedback", label),
        ("GET", "/rows", None),
        ("GET", "/windows", None),
        ("GET", "/label-queue", None),
        ("POST", "/runs", {}),
    ]
    seen: list[tuple[str, int]] = []
    done = threading.Event()

    def go_on(method: str, path: str, body: Any) -> None:
        while not done.is_set():
            seen.append((path, http.request(method, f"{url}{path}", json=body).status_code))

    def each_more_often_than(times: int, since: int = 0) -> bool:
        counts = Counter(path for path, _ in seen[since:])
        return all(counts[path] > times for _, path, _ in requests)

    with ThreadPoolExecutor(len(requests)) as pool:
        traffic = [pool.submit(go_on, *request) for request in requests]
        try:
            wait_for(lambda: each_more_often_than(1), 60)
            assert http.delete(url).status_code == 204
            wait_for(lambda: http.get("/v2/models/doomed/ready").status_code == 404, 10)
            # Each thread ends what it had begun before.
            begun = len(seen)
            wait_for(lambda: each_more_often_than(1, begun), 60)
            late = len(seen)
            wait_for(lambda: each_more_often_than(2, late), 60)
        finally:
            done.set()
        for future in traffic:
            future.result(30)
    return {code for _, code in seen}, {code for _, code in seen[late:]}


def journals(service: Service) -> set[str]:
    """Ids of the models of which a replica has a folder for its journal."""
    return {path.name for path in (service.home / "journal").glob("*/*") if path.is_dir()}
