"""The seal barrier waits for every live replica, and for no dead one."""

from __future__ import annotations

from stored_models import (
    let_die,
    new_model,
)

from acclimate.storage.log import barrier, windows
from acclimate.storage.registry import replicas


def test_a_seal_waits_for_each_live_replica_and_no_dead_one(database):
    model_id = new_model(database)
    with database.write() as connection:
        for replica in ("api-0", "api-1", "api-2"):
            replicas.heartbeat(connection, replica, {model_id: 5})
        assert windows.open_rows(connection, model_id) == 15
        number = barrier.request_seal(connection, model_id)
        assert barrier.unsealed_replicas(connection, model_id, number) == [
            "api-0",
            "api-1",
            "api-2",
        ]
        replicas.note_sealed(connection, "api-0", model_id, number)
        assert barrier.unsealed_replicas(connection, model_id, number) == ["api-1", "api-2"]
        assert windows.open_rows(connection, model_id) == 10
    let_die(database, "api-1", seconds=8)
    let_die(database, "api-2", seconds=11)
    with database.write() as connection:
        assert barrier.unsealed_replicas(connection, model_id, number) == ["api-1"]
        replicas.sign_off(connection, "api-1")
        assert barrier.unsealed_replicas(connection, model_id, number) == []
        replicas.heartbeat(connection, "api-1", {})
        assert barrier.unsealed_replicas(connection, model_id, number) == ["api-1"]


def test_a_replica_that_died_before_the_clock_was_set_back_is_not_waited_for(database):
    model_id = new_model(database)
    with database.write() as connection:
        replicas.heartbeat(connection, "api-0", {model_id: 5})
    let_die(database, "api-0", seconds=-3600)
    with database.write() as connection:
        assert replicas.list_live(connection, model_id) == []
        assert replicas.heartbeat(connection, "api-1", {}) == 1


def test_an_acknowledgement_of_an_earlier_seal_does_not_count_for_a_later_one(database):
    model_id = new_model(database)
    with database.write() as connection:
        replicas.heartbeat(connection, "api-0", {})
        first = barrier.request_seal(connection, model_id)
        second = barrier.request_seal(connection, model_id)
        assert second == first + 1
        replicas.note_sealed(connection, "api-0", model_id, first)
        assert barrier.unsealed_replicas(connection, model_id, second) == ["api-0"]
        replicas.note_sealed(connection, "api-0", model_id, second)
        assert barrier.unsealed_replicas(connection, model_id, second) == []
