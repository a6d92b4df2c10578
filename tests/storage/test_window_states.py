"""Windows: each closes over the segments registered so far, and each segment is in one."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor, wait

import pytest
from sqlalchemy import event
from stored_models import (
    at_once,
    close_window,
    log_segment,
    new_model,
    new_run,
)

from acclimate.storage.database import Database
from acclimate.storage.log import catalog, windows
from acclimate.storage.registry import models
from acclimate.storage.runs import runs


def window_states(database: Database, model_id: str) -> list[tuple[int, str, int]]:
    with database.read() as connection:
        return [
            (row["number"], row["state"], row["rows"])
            for row in windows.list_all(connection, model_id)
        ]


def test_a_closed_window_counts_its_rows_names_its_digest_and_opens_the_next(database):
    model_id = new_model(database)
    lines = [log_segment(database, model_id, rows=rows) for rows in (70, 30)]
    with database.write() as connection:
        closed = windows.close(connection, model_id, closed_by="schedule", needed=100)
        assert (closed["rows"], closed["closed_by"], closed["state"]) == (100, "schedule", "closed")
        assert closed["digest"] == windows.digest_of([line.digest for line in lines])
        assert closed["closed_at"] is not None
        assert [row["id"] for row in catalog.segments_of(connection, model_id, [1])] == [
            line.id for line in lines
        ]
        assert catalog.segments_of(connection, model_id, None) == []
    assert window_states(database, model_id) == [(1, "closed", 100), (2, "open", 0)]


def test_too_few_rows_leave_everything_as_it_was(database):
    model_id = new_model(database)
    log_segment(database, model_id, rows=99)
    with pytest.raises(windows.NotEnoughRows) as told:
        close_window(database, model_id, needed=100)
    assert (told.value.rows, told.value.needed) == (99, 100)
    assert window_states(database, model_id) == [(1, "open", 0)]
    with database.read() as connection:
        assert [row["rows"] for row in catalog.segments_of(connection, model_id, None)] == [99]


def test_rows_registered_after_closing_are_in_the_next_window(database):
    model_id = new_model(database)
    log_segment(database, model_id, rows=50)
    close_window(database, model_id)
    late = log_segment(database, model_id, rows=20)
    with database.read() as connection:
        assert [row["id"] for row in catalog.segments_of(connection, model_id, None)] == [late.id]
    assert close_window(database, model_id) == 2
    assert window_states(database, model_id) == [
        (1, "closed", 50),
        (2, "closed", 20),
        (3, "open", 0),
    ]


def test_models_have_windows_of_their_own(database):
    model_id, other = new_model(database), new_model(database, "other")
    log_segment(database, model_id, rows=50)
    log_segment(database, other, rows=7)
    close_window(database, model_id)
    assert window_states(database, other) == [(1, "open", 0)]
    with database.read() as connection:
        assert windows.open_rows(connection, other) == 7


def test_of_two_that_close_at_once_each_segment_is_in_one_window(database):
    model_id = new_model(database)
    for _ in range(6):
        log_segment(database, model_id, rows=10)

    def shut(connection):
        models.lock(connection, model_id)
        return windows.close(connection, model_id, closed_by="operator", needed=10)["number"]

    found = at_once(database, [shut] * 3)
    assert sorted(str(result) if result == 1 else type(result).__name__ for result in found) == [
        "1",
        "NotEnoughRows",
        "NotEnoughRows",
    ]
    assert window_states(database, model_id) == [(1, "closed", 60), (2, "open", 0)]


def test_segments_registered_while_windows_close_are_each_in_one_window_that_counted_them(database):
    model_id = new_model(database)
    done = threading.Event()

    def log() -> None:
        for _ in range(30):
            log_segment(database, model_id, rows=10)
        done.set()

    def shut() -> None:
        while not done.is_set():
            try:
                close_window(database, model_id)
            except windows.NotEnoughRows:
                time.sleep(0.002)

    with ThreadPoolExecutor(3) as pool:
        for future in [pool.submit(log), pool.submit(shut), pool.submit(shut)]:
            future.result(60)
    with database.read() as connection:
        lines = catalog.all_segments(connection, model_id)
        for row in windows.list_all(connection, model_id)[:-1]:
            inside = [line for line in lines if line["window"] == row["number"]]
            assert row["rows"] == sum(line["rows"] for line in inside) > 0
            assert row["digest"] == windows.digest_of([line["digest"] for line in inside])
    assert len(lines) == 30


@pytest.mark.parametrize("database_address", ["postgres"], indirect=True)
def test_a_segment_that_comes_between_counting_and_closing_goes_to_the_next_window(database):
    # SQLite lets no other writer in between anyway.
    model_id = new_model(database)
    log_segment(database, model_id, rows=50)
    came = []

    def another_comes(connection, cursor, statement, parameters, context, executemany) -> None:
        if statement.startswith("UPDATE segments") and not came:
            came.append(pool.submit(log_segment, database, model_id, rows=20))
            wait(came, timeout=0.5)

    with ThreadPoolExecutor(1) as pool:
        event.listen(database.engine, "before_cursor_execute", another_comes)
        close_window(database, model_id)
        event.remove(database.engine, "before_cursor_execute", another_comes)
        late = came[0].result(10)
    assert window_states(database, model_id)[0] == (1, "closed", 50)
    with database.read() as connection:
        assert [row["rows"] for row in catalog.segments_of(connection, model_id, [1])] == [50]
        assert [row["id"] for row in catalog.segments_of(connection, model_id, None)] == [late.id]


def test_an_open_or_unknown_window_has_no_state_to_change(database):
    model_id = new_model(database)
    with database.write() as connection:
        with pytest.raises(windows.WindowOpen):
            windows.set_state(connection, model_id, 1, "quarantined")
        with pytest.raises(windows.UnknownWindow):
            windows.set_state(connection, model_id, 2, "quarantined")


def test_a_window_names_the_runs_that_learnt_from_it_oldest_first(database):
    model_id, other = new_model(database), new_model(database, "other")
    made = []
    with database.write() as connection:
        for numbers in ([1], [1, 2], []):
            made.append(new_run(connection, model_id, windows=numbers))
            runs.cancel(connection, made[-1])
        new_run(connection, other, windows=[1])
        assert windows.runs_by_window(connection, model_id) == {1: sorted(made[:2]), 2: [made[1]]}


def test_deleted_segments_do_not_count_for_the_open_window(database):
    model_id = new_model(database)
    line, kept = log_segment(database, model_id, rows=50), log_segment(database, model_id, rows=30)
    with database.write() as connection:
        catalog.mark_deleted(connection, [line.id])
        assert windows.open_rows(connection, model_id) == 30
        assert windows.close(connection, model_id, closed_by="rows", needed=1)["rows"] == 30
        assert [row["id"] for row in catalog.segments_of(connection, model_id, [1])] == [kept.id]


def test_an_alarm_stands_while_the_newest_closed_window_is_quarantined_by_drift(database):
    alarmed, calm = new_model(database), new_model(database, "calm")

    def alarms() -> dict[str, str]:
        with database.read() as connection:
            return windows.alarms(connection)

    def close(model_id: str, kind: str, state: str | None) -> None:
        number = close_window(database, model_id, needed=0)
        found = windows.Findings(drift={"kind": kind}, state=state)
        with database.write() as connection:
            windows.note(connection, model_id, number, found)

    assert alarms() == {}
    close(alarmed, "abrupt", "quarantined")
    close(calm, "covariate", "quarantined")
    assert alarms() == {alarmed: "abrupt"}, "an operator quarantined the other"
    close(alarmed, "covariate", None)
    assert alarms() == {}
    close(alarmed, "new_class", "quarantined")
    assert alarms() == {alarmed: "new_class"}
    with database.write() as connection:
        windows.set_state(connection, alarmed, 3, "released")
    assert alarms() == {}
