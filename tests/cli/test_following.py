"""Following a run: its stages as progress bars, its events over several connections."""

from __future__ import annotations

import json

import pytest

from acclimate.cli.following import STAGES, stage_bars
from acclimate.client.errors import NotFoundError
from acclimate.client.http import Client
from acclimate.learning import results


def test_the_command_line_knows_every_stage_of_the_loop():
    assert STAGES == results.STAGES


def test_passed_stages_are_full_and_the_present_one_says_how_far_it_is():
    run = {
        "state": "running",
        "stage": "train",
        "progress": {"done": 80, "total": 120, "unit": "steps"},
    }
    bars = {bar.stage: (bar.done, bar.total, bar.note) for bar in stage_bars(run)}
    assert list(bars) == ["snapshot", "diagnose", "pseudo_label", "train"]
    assert bars["diagnose"] == (1, 1, "")
    assert bars["train"] == (80, 120, "steps")


def test_a_run_that_succeeded_is_full_to_the_end_and_a_rejected_one_is_not():
    assert [bar.done for bar in stage_bars({"state": "succeeded", "stage": "publish"})] == [1] * 7
    rejected = list(stage_bars({"state": "rejected", "stage": "judge", "progress": None}))
    assert (rejected[-1].stage, rejected[-1].done, rejected[-1].total) == ("judge", 0, None)


def test_a_queued_run_has_no_bars():
    assert list(stage_bars({"state": "queued", "stage": None})) == []


def test_a_followed_run_tells_each_stage_once_off_a_terminal(acclimate, service):
    service.run(
        {"id": "r1", "state": "succeeded", "model": "gas"}, stages=("snapshot", "train", "judge")
    )
    ended = acclimate("runs", "show", "r1", "--follow", "--url", service.url)
    assert (ended.code, ended.err.split("\n")) == (
        0,
        [
            "run r1: running",
            "run r1: snapshot",
            "run r1: train",
            "run r1: judge",
            "run r1: succeeded",
            "",
        ],
    )


def test_a_broken_stream_resumes_after_the_last_event(service, answer, stream, monkeypatch):
    monkeypatch.setattr("acclimate.client.events.RETRY_SECONDS", 0.0)
    first = stream([("state", {"state": "queued"}), ("stage", {"stage": "train"})])
    half = stream([("progress", {"done": 1})], first=3) + "id: 4\nevent: progress\nda"
    last = stream([("progress", {"done": 2}), ("end", {"state": "failed"})], first=4)
    service.on("GET /api/v1/runs/r1/events", *(answer(200, part) for part in (first, half, last)))
    with Client(service.url) as client:
        told = [(event.id, event.kind) for event in client.events("r1")]
    assert told == [
        ("1", "state"),
        ("2", "stage"),
        ("3", "progress"),
        ("4", "progress"),
        ("5", "end"),
    ]
    asked = service.asked("GET /api/v1/runs/r1/events")
    assert [
        request.headers.get("Last-Event-Id", request.headers.get("Last-Event-ID"))
        for request in asked
    ] == [
        None,
        "2",
        "3",
    ]


def test_following_what_is_not_there_is_said_at_once(service, problem):
    service.on("GET /api/v1/runs/r9/events", problem(404, "not-found", "there is no run 'r9'"))
    with Client(service.url) as client, pytest.raises(NotFoundError, match="r9"):
        list(client.events("r9"))


def test_following_a_run_whose_end_was_told_ends(service, answer):
    service.on("GET /api/v1/runs/r1/events", answer(204, ""))
    with Client(service.url) as client:
        assert list(client.events("r1", after="7")) == []


def test_logs_are_printed_a_line_each_with_their_attempt(acclimate, service, answer):
    lines = [
        {
            "timestamp": "T1",
            "level": "info",
            "attempt": 1,
            "event": "stage done",
            "stage": "train",
            "seconds": 2.5,
        },
        {"timestamp": "T2", "level": "info", "attempt": 2, "event": "run ended", "run": "r1"},
    ]
    service.on(
        "GET /api/v1/runs/r1/logs", answer(200, "".join(json.dumps(line) + "\n" for line in lines))
    )
    ended = acclimate("runs", "logs", "r1", "--attempt", "2", "--url", service.url)
    assert ended.out.split("\n")[0] == "T1 info 1 stage done stage=train seconds=2.5"
    assert service.requests[-1].query == "attempt=2"
