"""The catalog: each segment is listed once, in order, and within the bounds of the log."""

from __future__ import annotations

from sqlalchemy import select
from stored_models import (
    T0,
    close_window,
    expire_lease,
    log_segment,
    new_model,
    new_run,
    segment,
)

from acclimate.storage.database import Database, now
from acclimate.storage.log import catalog, windows
from acclimate.storage.runs import runs


def test_a_segment_registered_twice_counts_once(database):
    model_id = new_model(database)
    line = log_segment(database, model_id, rows=70)
    with database.write() as connection:
        assert not catalog.register(connection, line)
        assert windows.open_rows(connection, model_id) == 70
    assert close_window(database, model_id) == 1
    with database.write() as connection:
        assert not catalog.register(connection, line), "also after its window closed"
        assert windows.open_rows(connection, model_id) == 0
        assert len(catalog.all_segments(connection, model_id)) == 1


def surplus(
    database: Database, model_id: str, *, keep_days: float = 7.0, max_bytes: float = 1e9
) -> list[str]:
    with database.read() as connection:
        rows = catalog.surplus_segments(
            connection, model_id, keep_days=keep_days, max_bytes=max_bytes
        )
        return [row["id"] for row in rows]


def clock(database: Database) -> float:
    with database.read() as connection:
        return float(connection.execute(select(now())).scalar_one())


def test_segments_older_than_the_log_keeps_are_surplus(database):
    model_id, present = new_model(database), clock(database)
    ages = (9.0, 1.0, 7.1, 6.9)
    lines = [log_segment(database, model_id, logged_at=present - days * 86_400) for days in ages]
    assert surplus(database, model_id) == [lines[0].id, lines[2].id]
    with database.write() as connection:
        catalog.mark_deleted(connection, [lines[0].id, lines[2].id])
    assert surplus(database, model_id) == []
    with database.read() as connection:
        assert {row["id"] for row in catalog.all_segments(connection, model_id)} == {
            lines[1].id,
            lines[3].id,
        }


def test_the_oldest_segments_beyond_the_size_of_the_log_are_surplus(database):
    model_id, present = new_model(database), clock(database)
    lines = [
        log_segment(database, model_id, size=1000, logged_at=present - ago)
        for ago in (10, 40, 30, 20)
    ]
    assert surplus(database, model_id, max_bytes=4000) == []
    assert surplus(database, model_id, max_bytes=3999) == [lines[1].id]
    assert surplus(database, model_id, max_bytes=2000) == [lines[1].id, lines[2].id]


def test_a_segment_that_an_active_run_learns_from_is_never_surplus(database):
    model_id = new_model(database)
    line = log_segment(database, model_id, logged_at=T0 - 1e9)
    assert surplus(database, model_id) == [line.id]
    close_window(database, model_id)
    with database.write() as connection:
        run_id = new_run(connection, model_id, windows=[1])
    assert surplus(database, model_id, max_bytes=0) == []
    with database.write() as connection:
        runs.claim(connection, run_id, owner="worker-0")
    expire_lease(database, run_id)
    assert surplus(database, model_id, max_bytes=0) == [], "also between two attempts"
    with database.write() as connection:
        held = runs.claim(connection, run_id, owner="worker-0")
        runs.finish(connection, held, state="rejected")
    assert surplus(database, model_id) == [line.id]


def test_segments_come_in_the_order_of_their_registration_whatever_window_they_move_to(database):
    model_id = new_model(database)
    lines = [log_segment(database, model_id).id for _ in range(3)]

    def since(
        after: tuple[float, str] = (0.0, ""), window: int | None = None, most: int = 9
    ) -> list[str]:
        with database.read() as connection:
            found = catalog.segments_from(connection, model_id, after, window=window, most=most)
            times.update({row["id"]: row["registered_at"] for row in found})
            return [row["id"] for row in found]

    times: dict[str, float] = {}
    first = since()
    assert sorted(first) == sorted(lines) and since(window=1) == first and since(window=2) == []
    middle = (times[first[1]], first[1])
    assert since(middle) == first[1:] and since(middle, most=1) == first[1:2]
    close_window(database, model_id)
    late = log_segment(database, model_id).id
    assert since(middle) == [*first[1:], late]
    assert since(middle, window=1) == first[1:] and since(window=2) == [late]
    with database.write() as connection:
        catalog.mark_deleted(connection, [first[1]])
        assert not catalog.is_stored(connection, first[1]) and catalog.is_stored(connection, late)
    assert since(middle) == [first[2], late]


def test_a_reader_sees_one_state_while_others_write(database):
    model_id = new_model(database)
    log_segment(database, model_id, rows=1)
    with database.read() as connection:
        assert windows.open_rows(connection, model_id) == 1
        log_segment(database, model_id, rows=1)
        assert windows.open_rows(connection, model_id) == 1
    with database.read() as connection:
        assert windows.open_rows(connection, model_id) == 2


def test_a_segment_line_is_what_was_registered(database):
    model_id = new_model(database)
    line = segment(model_id, rows=3, size=77)
    with database.write() as connection:
        catalog.register(connection, line)
        row = catalog.all_segments(connection, model_id)[0]
    assert {name: row[name] for name in line.__dict__} == line.__dict__
    assert row["window"] is None and row["deleted_at"] is None
