"""Runs: one active run a model, one holder of its lease, and fencing of late writers."""

from __future__ import annotations

import pytest
from sqlalchemy import text
from stored_models import (
    at_once,
    claim_run,
    expire_lease,
    new_model,
    new_run,
    new_version,
    queue_run,
    run_row,
)

from acclimate.storage.registry import models, replicas
from acclimate.storage.runs import runs


def test_a_model_has_one_run_that_has_not_ended(database):
    model_id, other = new_model(database), new_model(database, "other")
    run_id = queue_run(database, model_id)
    with pytest.raises(runs.RunActive) as told:
        queue_run(database, model_id)
    assert told.value.run_id == run_id
    queue_run(database, other)
    with database.read() as connection:
        assert runs.active(connection, model_id)["id"] == run_id
        assert [found["id"] for found in runs.page(connection, model_id=model_id)] == [run_id]


def test_of_many_that_start_a_run_at_once_one_does_and_the_others_hear_of_it(database):
    model_id = new_model(database)

    def begin(connection):
        models.lock(connection, model_id)
        return new_run(connection, model_id)

    found = at_once(database, [begin] * 4)
    started = [result for result in found if isinstance(result, str)]
    assert len(started) == 1
    assert [result.run_id for result in found if isinstance(result, runs.RunActive)] == started * 3


def test_an_ended_run_makes_room_for_the_next(database):
    model_id = new_model(database)
    first = queue_run(database, model_id)
    held = claim_run(database, first)
    with database.write() as connection:
        runs.finish(
            connection, held, state="rejected", results=runs.RunResults(detail="nothing new")
        )
    second = queue_run(database, model_id)
    with database.read() as connection:
        assert [found["id"] for found in runs.page(connection)] == [second, first]
        assert [found["id"] for found in runs.page(connection, before=second)] == [first]
        assert [found["id"] for found in runs.page(connection, state="queued")] == [second]
        assert runs.page(connection, size=1)[0]["model"] == "gas"


def test_a_schedule_slot_makes_one_run(database):
    model_id = new_model(database)
    with database.read() as connection:
        assert runs.last_slot(connection, model_id, until=90.0) is None
    held = claim_run(database, queue_run(database, model_id, slot=60.0))
    with database.write() as connection:
        runs.finish(connection, held, state="failed")
    with database.read() as connection:
        assert runs.last_slot(connection, model_id, until=90.0) == 60.0
        assert runs.last_slot(connection, model_id, until=30.0) is None, "the clock was set back"
    with pytest.raises(Exception, match=r"(?i)unique"):
        queue_run(database, model_id, slot=60.0)


def test_a_claim_raises_the_token_and_shuts_others_out(database):
    run_id = queue_run(database, new_model(database))
    held = claim_run(database, run_id)
    assert (held.token, held.attempt) == (1, 1)
    assert claim_run(database, run_id, "worker-1") is None
    found = run_row(database, run_id)
    assert (found["state"], found["owner"], found["token"]) == ("running", "worker-0", 1)
    assert found["started_at"] is not None
    with database.read() as connection:
        assert runs.owned(connection, "worker-0") == 1 and runs.owned(connection, "worker-1") == 0


def test_of_many_that_claim_at_once_one_gets_the_run(database):
    run_id = queue_run(database, new_model(database))
    found = at_once(database, [lambda c: runs.claim(c, run_id, owner="worker")] * 4)
    assert sorted(str(result.token) if result else "None" for result in found) == [
        "1",
        "None",
        "None",
        "None",
    ]


def test_of_many_that_claim_an_expired_run_at_once_one_gets_it(database):
    run_id = queue_run(database, new_model(database))
    claim_run(database, run_id)
    expire_lease(database, run_id)
    found = at_once(database, [lambda c: runs.claim(c, run_id, owner="worker")] * 4)
    assert sorted(str(result.token) if result else "None" for result in found) == [
        "2",
        "None",
        "None",
        "None",
    ]


def test_a_lease_from_before_the_clock_was_set_back_does_not_last_until_it_has_caught_up(database):
    run_id = queue_run(database, new_model(database))
    claim_run(database, run_id)
    with database.write() as connection:
        ahead = (
            "UPDATE runs SET heartbeat_at = heartbeat_at + 3600, lease_expires_at = "
            "lease_expires_at + 3600"
        )
        connection.execute(text(ahead))
    with database.read() as connection:
        assert runs.waiting(connection) == [run_id] and runs.owned(connection, "worker-0") == 0
    again = claim_run(database, run_id)
    assert again is not None and again.attempt == 2
    with database.read() as connection:
        assert runs.waiting(connection) == [] and runs.owned(connection, "worker-0") == 1


def test_after_the_lease_the_run_goes_on_under_a_higher_token_and_attempt(database):
    run_id = queue_run(database, new_model(database))
    claim_run(database, run_id)
    with database.read() as connection:
        assert runs.waiting(connection) == []
    expire_lease(database, run_id)
    first_start = run_row(database, run_id)["started_at"]
    with database.read() as connection:
        assert runs.waiting(connection) == [run_id]
        assert runs.owned(connection, "worker-0") == 0
    again = claim_run(database, run_id, "worker-1")
    assert (again.token, again.attempt) == (2, 2)
    found = run_row(database, run_id)
    assert (found["owner"], found["started_at"]) == ("worker-1", first_start)


def test_a_claim_given_back_can_be_taken_at_once(database):
    run_id = queue_run(database, new_model(database))
    held = claim_run(database, run_id)
    with database.write() as connection:
        runs.release(connection, held)
    assert claim_run(database, run_id, "worker-1").attempt == 2
    with database.write() as connection:
        runs.release(connection, held)  # late: the run is no longer this claim's
    assert claim_run(database, run_id, "worker-2") is None


def test_a_sign_of_life_renews_the_lease_and_says_where_the_run_stands(database):
    run_id = queue_run(database, new_model(database))
    held = claim_run(database, run_id)
    expire_lease(database, run_id)
    with database.write() as connection:
        progress = {"done": 1, "total": 2, "unit": "steps"}
        assert (
            runs.heartbeat(connection, held, stage="train", progress=progress, lease_seconds=20)
            == "running"
        )
    assert claim_run(database, run_id, "worker-1") is None
    found = run_row(database, run_id)
    assert (found["stage"], found["progress"]) == ("train", progress)


@pytest.mark.parametrize("how", ["claimed by another", "ended"])
def test_a_stale_token_changes_nothing(database, how):
    run_id = queue_run(database, new_model(database))
    stale = claim_run(database, run_id)
    expire_lease(database, run_id)
    newer = claim_run(database, run_id, "worker-1")
    if how == "ended":
        with database.write() as connection:
            runs.finish(
                connection, newer, state="succeeded", results=runs.RunResults(detail="done")
            )
    before = run_row(database, run_id)
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
    assert run_row(database, run_id) == before


def test_the_holder_writes_what_it_found(database):
    run_id = queue_run(database, new_model(database))
    held = claim_run(database, run_id)
    with database.write() as connection:
        runs.note(connection, held, runs.RunResults(drift={"kind": "covariate"}, rows=300))
        runs.finish(
            connection,
            held,
            state="rejected",
            results=runs.RunResults(detail="no gain", gates=[{"gate": "max_ece"}]),
        )
    found = run_row(database, run_id)
    assert (found["state"], found["detail"], found["rows"]) == ("rejected", "no gain", 300)
    assert found["gates"] == [{"gate": "max_ece"}] and found["drift"] == {"kind": "covariate"}
    assert found["ended_at"] >= found["started_at"] >= found["created_at"]
    assert claim_run(database, run_id) is None


def test_the_fourth_claim_finds_a_failed_run(database):
    model_id = new_model(database)
    run_id = queue_run(database, model_id)
    for attempt in (1, 2, 3):
        assert claim_run(database, run_id).attempt == attempt
        expire_lease(database, run_id)
    assert claim_run(database, run_id) is None
    found = run_row(database, run_id)
    assert found["state"] == "failed" and "3" in found["detail"] and found["ended_at"] is not None
    with database.read() as connection:
        assert runs.active(connection, model_id) is None and runs.waiting(connection) == []


def test_the_third_holder_that_only_seemed_dead_cannot_end_the_failed_run(database):
    run_id = queue_run(database, new_model(database))
    for _ in range(3):
        held = claim_run(database, run_id)
        expire_lease(database, run_id)
    claim_run(database, run_id)
    with pytest.raises(runs.LeaseLost), database.write() as connection:
        runs.finish(connection, held, state="succeeded")
    assert run_row(database, run_id)["state"] == "failed"


def test_the_age_of_the_oldest_waiting_run_is_told(database):
    with database.read() as connection:
        assert runs.oldest_waiting_seconds(connection) == 0.0
    run_id = queue_run(database, new_model(database))
    with database.write() as connection:
        connection.execute(text("UPDATE runs SET created_at = created_at - 60"))
    with database.read() as connection:
        assert 60 <= runs.oldest_waiting_seconds(connection) < 90
    claim_run(database, run_id)
    with database.read() as connection:
        assert runs.oldest_waiting_seconds(connection) == 0.0


def test_a_run_knows_when_its_version_was_served(database):
    model_id = new_model(database)
    with database.write() as connection:
        new_version(connection, model_id)
        run_id = runs.page(connection, model_id=model_id)[0]["id"]
        assert runs.get(connection, run_id)["served_at"] is None
        replicas.report_loaded(connection, "api-0", model_id, version=1, epoch=1)
        assert runs.get(connection, run_id)["served_at"] is not None
