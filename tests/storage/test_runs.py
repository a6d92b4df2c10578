"""Runs: one active a model, one holder each, and a fencing token that makes late writers
harmless.
"""

from __future__ import annotations

from typing import Any

import pytest
from memories import at_once, expire_lease, new_model, new_run, new_version
from sqlalchemy import text

from acclimate.storage.database import Database
from acclimate.storage.registry import models, replicas
from acclimate.storage.runs import runs


def start(database: Database, model_id: str, **changes: Any) -> str:
    with database.write() as connection:
        models.lock(connection, model_id)
        return new_run(connection, model_id, **changes)


def claim(database: Database, run_id: str, owner: str = "worker-0") -> runs.Claim | None:
    with database.write() as connection:
        return runs.claim(connection, run_id, owner=owner)


def row(database: Database, run_id: str) -> dict[str, Any]:
    with database.read() as connection:
        return dict(runs.get(connection, run_id))


def test_a_model_has_one_run_that_has_not_ended(database: Database) -> None:
    model_id, other = new_model(database), new_model(database, "other")
    run_id = start(database, model_id)
    with pytest.raises(runs.RunActive) as told:
        start(database, model_id)
    assert told.value.run_id == run_id
    start(database, other)
    with database.read() as connection:
        assert runs.active(connection, model_id)["id"] == run_id
        assert [found["id"] for found in runs.page(connection, model_id=model_id)] == [run_id]


def test_of_many_that_start_a_run_at_once_one_does_and_the_others_hear_of_it(
    database: Database,
) -> None:
    model_id = new_model(database)

    def begin(connection):
        models.lock(connection, model_id)
        return new_run(connection, model_id)

    found = at_once(database, [begin] * 4)
    started = [result for result in found if isinstance(result, str)]
    assert len(started) == 1
    assert [result.run_id for result in found if isinstance(result, runs.RunActive)] == started * 3


def test_an_ended_run_makes_room_for_the_next(database: Database) -> None:
    model_id = new_model(database)
    first = start(database, model_id)
    held = claim(database, first)
    with database.write() as connection:
        runs.finish(
            connection, held, state="rejected", results=runs.RunResults(detail="nothing new")
        )
    second = start(database, model_id)
    with database.read() as connection:
        assert [found["id"] for found in runs.page(connection)] == [second, first]
        assert [found["id"] for found in runs.page(connection, before=second)] == [first]
        assert [found["id"] for found in runs.page(connection, state="queued")] == [second]
        assert runs.page(connection, size=1)[0]["model"] == "gas"


def test_a_schedule_slot_makes_one_run(database: Database) -> None:
    model_id = new_model(database)
    with database.read() as connection:
        assert runs.last_slot(connection, model_id, until=90.0) is None
    held = claim(database, start(database, model_id, slot=60.0))
    with database.write() as connection:
        runs.finish(connection, held, state="failed")
    with database.read() as connection:
        assert runs.last_slot(connection, model_id, until=90.0) == 60.0
        assert runs.last_slot(connection, model_id, until=30.0) is None, "the clock was set back"
    with pytest.raises(Exception, match=r"(?i)unique"):
        start(database, model_id, slot=60.0)


def test_a_claim_raises_the_token_and_shuts_others_out(database: Database) -> None:
    run_id = start(database, new_model(database))
    held = claim(database, run_id)
    assert (held.token, held.attempt) == (1, 1)
    assert claim(database, run_id, "worker-1") is None
    found = row(database, run_id)
    assert (found["state"], found["owner"], found["token"]) == ("running", "worker-0", 1)
    assert found["started_at"] is not None
    with database.read() as connection:
        assert runs.owned(connection, "worker-0") == 1 and runs.owned(connection, "worker-1") == 0


def test_of_many_that_claim_at_once_one_gets_the_run(database: Database) -> None:
    run_id = start(database, new_model(database))
    found = at_once(database, [lambda c: runs.claim(c, run_id, owner="worker")] * 4)
    assert sorted(str(result.token) if result else "None" for result in found) == [
        "1",
        "None",
        "None",
        "None",
    ]


def test_of_many_that_claim_an_expired_run_at_once_one_gets_it(database: Database) -> None:
    run_id = start(database, new_model(database))
    claim(database, run_id)
    expire_lease(database, run_id)
    found = at_once(database, [lambda c: runs.claim(c, run_id, owner="worker")] * 4)
    assert sorted(str(result.token) if result else "None" for result in found) == [
        "2",
        "None",
        "None",
        "None",
    ]


def test_a_lease_from_before_the_clock_was_set_back_does_not_last_until_it_has_caught_up(
    database: Database,
) -> None:
    run_id = start(database, new_model(database))
    claim(database, run_id)
    with database.write() as connection:
        ahead = (
            "UPDATE runs SET heartbeat_at = heartbeat_at + 3600, lease_expires_at = "
            "lease_expires_at + 3600"
        )
        connection.execute(text(ahead))
    with database.read() as connection:
        assert runs.waiting(connection) == [run_id] and runs.owned(connection, "worker-0") == 0
    again = claim(database, run_id)
    assert again is not None and again.attempt == 2
    with database.read() as connection:
        assert runs.waiting(connection) == [] and runs.owned(connection, "worker-0") == 1


def test_after_the_lease_the_run_goes_on_under_a_higher_token_and_attempt(
    database: Database,
) -> None:
    run_id = start(database, new_model(database))
    claim(database, run_id)
    with database.read() as connection:
        assert runs.waiting(connection) == []
    expire_lease(database, run_id)
    first_start = row(database, run_id)["started_at"]
    with database.read() as connection:
        assert runs.waiting(connection) == [run_id]
        assert runs.owned(connection, "worker-0") == 0
    again = claim(database, run_id, "worker-1")
    assert (again.token, again.attempt) == (2, 2)
    found = row(database, run_id)
    assert (found["owner"], found["started_at"]) == ("worker-1", first_start)


def test_a_claim_given_back_can_be_taken_at_once(database: Database) -> None:
    run_id = start(database, new_model(database))
    held = claim(database, run_id)
    with database.write() as connection:
        runs.release(connection, held)
    assert claim(database, run_id, "worker-1").attempt == 2
    with database.write() as connection:
        runs.release(connection, held)  # late: the run is no longer this claim's
    assert claim(database, run_id, "worker-2") is None


def test_a_sign_of_life_renews_the_lease_and_says_where_the_run_stands(database: Database) -> None:
    run_id = start(database, new_model(database))
    held = claim(database, run_id)
    expire_lease(database, run_id)
    with database.write() as connection:
        progress = {"done": 1, "total": 2, "unit": "steps"}
        assert (
            runs.heartbeat(connection, held, stage="train", progress=progress, lease_seconds=20)
            == "running"
        )
    assert claim(database, run_id, "worker-1") is None
    found = row(database, run_id)
    assert (found["stage"], found["progress"]) == ("train", progress)


@pytest.mark.parametrize("how", ["claimed by another", "ended"])
def test_a_stale_token_changes_nothing(database: Database, how: str) -> None:
    run_id = start(database, new_model(database))
    stale = claim(database, run_id)
    expire_lease(database, run_id)
    newer = claim(database, run_id, "worker-1")
    if how == "ended":
        with database.write() as connection:
            runs.finish(
                connection, newer, state="succeeded", results=runs.RunResults(detail="done")
            )
    before = row(database, run_id)
    for held in [stale, newer] if how == "ended" else [stale]:
        for late in (
            lambda c, held=held: runs.heartbeat(
                c, held, stage="publish", progress=None, lease_seconds=20
            ),
            lambda c, held=held: runs.finish(
                c, held, state="failed", results=runs.RunResults(detail="late")
            ),
            lambda c, held=held: runs.note(c, held, runs.RunResults(rows=1)),
        ):
            with pytest.raises(runs.LeaseLost), database.write() as connection:
                late(connection)
        with database.write() as connection:
            runs.release(connection, held)
    assert row(database, run_id) == before


def test_the_holder_writes_what_it_found(database: Database) -> None:
    run_id = start(database, new_model(database))
    held = claim(database, run_id)
    with database.write() as connection:
        runs.note(connection, held, runs.RunResults(drift={"kind": "covariate"}, rows=300))
        runs.finish(
            connection,
            held,
            state="rejected",
            results=runs.RunResults(detail="no gain", gates=[{"gate": "max_ece"}]),
        )
    found = row(database, run_id)
    assert (found["state"], found["detail"], found["rows"]) == ("rejected", "no gain", 300)
    assert found["gates"] == [{"gate": "max_ece"}] and found["drift"] == {"kind": "covariate"}
    assert found["ended_at"] >= found["started_at"] >= found["created_at"]
    assert claim(database, run_id) is None


def test_the_fourth_claim_finds_a_failed_run(database: Database) -> None:
    model_id = new_model(database)
    run_id = start(database, model_id)
    for attempt in (1, 2, 3):
        assert claim(database, run_id).attempt == attempt
        expire_lease(database, run_id)
    assert claim(database, run_id) is None
    found = row(database, run_id)
    assert found["state"] == "failed" and "3" in found["detail"] and found["ended_at"] is not None
    with database.read() as connection:
        assert runs.active(connection, model_id) is None and runs.waiting(connection) == []


def test_the_third_holder_that_only_seemed_dead_cannot_end_the_failed_run(
    database: Database,
) -> None:
    run_id = start(database, new_model(database))
    for _ in range(3):
        held = claim(database, run_id)
        expire_lease(database, run_id)
    claim(database, run_id)
    with pytest.raises(runs.LeaseLost), database.write() as connection:
        runs.finish(connection, held, state="succeeded")
    assert row(database, run_id)["state"] == "failed"


def test_a_queued_run_is_cancelled_at_once(database: Database) -> None:
    run_id = start(database, new_model(database))
    with database.write() as connection:
        runs.cancel(connection, run_id)
    found = row(database, run_id)
    assert found["state"] == "cancelled" and found["ended_at"] is not None
    assert claim(database, run_id) is None


def test_a_running_run_hears_of_its_cancellation_at_its_next_sign_of_life(
    database: Database,
) -> None:
    run_id = start(database, new_model(database))
    held = claim(database, run_id)
    with database.write() as connection:
        runs.cancel(connection, run_id)
        runs.cancel(connection, run_id)  # twice is once
        assert (
            runs.heartbeat(connection, held, stage="train", progress=None, lease_seconds=20)
            == "cancelling"
        )
        runs.finish(connection, held, state="cancelled")
    assert row(database, run_id)["state"] == "cancelled"


def test_a_run_whose_trainer_is_dead_is_cancelled_at_once_and_a_trainer_that_wakes_is_too_late(
    database: Database,
) -> None:
    run_id = start(database, new_model(database))
    held = claim(database, run_id)
    expire_lease(database, run_id)
    with database.write() as connection:
        runs.cancel(connection, run_id)
    assert row(database, run_id)["state"] == "cancelled"
    with pytest.raises(runs.LeaseLost), database.write() as connection:
        runs.finish(connection, held, state="succeeded")


def test_an_ended_or_unknown_run_cannot_be_cancelled(database: Database) -> None:
    run_id = start(database, new_model(database))
    held = claim(database, run_id)
    with database.write() as connection:
        runs.finish(connection, held, state="succeeded")
    with pytest.raises(runs.RunEnded), database.write() as connection:
        runs.cancel(connection, run_id)
    with pytest.raises(runs.UnknownRun), database.write() as connection:
        runs.cancel(connection, "nobody")
    assert row(database, run_id)["state"] == "succeeded"


def test_a_cancelling_run_whose_trainer_died_is_cancelled_by_the_next_claim(
    database: Database,
) -> None:
    model_id = new_model(database)
    run_id = start(database, model_id)
    claim(database, run_id)
    with database.write() as connection:
        runs.cancel(connection, run_id)
    assert claim(database, run_id, "worker-1") is None, "its holder may still be alive"
    assert row(database, run_id)["state"] == "cancelling"
    expire_lease(database, run_id)
    assert claim(database, run_id, "worker-1") is None
    found = row(database, run_id)
    assert found["state"] == "cancelled" and found["ended_at"] is not None
    start(database, model_id)


def test_a_cancelling_run_is_cancelled_even_when_its_attempts_are_used_up(
    database: Database,
) -> None:
    run_id = start(database, new_model(database))
    for _ in range(3):
        claim(database, run_id)
        expire_lease(database, run_id)
    with database.write() as connection:
        runs.cancel(connection, run_id)
    claim(database, run_id)
    assert row(database, run_id)["state"] == "cancelled"


def test_the_age_of_the_oldest_waiting_run_is_told(database: Database) -> None:
    with database.read() as connection:
        assert runs.oldest_waiting_seconds(connection) == 0.0
    run_id = start(database, new_model(database))
    with database.write() as connection:
        connection.execute(text("UPDATE runs SET created_at = created_at - 60"))
    with database.read() as connection:
        assert 60 <= runs.oldest_waiting_seconds(connection) < 90
    claim(database, run_id)
    with database.read() as connection:
        assert runs.oldest_waiting_seconds(connection) == 0.0


def test_a_run_knows_when_its_version_was_served(database: Database) -> None:
    model_id = new_model(database)
    with database.write() as connection:
        new_version(connection, model_id)
        run_id = runs.page(connection, model_id=model_id)[0]["id"]
        assert runs.get(connection, run_id)["served_at"] is None
        replicas.report_loaded(connection, "api-0", model_id, version=1, epoch=1)
        assert runs.get(connection, run_id)["served_at"] is not None


def test_of_ending_and_cancelling_what_is_first_holds(database: Database) -> None:
    model_id = new_model(database)
    cancelled_first = claim(database, start(database, model_id))
    with database.write() as connection:
        runs.cancel(connection, cancelled_first.run_id)
    before = row(database, cancelled_first.run_id)
    for state in ("succeeded", "rejected", "failed"):
        with pytest.raises(runs.RunCancelled), database.write() as connection:
            runs.finish(
                connection,
                cancelled_first,
                state=state,
                results=runs.RunResults(version=2, promoted=True),
            )
    assert row(database, cancelled_first.run_id) == before
    with database.write() as connection:
        runs.finish(connection, cancelled_first, state="cancelled")
    ended_first = claim(database, start(database, model_id))
    with database.write() as connection:
        runs.finish(connection, ended_first, state="succeeded")
    with pytest.raises(runs.RunEnded), database.write() as connection:
        runs.cancel(connection, ended_first.run_id)
    assert row(database, ended_first.run_id)["state"] == "succeeded"


def test_of_ending_and_cancelling_at_the_same_moment_one_happens_and_the_other_hears_of_it(
    database: Database,
) -> None:
    model_id = new_model(database)
    for _ in range(10):
        held = claim(database, start(database, model_id))
        finished, cancelled = at_once(
            database,
            [
                lambda c, held=held: runs.finish(c, held, state="succeeded"),
                lambda c, held=held: runs.cancel(c, held.run_id),
            ],
        )
        state = row(database, held.run_id)["state"]
        if cancelled is None:
            assert isinstance(finished, runs.RunCancelled) and state == "cancelling"
            with database.write() as connection:
                runs.finish(connection, held, state="cancelled")
        else:
            assert (
                isinstance(cancelled, runs.RunEnded) and finished is None and state == "succeeded"
            )
