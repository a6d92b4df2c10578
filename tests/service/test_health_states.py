"""The health states learning and safe, with their reasons, for every state of the database."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from live_rows import Live, answers, compared
from sqlalchemy import text
from stored_models import new_run

from acclimate.storage.database import Database
from acclimate.storage.log import windows
from acclimate.storage.registry import models, periodic_tasks, promotions, watches
from acclimate.storage.runs import runs
from service.control import status


@pytest.fixture
def live(database: Database, tmp_path: Path) -> Live:
    live = Live(database, tmp_path)
    with database.write() as connection:
        for task in periodic_tasks.MOST_SECONDS:
            periodic_tasks.note_done(connection, task)
    return live


def health(live: Live, which: str) -> tuple[str, list[str]]:
    with live.database.read() as connection:
        found: dict[str, Any] = status.status_of(connection)["models"][0][which]
    return found["state"], found["reasons"]


def close(live: Live) -> int:
    with live.database.write() as connection:
        return int(
            windows.close(connection, live.model_id, closed_by="operator", needed=0)["number"]
        )


def ended_run(live: Live, state: str, detail: str | None) -> None:
    with live.database.write() as connection:
        claim = runs.claim(
            connection, new_run(connection, live.model_id, parent_version=1), owner="worker-0"
        )
        assert claim is not None
        runs.finish(connection, claim, state=state, results=runs.RunResults(detail=detail))


def pause(live: Live, learning: str, reason: str | None = None) -> None:
    with live.database.write() as connection:
        models.set_learning(connection, live.model_id, learning, reason)


def test_learning_says_that_there_is_nothing_new_and_then_how_many_rows_wait(live):
    live.log(1, answers(20))
    assert health(live, "learning") == (
        "ok",
        ["nothing new to learn from: 20 rows in the open window, a run needs 150"],
    )
    live.log(1, answers(140))
    assert health(live, "learning") == ("ok", ["160 rows wait in the open window"])


def test_learning_says_why_the_last_run_was_rejected_and_is_ok_all_the_same(live):
    ended_run(live, "rejected", "no drift to learn from")
    state, reasons = health(live, "learning")
    assert state == "ok" and reasons[0].endswith("was rejected: no drift to learn from")


def test_learning_names_the_run_that_works_and_its_stage(live):
    with live.database.write() as connection:
        run_id = new_run(connection, live.model_id, parent_version=1)
    assert health(live, "learning") == ("ok", [f"run {run_id} is queued: snapshot"])


def test_learning_is_bad_after_a_failed_run_until_another_one_ends(live):
    ended_run(live, "failed", "NonFiniteLoss: at step 3")
    state, reasons = health(live, "learning")
    assert state == "bad" and "NonFiniteLoss" in reasons[0]
    ended_run(live, "rejected", "no drift")
    assert health(live, "learning")[0] == "ok"


def test_learning_is_not_ok_while_paused_and_says_by_what(live):
    pause(live, "paused", "holiday")
    assert health(live, "learning") == ("warn", ["paused: holiday"])


@pytest.mark.parametrize(("seconds", "state"), [(50, "ok"), (70, "bad"), (-70, "bad")])
def test_learning_is_bad_while_a_periodic_task_is_overdue(live, seconds, state):
    with live.database.write() as connection:
        connection.execute(
            text("UPDATE periodic_tasks SET done_at = done_at - :seconds"), {"seconds": seconds}
        )
    found, reasons = health(live, "learning")
    assert found == state
    reason = (
        "due runs and watched promotions were not checked for 70 s: beat or "
        "every worker is not running"
    )
    assert (reason in reasons) == (state == "bad")
    assert health(live, "safe")[0] == "ok"


def test_learning_is_bad_where_no_periodic_task_was_ever_done(live):
    with live.database.write() as connection:
        connection.execute(text("UPDATE periodic_tasks SET done_at = NULL"))
    assert health(live, "learning")[0] == "bad" and len(health(live, "learning")[1]) == 3


def test_a_model_that_never_learns_says_so(live):
    live.policy(learnable="no")
    assert health(live, "learning")[1] == [
        'the policy has learnable = "no": the model is served and monitored, it does not learn'
    ]


def test_a_quarantined_newest_window_is_not_safe_until_it_is_released_or_a_good_one_follows(live):
    for clear in ("release", "evidence"):
        number = close(live)
        with live.database.write() as connection:
            windows.set_state(connection, live.model_id, number, "quarantined")
        assert health(live, "safe") == (
            "warn",
            [f"window w-{number} is quarantined: by an operator"],
        )
        if clear == "release":
            with live.database.write() as connection:
                windows.set_state(connection, live.model_id, number, "released")
        else:
            close(live)
        assert health(live, "safe") == ("ok", [])


def watch(live: Live, state: str) -> Any:
    """A second version whose watch is in this state."""
    live.add_version()
    with live.database.write() as connection:
        found = {
            "state": state,
            "rows": 40,
            "needed": 500,
            "found": None,
            "detail": "lost its confidence",
            "at": 1.0,
        }
        watches.note(connection, live.model_id, 2, found)
        return promotions.champion(connection, live.model_id)


def test_a_watch_that_goes_on_is_safe_and_says_how_far_it_is_and_a_passed_one_says_nothing(live):
    watch(live, "watching")
    assert health(live, "safe") == ("ok", ["version 2 is being watched: 40 of 500 rows"])
    with live.database.write() as connection:
        connection.execute(
            text("UPDATE periodic_tasks SET done_at = done_at - 70 WHERE name = 'trigger'")
        )
    assert health(live, "safe") == (
        "warn",
        ["version 2 is being watched: 40 of 500 rows", "the watch does not run"],
    )
    with live.database.write() as connection:
        watches.note(connection, live.model_id, 2, {"state": "passed"})
    assert health(live, "safe") == ("ok", [])


def test_a_watch_that_took_a_version_back_is_not_safe_until_an_operator_lets_learning_go_on(live):
    promotion = watch(live, "watching")
    with live.database.write() as connection:
        watches.roll_back(
            connection,
            models.get(connection, live.model_id),
            promotion,
            "it answers one class",
        )
    state, reasons = health(live, "safe")
    assert state == "warn" and "it answers one class" in reasons[0]
    pause(live, "on")
    assert health(live, "safe") == ("ok", [])


def test_a_watch_that_took_a_version_back_is_cleared_by_a_newer_promotion_too(live):
    promotion = watch(live, "watching")
    with live.database.write() as connection:
        watches.roll_back(
            connection,
            models.get(connection, live.model_id),
            promotion,
            "it answers one class",
        )
    live.add_version()
    assert health(live, "safe") == ("ok", [])


def test_a_worse_version_that_could_not_be_taken_back_is_bad(live):
    watch(live, "worse")
    assert health(live, "safe") == (
        "bad",
        ["version 2 is worse and still served: lost its confidence"],
    )


def test_the_state_of_the_service_is_the_worst_of_its_models(live):
    pause(live, "paused", "holiday")
    with live.database.read() as connection:
        assert status.status_of(connection)["learning"]["state"] == "warn"


def test_safe_says_which_version_answers_beside_the_one_that_learns_and_stays_ok(live):
    live.add_version()
    live.switch(1, compared(0.2), "the learner fell behind")
    reason = "version 1 answers; learning goes on from version 2: the learner fell behind"
    assert health(live, "safe") == ("ok", [reason])
    live.switch(2, compared(0.2), "the learner is clearly ahead")
    assert health(live, "safe") == ("ok", [])


def test_safe_says_how_far_a_learner_that_answers_is_from_the_proved_version(live):
    live.compare(compared(0.2))
    assert health(live, "safe") == ("ok", []), "the proved version answers"
    live.add_version()
    reason = (
        "version 2 answers, version 1 is the last proved one: they give 20.0% of 500 rows another "
        "label (at most 25.0%)"
    )
    assert health(live, "safe") == ("ok", [reason])
    number = close(live)
    with live.database.write() as connection:
        windows.set_state(connection, live.model_id, number, "quarantined")
    quarantined = f"window w-{number} is quarantined: by an operator"
    assert health(live, "safe") == ("warn", [quarantined, reason])
