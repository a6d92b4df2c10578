"""Starting a run: the rows that are in its window, and the requests that are refused."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from stored_models import (
    close_window,
    log_segment,
    new_model,
    new_version,
)

from acclimate.storage.log import windows
from acclimate.storage.registry import models, replicas
from acclimate.storage.runs import run_start, runs


def test_a_run_waits_for_the_rows_of_a_replica_that_seals_late(database):
    model_id = new_model(database)
    with database.write() as connection:
        new_version(connection, model_id)
        replicas.heartbeat(connection, "api-0", {model_id: 200})

    def seal_late() -> None:
        number = 0
        while number == 0:
            time.sleep(0.1)
            with database.read() as connection:
                number = models.get(connection, model_id)["seal"]
        log_segment(database, model_id, rows=200)
        with database.write() as connection:
            replicas.note_sealed(connection, "api-0", model_id, number)

    with ThreadPoolExecutor(1) as pool:
        sealed = pool.submit(seal_late)
        run_id = run_start.start_run(
            database,
            run_start.RunRequest(model="gas", trigger="operator", actor="anna", reason="now"),
        )
        sealed.result(10)
    with database.read() as connection:
        run = runs.get(connection, run_id)
    assert (run["rows"], run["windows"], run["parent_version"], run["state"]) == (
        200,
        [1],
        1,
        "queued",
    )


def test_a_run_on_too_few_rows_or_a_wrong_window_is_not_made(database):
    model_id = new_model(database)
    with pytest.raises(run_start.NothingServed):
        run_start.start_run(
            database, run_start.RunRequest(model="gas", trigger="operator", actor="anna")
        )
    with database.write() as connection:
        new_version(connection, model_id)
    log_segment(database, model_id, rows=100)
    with pytest.raises(windows.NotEnoughRows):
        run_start.start_run(
            database, run_start.RunRequest(model="gas", trigger="operator", actor="anna")
        )
    close_window(database, model_id)
    with database.write() as connection:
        windows.set_state(connection, model_id, 1, "quarantined")
    for numbers, error in (
        ([1], windows.WindowQuarantined),
        ([2], windows.WindowOpen),
        ([9], windows.UnknownWindow),
    ):
        with pytest.raises(error):
            run_start.start_run(
                database,
                run_start.RunRequest(
                    model="gas", trigger="operator", actor="anna", windows=numbers
                ),
            )
    with database.read() as connection:
        assert runs.active(connection, model_id) is None
    with database.write() as connection:
        windows.set_state(connection, model_id, 1, "released")
    run_id = run_start.start_run(
        database, run_start.RunRequest(model="gas", trigger="operator", actor="anna", windows=[1])
    )
    with pytest.raises(runs.RunActive):
        run_start.start_run(
            database,
            run_start.RunRequest(model="gas", trigger="operator", actor="anna", windows=[1]),
        )
    with database.read() as connection:
        assert runs.get(connection, run_id)["rows"] == 100
