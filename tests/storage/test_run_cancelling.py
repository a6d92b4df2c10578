"""Cancelling runs: queued, running, abandoned, and at the moment they end."""

from __future__ import annotations

import pytest
from stored_models import (
    at_once,
    claim_run,
    expire_lease,
    new_model,
    queue_run,
    run_row,
)

from acclimate.storage.runs import runs


def test_a_queued_run_is_cancelled_at_once(database):
    run_id = queue_run(database, new_model(database))
    with database.write() as connection:
        runs.cancel(connection, run_id)
    found = run_row(database, run_id)
    assert found["state"] == "cancelled" and found["ended_at"] is not None
    assert claim_run(database, run_id) is None


def test_a_running_run_hears_of_its_cancellation_at_its_next_sign_of_life(database):
    run_id = queue_run(database, new_model(database))
    held = claim_run(database, run_id)
    with database.write() as connection:
        runs.cancel(connection, run_id)
        runs.cancel(connection, run_id)  # twice is once
        assert (
            runs.heartbeat(connection, held, stage="train", progress=None, lease_seconds=20)
            == "cancelling"
        )
        runs.finish(connection, held, state="cancelled")
    assert run_row(database, run_id)["state"] == "cancelled"


def test_a_run_of_a_dead_trainer_is_cancelled_at_once_and_for_good(database):
    run_id = queue_run(database, new_model(database))
    held = claim_run(database, run_id)
    expire_lease(database, run_id)
    with database.write() as connection:
        runs.cancel(connection, run_id)
    assert run_row(database, run_id)["state"] == "cancelled"
    with pytest.raises(runs.LeaseLost), database.write() as connection:
        runs.finish(connection, held, state="succeeded")


def test_an_ended_or_unknown_run_cannot_be_cancelled(database):
    run_id = queue_run(database, new_model(database))
    held = claim_run(database, run_id)
    with database.write() as connection:
        runs.finish(connection, held, state="succeeded")
    with pytest.raises(runs.RunEnded), database.write() as connection:
        runs.cancel(connection, run_id)
    with pytest.raises(runs.UnknownRun), database.write() as connection:
        runs.cancel(connection, "nobody")
    assert run_row(database, run_id)["state"] == "succeeded"


def test_a_cancelling_run_whose_trainer_died_is_cancelled_by_the_next_claim(database):
    model_id = new_model(database)
    run_id = queue_run(database, model_id)
    claim_run(database, run_id)
    with database.write() as connection:
        runs.cancel(connection, run_id)
    assert claim_run(database, run_id, "worker-1") is None, "its holder may still be alive"
    assert run_row(database, run_id)["state"] == "cancelling"
    expire_lease(database, run_id)
    assert claim_run(database, run_id, "worker-1") is None
    found = run_row(database, run_id)
    assert found["state"] == "cancelled" and found["ended_at"] is not None
    queue_run(database, model_id)


def test_a_cancelling_run_is_cancelled_even_when_its_attempts_are_used_up(database):
    run_id = queue_run(database, new_model(database))
    for _ in range(3):
        claim_run(database, run_id)
        expire_lease(database, run_id)
    with database.write() as connection:
        runs.cancel(connection, run_id)
    claim_run(database, run_id)
    assert run_row(database, run_id)["state"] == "cancelled"


def test_of_ending_and_cancelling_what_is_first_holds(database):
    model_id = new_model(database)
    cancelled_first = claim_run(database, queue_run(database, model_id))
    with database.write() as connection:
        runs.cancel(connection, cancelled_first.run_id)
    before = run_row(database, cancelled_first.run_id)
    for state in ("succeeded", "rejected", "failed"):
        with pytest.raises(runs.RunCancelled), database.write() as connection:
            runs.finish(
                connection,
                cancelled_first,
                state=state,
                results=runs.RunResults(version=2, promoted=True),
            )
    assert run_row(database, cancelled_first.run_id) == before
    with database.write() as connection:
        runs.finish(connection, cancelled_first, state="cancelled")
    ended_first = claim_run(database, queue_run(database, model_id))
    with database.write() as connection:
        runs.finish(connection, ended_first, state="succeeded")
    with pytest.raises(runs.RunEnded), database.write() as connection:
        runs.cancel(connection, ended_first.run_id)
    assert run_row(database, ended_first.run_id)["state"] == "succeeded"


def test_of_a_simultaneous_end_and_cancel_exactly_one_happens(database):
    model_id = new_model(database)
    for _ in range(10):
        held = claim_run(database, queue_run(database, model_id))
        finished, cancelled = at_once(
            database,
            [
                lambda c, held=held: runs.finish(c, held, state="succeeded"),
                lambda c, held=held: runs.cancel(c, held.run_id),
            ],
        )
        state = run_row(database, held.run_id)["state"]
        if cancelled is None:
            assert isinstance(finished, runs.RunCancelled) and state == "cancelling"
            with database.write() as connection:
                runs.finish(connection, held, state="cancelled")
        else:
            assert (
                isinstance(cancelled, runs.RunEnded) and finished is None and state == "succeeded"
            )
