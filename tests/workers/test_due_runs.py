"""When changed answers start a run, and when they must not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from live_rows import Live, answers
from running import wait_for
from sqlalchemy import text
from stored_models import new_run

from acclimate.learning.evaluation.behaviour import Behaviour
from acclimate.storage.database import Database, clock
from acclimate.storage.log import windows
from acclimate.storage.registry import models, replicas
from acclimate.storage.runs import runs
from acclimate.storage.runs.run_start import RunRequest, start_run
from workers import triggers
from workers.live_answers import LastChecked

UNSURE = answers(150, confidence=0.7)


@pytest.fixture
def live(database: Database, tmp_path: Path) -> Live:
    """Version 1 serves; only drift could start a run."""
    live = Live(database, tmp_path)
    live.policy(schedule="never", max_rows=0, min_window_rows=100)
    return live


def start_due(live: Live) -> list[str]:
    """Start the runs that are due; their ids."""
    notified: list[str] = []
    triggers.start_due_runs(live.database, live.segments, LastChecked(), notified.append)
    return notified


def end(live: Live, run_id: str, state: str) -> None:
    with live.database.write() as connection:
        claim = runs.claim(connection, run_id, owner="worker-0")
        assert claim is not None
        runs.finish(
            connection, claim, state=state, results=runs.RunResults(detail="as the test wants it")
        )


def pass_by(live: Live, seconds: float) -> None:
    with live.database.write() as connection:
        connection.execute(
            text("UPDATE runs SET ended_at = ended_at - :seconds"), {"seconds": seconds}
        )


def newest(live: Live) -> Any:
    with live.database.read() as connection:
        return runs.page(connection, model_id=live.model_id, size=1)[0]


def test_answers_less_sure_than_the_champion_was_when_judged_start_a_run_that_says_why(live):
    live.log(1, UNSURE)
    assert len(start_due(live)) == 1
    assert (newest(live)["trigger"], newest(live)["windows"]) == ("drift", [1])
    assert newest(live)["reason"].startswith("mean confidence fell from 0.900 to 0.700 on 150 rows")


def test_answers_as_usual_start_none(live):
    live.log(1, answers(150))
    assert start_due(live) == []


@pytest.mark.parametrize(
    "changes", [{"on_drift": False}, {"learnable": "no"}, {"min_window_rows": 151}]
)
def test_the_policy_can_forbid_it(live, changes):
    live.policy(**changes)
    live.log(1, UNSURE)
    assert start_due(live) == []


def test_paused_learning_and_an_active_run_forbid_it(live):
    live.log(1, UNSURE)
    with live.database.write() as connection:
        models.set_learning(connection, live.model_id, "paused", "holiday")
    assert start_due(live) == []
    with live.database.write() as connection:
        models.set_learning(connection, live.model_id, "on", None)
        new_run(connection, live.model_id)
    assert start_due(live) == []


def test_only_the_champions_own_answers_count(live):
    live.log(1, UNSURE)
    live.add_version()
    assert start_due(live) == []
    live.log(2, answers(100))
    assert start_due(live) == []
    live.log(2, UNSURE, behind_seconds=-1)
    assert len(start_due(live)) == 1


def test_drift_that_taught_nothing_starts_longer_and_longer_cool_downs(live):
    for wait in (600, 1200):
        live.log(1, UNSURE)
        end(live, start_due(live)[0], "rejected")
        live.log(1, UNSURE)
        assert start_due(live) == []
        pass_by(live, wait - 60)
        assert start_due(live) == []
        pass_by(live, 61)


def test_a_clock_that_was_set_back_makes_no_cool_down_last_until_it_has_caught_up(live):
    live.log(1, UNSURE)
    end(live, start_due(live)[0], "rejected")
    live.log(1, UNSURE)
    assert start_due(live) == []
    pass_by(live, -3600)
    assert len(start_due(live)) == 1


def test_a_schedule_goes_on_when_the_clock_was_set_back(live):
    live.policy(schedule="@every 1s", on_drift=False)
    live.log(1, answers(150))
    with live.database.write() as connection:
        tomorrow = int(clock(connection)) + 86_400
        run_id = new_run(connection, live.model_id, slot=float(tomorrow))
        connection.execute(text("UPDATE models SET created_at = created_at + 3600"))
    end(live, run_id, "rejected")
    wait_for(lambda: start_due(live), 10)
    assert newest(live)["trigger"] == "schedule" and newest(live)["slot"] < tomorrow


def test_an_operators_run_waits_for_no_cool_down_and_a_run_that_succeeded_ends_it(live):
    live.log(1, UNSURE)
    end(live, start_due(live)[0], "rejected")
    live.log(1, UNSURE)
    assert start_due(live) == []
    operators = start_run(live.database, RunRequest(model="gas", trigger="operator", actor="ann"))
    end(live, operators, "succeeded")
    live.log(1, UNSURE)
    assert len(start_due(live)) == 1


def test_answers_are_compared_with_the_last_good_window_of_the_same_champion(live):
    live.log(1, UNSURE)
    with live.database.write() as connection:
        number = windows.close(connection, live.model_id, closed_by="operator", needed=1)["number"]
        told = {"served": {"version": 1, "answers": Behaviour.of(UNSURE).as_json()}}
        windows.note(connection, live.model_id, number, windows.Findings(estimate=told))
    live.log(1, UNSURE)
    assert start_due(live) == []
    with live.database.write() as connection:
        windows.set_state(connection, live.model_id, number, "quarantined")
    assert len(start_due(live)) == 1


def test_a_window_that_another_version_served_is_not_compared_with(live):
    live.log(1, UNSURE)
    with live.database.write() as connection:
        number = windows.close(connection, live.model_id, closed_by="operator", needed=1)["number"]
        told = {"served": {"version": 1, "answers": Behaviour.of(UNSURE).as_json()}}
        windows.note(connection, live.model_id, number, windows.Findings(estimate=told))
    live.add_version()
    live.log(2, UNSURE)
    assert len(start_due(live)) == 1


def test_a_seal_is_asked_for_when_as_many_rows_wait_as_a_run_needs(live):
    with live.database.write() as connection:
        replicas.heartbeat(connection, "api-0", {live.model_id: 100})
    for _ in range(2):
        assert start_due(live) == []
    with live.database.read() as connection:
        assert models.get(connection, live.model_id)["seal"] == 1
