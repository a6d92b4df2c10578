"""The exit code of each outcome, and one message on stderr."""

from __future__ import annotations

from typing import Any

import pytest

OK = {"state": "ok", "since": "2026-11-24T06:00:00Z", "reasons": []}
RUN = {"id": "r1", "model": "gas", "stage": "judge", "gates": [], "detail": None}
RUNS = "POST /api/v1/models/gas/runs"


def status_of(**states: dict[str, Any]) -> dict[str, Any]:
    return {"healthy": OK, "learning": OK, "safe": OK, "models": [], **states}


def test_status_exits_0_when_all_health_states_are_ok_else_1(acclimate, service, answer):
    service.on("GET /api/v1/status", answer(200, status_of()))
    assert acclimate("status", "--url", service.url).code == 0
    warned = {"state": "warn", "since": None, "reasons": ["window w-4 is quarantined"]}
    service.on("GET /api/v1/status", answer(200, status_of(safe=warned)))
    shown = acclimate("status", "--url", service.url)
    assert shown.code == 1
    assert "window w-4 is quarantined" in shown.out


@pytest.mark.parametrize(
    ("status", "slug", "code"),
    [
        (401, "unauthorized", 5),
        (403, "forbidden", 5),
        (404, "not-found", 4),
        (409, "run-active", 4),
        (412, "epoch-moved", 4),
        (422, "invalid", 1),
        (500, "internal", 1),
    ],
)
def test_each_service_error_has_its_exit_code(acclimate, service, problem, status, slug, code):
    service.on(RUNS, problem(status, slug, "in words"))
    ended = acclimate("retrain", "gas", "--url", service.url)
    assert (ended.code, ended.err) == (code, "acclimate: in words\n")


def test_an_address_where_nothing_listens_is_6(acclimate):
    assert acclimate("status", "--url", "http://127.0.0.1:1").code == 6


def test_a_home_without_a_running_service_is_6_and_says_how_to_start_one(acclimate, tmp_path):
    ended = acclimate("status", "--home", tmp_path)
    assert ended.code == 6
    assert f"acclimate up --home {tmp_path}" in ended.err


@pytest.mark.parametrize(
    "arguments",
    [("retrain",), ("nothing",), ("predict", "gas"), ("gates", "gas", "--set", "max_ece")],
)
def test_wrong_usage_is_2(acclimate, arguments):
    assert acclimate(*arguments).code == 2


def test_a_file_that_is_not_there_is_1_and_named(acclimate, service, tmp_path):
    ended = acclimate("create", tmp_path / "absent.toml", "--url", service.url)
    assert ended.code == 1
    assert "absent.toml" in ended.err


@pytest.mark.parametrize(
    ("state", "code"), [("succeeded", 0), ("rejected", 3), ("failed", 1), ("cancelled", 1)]
)
def test_a_followed_run_ends_with_the_code_of_its_state(acclimate, service, answer, state, code):
    service.on(RUNS, answer(202, {**RUN, "state": "queued"}))
    service.run({**RUN, "state": state})
    assert acclimate("retrain", "gas", "--follow", "--url", service.url).code == code


def test_a_run_that_is_not_followed_is_0_once_it_was_accepted(acclimate, service, answer):
    service.on(RUNS, answer(202, {**RUN, "state": "queued"}))
    assert acclimate("retrain", "gas", "--url", service.url).code == 0


def test_ctrl_c_while_following_says_how_to_resume(acclimate, service, answer, stream, monkeypatch):
    def interrupt(seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("acclimate.client.events.time.sleep", interrupt)
    service.on(
        "GET /api/v1/runs/r1/events",
        answer(200, stream([("state", {"state": "running", "attempt": 1})])),
    )
    ended = acclimate("runs", "show", "r1", "--follow", "--url", service.url)
    assert ended.code == 130
    assert "acclimate runs show r1 --follow" in ended.err
    assert [request.method for request in service.requests] == ["GET"]
