"""A watch counts the rows of its version, acts once, never against an operator, and never waits."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from live_rows import EXPECTED, Live, answers
from sqlalchemy import text

from acclimate.storage.database import Database
from acclimate.storage.log import windows
from acclimate.storage.registry import audit_log, models, promotions, replicas
from acclimate.storage.tables import versions
from workers import rollback_watch
from workers.live_answers import LastChecked

ONE_CLASS = answers(300, of_a=1.0)


@pytest.fixture
def live(database: Database, tmp_path: Path) -> Live:
    """Version 1 serves, and a watch needs two hundred rows."""
    live = Live(database, tmp_path)
    live.policy(watch_rows=200)
    return live


def poll(live: Live, seen: LastChecked | None = None) -> None:
    rollback_watch.poll(live.database, live.segments, seen or LastChecked())


def history(live: Live) -> list[Any]:
    with live.database.read() as connection:
        return promotions.list_all(connection, live.model_id)


def watch(live: Live, epoch: int = 2) -> Any:
    return history(live)[epoch - 1]["watch"]


def test_the_first_version_is_not_watched_and_a_promoted_one_is(live):
    poll(live)
    assert watch(live, 1) is None
    live.add_version()
    poll(live)
    assert (watch(live)["state"], watch(live)["rows"], watch(live)["needed"]) == (
        "watching",
        0,
        200,
    )


def test_a_worse_version_is_taken_back_once_with_everything_that_belongs_to_it(live):
    live.log(1, answers(50))
    with live.database.write() as connection:
        windows.close(connection, live.model_id, closed_by="operator", needed=1)
    live.add_version(windows=(1,))
    live.log(2, ONE_CLASS)
    for _ in range(3):
        poll(live)
    found = history(live)
    assert [(row["kind"], row["actor"], row["to_version"]) for row in found] == [
        ("first", "loop", 1),
        ("promote", "loop", 2),
        ("rollback", "watch", 1),
    ]
    assert (found[1]["watch"]["state"], found[1]["watch"]["rows"]) == ("worse", 200)
    with live.database.read() as connection:
        model = models.get(connection, live.model_id)
        assert model["learning"] == "paused" and "version 2 worse" in model["learning_reason"]
        assert windows.get(connection, live.model_id, 1)["state"] == "quarantined"
        entries = [row for row in audit_log.page(connection) if row["actor"] == "watch"]
    assert [(row["action"], row["target"], row["content"]["version"]) for row in entries] == [
        ("version.rollback", "gas", 1)
    ]


def test_rows_count_once_and_only_if_the_new_version_answered_them(live):
    live.add_version()
    live.log(1, ONE_CLASS)
    live.log(2, answers(90), request="again")
    live.log(2, answers(90), request="again")
    poll(live)
    assert (watch(live)["state"], watch(live)["rows"]) == ("watching", 90)
    live.log(2, answers(110))
    poll(live)
    assert (watch(live)["state"], watch(live)["rows"]) == ("passed", 200)


def test_rows_count_whatever_the_clock_of_their_replica_says_and_however_old_their_window_is(live):
    live.add_version()
    poll(live)
    live.log(2, ONE_CLASS[:60], behind_seconds=3600)
    with live.database.write() as connection:
        windows.close(connection, live.model_id, closed_by="operator", needed=1)
    live.log(2, ONE_CLASS[:60], behind_seconds=-3600)
    poll(live)
    assert watch(live)["rows"] == 120
    live.log(2, ONE_CLASS, behind_seconds=86_400)
    poll(live)
    assert (watch(live)["state"], watch(live)["rows"]) == ("worse", 200)


def test_segments_are_read_again_only_when_there_are_new_ones(live):
    live.add_version()
    live.log(2, answers(60))
    seen = LastChecked()
    poll(live, seen)
    with live.database.write() as connection:
        connection.execute(text("UPDATE segments SET key = 'nowhere'"))
    poll(live, seen)
    assert watch(live)["rows"] == 60
    poll(live, LastChecked())
    assert watch(live)["rows"] == 0


def test_an_operators_newer_promotion_is_never_rolled_back_and_ends_the_older_watch(live):
    live.add_version()
    poll(live)
    live.log(2, ONE_CLASS)
    with live.database.write() as connection:
        promotions.roll_back(connection, live.model_id, to=None, actor="ann", reason="looks wrong")
    poll(live)
    assert watch(live)["state"] == "superseded"
    assert [row["actor"] for row in history(live)] == ["loop", "loop", "ann"]


def test_a_promotion_between_the_look_and_the_verdict_wins(live):
    live.add_version()
    poll(live)
    live.log(2, ONE_CLASS)
    with live.database.read() as connection:
        model = models.get(connection, live.model_id)
        found = rollback_watch.open_watch(connection, model)
    assert found is not None
    live.add_version()
    rollback_watch.conclude(live.database, live.segments, found)
    assert [row["kind"] for row in history(live)] == ["first", "promote", "promote"]
    with live.database.read() as connection:
        assert models.get(connection, live.model_id)["learning"] == "on"


def test_a_version_promoted_during_a_watch_is_watched_instead(live):
    live.add_version()
    poll(live)
    live.add_version()
    poll(live)
    assert [watch(live, epoch)["state"] for epoch in (2, 3)] == ["superseded", "watching"]


def test_a_version_that_failed_its_gates_is_held_to_what_the_champion_before_it_answered(live):
    failed = {
        "gate": "class_flow",
        "value": 0.5,
        "limit": 0.25,
        "n": 60,
        "verdict": "fail",
        "binds": True,
    }
    number = live.add_version(gates=(failed,))
    with live.database.write() as connection:
        own = {
            "rows": 300,
            "confidence": 0.9,
            "deviation": 0.0,
            "shares": [1.0, 0.0],
            "unrest": 0.0,
        }
        connection.execute(
            versions.update()
            .where(versions.c.number == number)
            .values(expected=EXPECTED | {"student": own})
        )
    live.log(number, ONE_CLASS)
    poll(live)
    assert watch(live)["state"] == "worse"


def test_a_former_champion_that_an_operator_promotes_is_not_monitored(live):
    live.add_version()
    with live.database.write() as connection:
        promotions.make_champion(
            connection, live.model_id, 1, expected=2, actor="ann", reason="back", override=False
        )
    live.log(1, ONE_CLASS)
    poll(live)
    assert (watch(live, 3)["state"], len(history(live))) == ("waived", 3)


def test_watch_rows_0_watches_nothing_and_says_so(live):
    live.policy(watch_rows=0)
    live.add_version()
    live.log(2, ONE_CLASS)
    poll(live)
    assert (watch(live)["state"], watch(live)["detail"]) == (
        "waived",
        "the policy says watch_rows = 0",
    )


def test_where_the_version_before_was_deleted_learning_pauses_all_the_same(live):
    live.add_version()
    with live.database.write() as connection:
        connection.execute(text("UPDATE versions SET deleted_at = 1.0 WHERE number = 1"))
    live.log(2, ONE_CLASS)
    poll(live)
    assert watch(live)["state"] == "worse" and len(history(live)) == 2
    with live.database.read() as connection:
        model = models.get(connection, live.model_id)
    assert model["learning"] == "paused" and "still serves" in model["learning_reason"]


def test_a_replica_that_is_stuck_is_asked_to_seal_once_and_nobody_waits_for_it(live):
    live.add_version()
    with live.database.write() as connection:
        replicas.heartbeat(connection, "api-0", {live.model_id: 49})
    poll(live)
    assert asked(live) == 0
    with live.database.write() as connection:
        replicas.heartbeat(connection, "api-0", {live.model_id: 50})
    started = time.monotonic()
    for _ in range(3):
        poll(live)
    assert asked(live) == 1
    assert time.monotonic() - started < 10


def asked(live: Live) -> int:
    with live.database.read() as connection:
        return int(models.get(connection, live.model_id)["seal"])


def test_a_verdict_about_a_model_that_was_deleted_meanwhile_changes_nothing_and_says_so(live):
    live.add_version()
    poll(live)
    live.log(2, ONE_CLASS)
    with live.database.read() as connection:
        found = rollback_watch.open_watch(connection, models.get(connection, live.model_id))
    assert found is not None
    with live.database.write() as connection:
        for table in ("promotions", "versions", "segments", "runs", "models"):
            connection.execute(text(f"DELETE FROM {table}"))
    with pytest.raises(models.ModelDeleted):
        rollback_watch.conclude(live.database, live.segments, found)
