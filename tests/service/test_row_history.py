"""Logged rows over HTTP: exported, labelled, queued for labels, quarantined, learnt from again."""

from __future__ import annotations

import gzip
import json
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import numpy as np
import pytest
from history_model import NAME, URL, ended, history, learn, send, windows
from refusals import problem
from running import Service, audit_log, wait_for
from small_model import create, labeled

MIDDLE = labeled(300, seed=5)[0][labeled(300, seed=5)[1] == 1]
ODD = MIDDLE + np.random.default_rng(5).normal(0, 1.5, MIDDLE.shape).astype(MIDDLE.dtype)
"""Inputs that no class of the seed explains."""


@pytest.fixture(scope="module")
def http(service: Service) -> Iterator[httpx.Client]:
    with service.http() as http:
        history(service, http)
        yield http


def page(http: httpx.Client, **query: Any) -> tuple[list[dict[str, Any]], str | None]:
    reply = http.get(
        f"{URL}/rows", params={name: value for name, value in query.items() if value is not None}
    )
    assert reply.status_code == 200, reply.text
    return [json.loads(line) for line in reply.text.splitlines()], reply.headers.get(
        "Next-Page-Token"
    )


def walk(http: httpx.Client, **query: Any) -> list[dict[str, Any]]:
    found, token = page(http, **query)
    while token is not None:
        more, token = page(http, **query, page_token=token)
        found += more
    return found


def addresses(lines: list[dict[str, Any]]) -> Counter[tuple[str, int]]:
    return Counter((line["prediction_id"], line["row"]) for line in lines)


def feedback(http: httpx.Client, labels: Any, **same: Any) -> dict[str, Any]:
    entries = [
        {"prediction_id": id, "row": row, "label": label, **same} for (id, row), label in labels
    ]
    reply = http.post(f"{URL}/feedback", json=entries)
    assert reply.status_code == 200, reply.text
    return reply.json()


def queue(http: httpx.Client, **query: Any) -> dict[str, Any]:
    reply = http.get(f"{URL}/label-queue", params=query)
    assert reply.status_code == 200, reply.text
    return reply.json()


def asked(http: httpx.Client, **query: Any) -> list[tuple[str, int]]:
    return [(item["prediction_id"], item["row"]) for item in queue(http, **query)["items"]]


def by_purpose(items: list[dict[str, Any]]) -> list[list[tuple[str, int]]]:
    """The addresses of the rows that judge, and of those that teach."""
    return [
        [(item["prediction_id"], item["row"]) for item in items if item["why"] == why]
        for why in ("judge", "teach")
    ]


@pytest.fixture(scope="module")
def quarantined(http: httpx.Client) -> dict[str, Any]:
    """A window of odd rows, closed while two walks over the log and traffic went on and
    then put aside, and what they found.
    """
    start = [address for x in np.split(ODD, 4) for address in send(http, x)]
    open_id = windows(http)[-1]["id"]
    before = addresses(walk(http))
    first, tokens = {}, {}
    for window in (None, "open"):
        first[window], tokens[window] = page(http, window=window, page_size=17)
    done, more = threading.Event(), []

    def go_on() -> None:
        while not done.is_set():
            more.append(send(http, ODD[:3]))
            done.wait(0.02)

    with ThreadPoolExecutor(1) as pool:
        traffic = pool.submit(go_on)
        run = http.post(f"{URL}/runs", json={"reason": "odd rows"}).json()
        walks = {window: list(first[window]) for window in first}
        for window in walks:
            while tokens[window] is not None:
                lines, tokens[window] = page(
                    http, window=window, page_size=17, page_token=tokens[window]
                )
                walks[window] += lines
        done.set()
        traffic.result(30)
    run = ended(http, run["id"])
    assert (
        http.post(f"{URL}/windows/{open_id}/quarantine", json={"reason": "odd"}).json()["state"]
        == "quarantined"
    )
    return {"rows": start, "id": open_id, "before": before, "walks": walks, "run": run}


@pytest.mark.slow
def test_an_export_gives_each_row_of_its_start_once_while_traffic_goes_on(quarantined):
    found = addresses(quarantined["walks"][None])
    assert set(quarantined["rows"]) <= set(quarantined["before"]) <= set(found)
    assert set(found.values()) == {1}


@pytest.mark.slow
def test_a_walk_over_the_open_window_goes_on_with_that_window_when_it_closes(quarantined):
    lines = quarantined["walks"]["open"]
    assert (
        {line["window"] for line in lines}
        == {quarantined["id"]}
        == {quarantined["run"]["window"]["id"]}
    )
    assert set(quarantined["rows"]) <= set(addresses(lines)) and set(addresses(lines).values()) == {
        1
    }


@pytest.mark.slow
def test_the_rows_of_each_window_are_those_that_it_counts(http, quarantined):
    walked = [walk(http, window=window["id"]) for window in windows(http)]
    assert [len(lines) for lines in walked] == [window["rows"] for window in windows(http)]
    assert sum(map(addresses, walked), Counter()) == addresses(walk(http))


def test_a_row_is_exported_with_its_numbers_and_what_was_answered(http):
    x = MIDDLE[7:9]
    sent = send(http, x)
    assert [
        set(line) for line in walk(http, window="open") if line["prediction_id"] == sent[0][0]
    ] == [{"prediction_id", "row", "version", "window", "logged_at", "client"}] * 2
    lines = [
        line
        for line in walk(http, fields="input,prediction")
        if line["prediction_id"] == sent[0][0]
    ]
    assert np.array_equal(np.array([line["input"] for line in lines], dtype=np.float32), x)
    assert [(line["label"], line["class"], line["row"]) for line in lines] == [
        ("middle", 1, 0),
        ("middle", 1, 1),
    ]
    assert lines[0]["confidence"] == lines[0]["probabilities"][1]


def test_a_copy_of_a_row_is_exported_as_often_as_it_is_stored(http):
    sent = send(http, MIDDLE[:2], id="sent-twice") + send(http, MIDDLE[:2], id="sent-twice")
    found = addresses(walk(http, window="open"))
    assert [found[address] for address in sent] == [2, 2, 2, 2]


def test_a_token_that_no_page_gave_is_refused_in_words(http):
    token = page(http, window="w-1", page_size=1)[1]
    wrong = ["x", "", "all", "all-0-0-0", token[:-3], token + "x", token.upper(), "٣" + token[1:]]
    for text in wrong:
        assert (
            problem(http.get(f"{URL}/rows", params={"page_token": text}), 422)[0][0]
            == "#/page_token"
        )
    for query in ({}, {"window": "w-2"}):
        errors = problem(http.get(f"{URL}/rows", params={**query, "page_token": token}), 422)
        assert errors == [("#/page_token", "belongs to another window")]
    problem(http.get(f"{URL}/rows", params={"window": "w-99"}), 404)


@pytest.mark.slow
def test_a_released_window_is_learnt_from_and_not_quarantined_again(http, quarantined):
    window = quarantined["id"]
    assert quarantined["run"]["state"] == "rejected"
    assert next(entry for entry in windows(http) if entry["id"] == window)["state"] == "quarantined"
    problem(http.post(f"{URL}/runs", json={"windows": [window]}), 409)
    assert (
        feedback(http, [(address, "middle") for address in quarantined["rows"][:30]])["accepted"]
        == 30
    )
    assert next(entry for entry in windows(http) if entry["id"] == window)["rows_labelled"] == 30
    assert (
        http.post(f"{URL}/windows/{window}/release", json={"reason": "it was a fair"}).json()[
            "state"
        ]
        == "released"
    )
    again = learn(http, windows=[window])
    # Labels that came after the window had closed stood for it.
    assert again["drift"]["kind"] == quarantined["run"]["drift"]["kind"] and again["gates"]
    assert again["window"]["rows_labelled"] == 30
    gates = {gate["gate"]: gate for gate in again["gates"]}
    assert gates["audited_gain"]["n"] == 30 and gates["audited_gain"]["binds"]
    told = next(entry for entry in windows(http) if entry["id"] == window)
    assert (told["state"], told["runs"]) == ("released", [quarantined["run"]["id"], again["id"]])
    assert http.post(f"{URL}/windows/{window}/quarantine").json()["state"] == "quarantined"
    problem(http.post(f"{URL}/runs", json={"windows": [window]}), 409)
    entries = audit_log(http)
    told = [
        entry
        for entry in entries
        if entry["target"] == NAME and entry["action"].startswith("window.")
    ]
    assert [(entry["action"], entry["actor"]) for entry in told] == [
        ("window.quarantined", "admin"),
        ("window.released", "admin"),
        ("window.quarantined", "admin"),
    ]
    assert told[1]["content"] == {"window": window, "reason": "it was a fair"}


def test_labels_count_at_once_for_the_window_their_rows_are_in(http):
    before = windows(http)
    rows = send(http, MIDDLE[:6])
    said = feedback(
        http, [(rows[0], "low"), (rows[1], 2), (rows[2], None), (rows[0], "low")], source="anna"
    )
    assert said == {"accepted": 3, "duplicates": 1, "rejected": []}
    assert feedback(http, [(rows[0], "middle"), (rows[0], "high")], source="zoe")["accepted"] == 2
    # The first window closed long ago.
    old = page(http, window="w-1", page_size=1)[0][0]
    assert feedback(http, [((old["prediction_id"], old["row"]), "high")])["accepted"] == 1
    gained = [
        now["rows_labelled"] - then["rows_labelled"]
        for now, then in zip(windows(http), before, strict=True)
    ]
    assert gained == [1, *[0] * (len(before) - 2), 3]


def test_entries_that_say_whether_the_answer_was_right_are_stored_for_the_answered_class(http):
    rows = send(http, MIDDLE[:3])
    before = windows(http)[-1]["rows_labelled"]
    entries = [
        {"prediction_id": id, "row": row, "right": right, "label_time": "2026-01-01T00:00:00Z"}
        for (id, row), right in zip(rows, (True, False, True), strict=True)
    ]
    entries.append({"prediction_id": rows[0][0], "row": 0, "right": True, "label": "middle"})
    said = http.post(f"{URL}/feedback", json=entries).json()
    assert (said["accepted"], said["rejected"][0]["index"]) == (3, 3)
    assert windows(http)[-1]["rows_labelled"] == before + 2
    assert feedback(http, [(rows[0], "middle"), (rows[1], None)]) == {
        "accepted": 1,
        "duplicates": 1,
        "rejected": [],
    }


@pytest.mark.parametrize("service", ["sqlite"], indirect=True)  # the database has no part in this
def test_labels_of_unknown_rows_are_rejected_with_the_reason(service, http):
    if "other" not in [model["name"] for model in http.get("/api/v1/models").json()["items"]]:
        create(http, "other")
    others, mine = send(http, MIDDLE[:1], name="other"), send(http, MIDDLE[:2])
    unlogged = http.post(f"{URL}/predict", json={"rows": MIDDLE[:1].tolist(), "log": False}).json()[
        "id"
    ]
    strangers = [(others[0], 1), ((mine[0][0], 2), 1), ((unlogged, 0), 1), (("nobody", 0), 1)]
    said = feedback(http, [*strangers, (mine[1], 1)])
    assert (said["accepted"], said["duplicates"]) == (1, 0)
    assert said["rejected"] == [
        {"index": index, "reason": "no logged row has this prediction_id and row"}
        for index in range(4)
    ]
    problem(http.post(f"{URL}/feedback", json=[{}] * 10_001), 422)


def test_labels_may_be_compressed_and_other_encodings_are_refused(http):
    [(prediction, row)] = send(http, MIDDLE[:1])
    entries = json.dumps([{"prediction_id": prediction, "row": row, "label": "middle"}]).encode()
    url = f"{URL}/feedback"
    packed = http.post(url, content=gzip.compress(entries), headers={"Content-Encoding": "gzip"})
    assert packed.json()["accepted"] == 1
    problem(http.post(url, content=entries, headers={"Content-Encoding": "br"}), 415)


def test_the_same_labels_from_many_at_once_are_accepted_once(http):
    rows = send(http, MIDDLE[:50])
    before = windows(http)[-1]["rows_labelled"]
    with ThreadPoolExecutor(4) as pool:
        said = list(pool.map(lambda _: feedback(http, [(row, "middle") for row in rows]), range(4)))
    assert sorted(answer["accepted"] for answer in said) == [0, 0, 0, 50]
    assert sum(answer["duplicates"] for answer in said) == 150
    assert windows(http)[-1]["rows_labelled"] == before + 50


def test_rows_to_label_are_a_stable_random_choice_without_copies_and_labelled_rows(http):
    x = labeled(90, seed=9)[0]
    sent = send(http, x, id="asked-about")
    wait_for(lambda: len(set(asked(http, limit=500)) & set(sent)) == 90, 10)
    judges, teaches = by_purpose(queue(http, limit=500)["items"])
    everything = judges + teaches
    assert len(everything) == len(set(everything)), "a copy is asked about"
    unlabelled = {(line["prediction_id"], line["row"]) for line in walk(http, window="open")}
    assert set(everything) <= unlabelled
    first = asked(http)
    assert first == asked(http) and len(first) == 25
    assert {row for _, row in first} != set(range(25))
    items = queue(http, include="input")["items"]
    first_judges, first_teaches = by_purpose(items)
    assert first_judges == judges[: len(first_judges)]
    # Rows that judge in the longer list teach in none.
    kept = [address for address in first_teaches if address not in judges]
    assert kept == teaches[: len(kept)]
    for item in items:
        assert item["why"] in ("judge", "teach")
        assert item["value"] == pytest.approx(1 / item["propensity"])
        if item["prediction_id"] == "asked-about":
            assert np.array_equal(np.array(item["input"], dtype=np.float32), x[item["row"]])
            assert item["label"] in ("low", "middle", "high") and 0 < item["confidence"] <= 1
    assert set(items[0]) == {
        *(
            "prediction_id",
            "row",
            "version",
            "label",
            "confidence",
            "why",
            "value",
            "propensity",
            "logged_at",
        ),
        "input",
    }
    # Whoever labels from the top is asked for the next ones, with the probability of all asked so
    # far.
    feedback(http, [(address, None) for address in first])
    following = queue(http)["items"]
    then_judges, then_teaches = by_purpose(following)
    assert then_judges == judges[len(first_judges) :][: len(then_judges)]
    assert not set(first) & set(then_judges + then_teaches)
    assert following[1]["propensity"] > items[1]["propensity"]


def test_the_queue_says_why_it_is_empty_or_of_little_use(http):
    http.patch(URL, json={"learning": "paused", "reason": "holidays"})
    assert "holidays" in queue(http)["reason"]
    http.patch(URL, json={"learning": "on"})
    assert queue(http)["reason"] is None
    while left := asked(http, limit=500):
        feedback(http, [(address, "middle") for address in left])
    assert "are labelled" in queue(http)["reason"]
    for query in ("limit=0", "limit=501", "include=everything"):
        problem(http.get(f"{URL}/label-queue?{query}"), 422)


def test_a_page_has_five_hundred_rows_unless_told_and_at_most_ten_thousand(http):
    for _ in range(2):
        send(http, np.tile(MIDDLE, (3, 1)))
    lines, token = page(http)
    assert len(lines) == 500 and token is not None
    assert page(http, page_size=10_000)[1] is None
    for size in (0, -1, 10_001, "x"):
        assert problem(http.get(f"{URL}/rows", params={"page_size": size}), 422)[0][0].endswith(
            "page_size"
        )
