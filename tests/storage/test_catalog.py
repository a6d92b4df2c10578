"""The catalog: each segment once, each in exactly one window, and a barrier that waits only for the
living.
"""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor, wait

import pytest
from memories import (
    T0,
    at_once,
    expire_lease,
    let_die,
    log_segment,
    new_model,
    new_run,
    new_version,
    segment,
)
from sqlalchemy import event, select

from acclimate.storage.database import Database, now
from acclimate.storage.log import barrier, catalog, windows
from acclimate.storage.registry import models, replicas
from acclimate.storage.runs import run_start, runs


def close(database: Database, model_id: str, needed: int = 1) -> int:
    with database.write() as connection:
        models.lock(connection, model_id)
        return windows.close(connection, model_id, closed_by="operator", needed=needed)["number"]


def window_states(database: Database, model_id: str) -> list[tuple[int, str, int]]:
    with database.read() as connection:
        return [
            (row["number"], row["state"], row["rows"])
            for row in windows.list_all(connection, model_id)
        ]


def test_a_segment_registered_twice_counts_once(database: Database) -> None:
    model_id = new_model(database)
    line = log_segment(database, model_id, rows=70)
    with database.write() as connection:
        assert not catalog.register(connection, line)
        assert windows.open_rows(connection, model_id) == 70
    assert close(database, model_id) == 1
    with database.write() as connection:
        assert not catalog.register(connection, line), "also after its window closed"
        assert windows.open_rows(connection, model_id) == 0
        assert len(catalog.all_segments(connection, model_id)) == 1


def test_a_closed_window_counts_its_rows_names_its_digest_and_opens_the_next(
    database: Database,
) -> None:
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


def test_too_few_rows_leave_everything_as_it_was(database: Database) -> None:
    model_id = new_model(database)
    log_segment(database, model_id, rows=99)
    with pytest.raises(windows.NotEnoughRows) as told:
        close(database, model_id, needed=100)
    assert (told.value.rows, told.value.needed) == (99, 100)
    assert window_states(database, model_id) == [(1, "open", 0)]
    with database.read() as connection:
        assert [row["rows"] for row in catalog.segments_of(connection, model_id, None)] == [99]


def test_rows_registered_after_closing_are_in_the_next_window(database: Database) -> None:
    model_id = new_model(database)
    log_segment(database, model_id, rows=50)
    close(database, model_id)
    late = log_segment(database, model_id, rows=20)
    with database.read() as connection:
        assert [row["id"] for row in catalog.segments_of(connection, model_id, None)] == [late.id]
    assert close(database, model_id) == 2
    assert window_states(database, model_id) == [
        (1, "closed", 50),
        (2, "closed", 20),
        (3, "open", 0),
    ]


def test_models_have_windows_of_their_own(database: Database) -> None:
    model_id, other = new_model(database), new_model(database, "other")
    log_segment(database, model_id, rows=50)
    log_segment(database, other, rows=7)
    close(database, model_id)
    assert window_states(database, other) == [(1, "open", 0)]
    with database.read() as connection:
        assert windows.open_rows(connection, other) == 7


def test_of_two_that_close_at_once_each_segment_is_in_one_window(database: Database) -> None:
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


def test_segments_registered_while_windows_close_are_each_in_one_window_that_counted_them(
    database: Database,
) -> None:
    model_id = new_model(database)
    done = threading.Event()

    def log() -> None:
        for _ in range(30):
            log_segment(database, model_id, rows=10)
        done.set()

    def shut() -> None:
        while not done.is_set():
            try:
                close(database, model_id)
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
def test_a_segment_that_comes_between_counting_and_closing_goes_to_the_next_window(
    database: Database,
) -> None:
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
        close(database, model_id)
        event.remove(database.engine, "before_cursor_execute", another_comes)
        late = came[0].result(10)
    assert window_states(database, model_id)[0] == (1, "closed", 50)
    with database.read() as connection:
        assert [row["rows"] for row in catalog.segments_of(connection, model_id, [1])] == [50]
        assert [row["id"] for row in catalog.segments_of(connection, model_id, None)] == [late.id]


def test_a_seal_waits_for_each_live_replica_and_no_dead_one(database: Database) -> None:
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
        barrier.acknowledge_seal(connection, "api-0", model_id, number)
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


def test_a_replica_that_died_before_the_clock_was_set_back_is_not_waited_for(
    database: Database,
) -> None:
    model_id = new_model(database)
    with database.write() as connection:
        replicas.heartbeat(connection, "api-0", {model_id: 5})
    let_die(database, "api-0", seconds=-3600)
    with database.write() as connection:
        assert replicas.list_live(connection, model_id) == []
        assert replicas.heartbeat(connection, "api-1", {}) == 1


def test_an_acknowledgement_of_an_earlier_seal_does_not_count_for_a_later_one(
    database: Database,
) -> None:
    model_id = new_model(database)
    with database.write() as connection:
        replicas.heartbeat(connection, "api-0", {})
        first = barrier.request_seal(connection, model_id)
        second = barrier.request_seal(connection, model_id)
        assert second == first + 1
        barrier.acknowledge_seal(connection, "api-0", model_id, first)
        assert barrier.unsealed_replicas(connection, model_id, second) == ["api-0"]
        barrier.acknowledge_seal(connection, "api-0", model_id, second)
        assert barrier.unsealed_replicas(connection, model_id, second) == []


def test_a_run_waits_for_the_rows_of_a_replica_that_seals_late(database: Database) -> None:
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
            barrier.acknowledge_seal(connection, "api-0", model_id, number)

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


def test_a_run_on_too_few_rows_or_a_wrong_window_is_not_made(database: Database) -> None:
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
    close(database, model_id)
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


def test_an_open_or_unknown_window_has_no_state_to_change(database: Database) -> None:
    model_id = new_model(database)
    with database.write() as connection:
        with pytest.raises(windows.WindowOpen):
            windows.set_state(connection, model_id, 1, "quarantined")
        with pytest.raises(windows.UnknownWindow):
            windows.set_state(connection, model_id, 2, "quarantined")


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


def test_segments_older_than_the_log_keeps_are_surplus(database: Database) -> None:
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


def test_the_oldest_segments_beyond_the_size_of_the_log_are_surplus(database: Database) -> None:
    model_id, present = new_model(database), clock(database)
    lines = [
        log_segment(database, model_id, size=1000, logged_at=present - ago)
        for ago in (10, 40, 30, 20)
    ]
    assert surplus(database, model_id, max_bytes=4000) == []
    assert surplus(database, model_id, max_bytes=3999) == [lines[1].id]
    assert surplus(database, model_id, max_bytes=2000) == [lines[1].id, lines[2].id]


def test_a_segment_that_an_active_run_learns_from_is_never_surplus(database: Database) -> None:
    model_id = new_model(database)
    line = log_segment(database, model_id, logged_at=T0 - 1e9)
    assert surplus(database, model_id) == [line.id]
    close(database, model_id)
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


def test_segments_come_in_the_order_of_their_registration_whatever_window_they_move_to(
    database: Database,
) -> None:
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
    close(database, model_id)
    late = log_segment(database, model_id).id
    assert since(middle) == [*first[1:], late]
    assert since(middle, window=1) == first[1:] and since(window=2) == [late]
    with database.write() as connection:
        catalog.mark_deleted(connection, [first[1]])
        assert not catalog.is_stored(connection, first[1]) and catalog.is_stored(connection, late)
    assert since(middle) == [first[2], late]


def test_a_window_names_the_runs_that_learnt_from_it_oldest_first(database: Database) -> None:
    model_id, other = new_model(database), new_model(database, "other")
    made = []
    with database.write() as connection:
        for numbers in ([1], [1, 2], []):
            made.append(new_run(connection, model_id, windows=numbers))
            runs.cancel(connection, made[-1])
        new_run(connection, other, windows=[1])
        assert windows.runs_by_window(connection, model_id) == {1: sorted(made[:2]), 2: [made[1]]}


def test_deleted_segments_do_not_count_for_the_open_window(database: Database) -> None:
    model_id = new_model(database)
    line, kept = log_segment(database, model_id, rows=50), log_segment(database, model_id, rows=30)
    with database.write() as connection:
        catalog.mark_deleted(connection, [line.id])
        assert windows.open_rows(connection, model_id) == 30
        assert windows.close(connection, model_id, closed_by="rows", needed=1)["rows"] == 30
        assert [row["id"] for row in catalog.segments_of(connection, model_id, [1])] == [kept.id]


def test_a_reader_sees_one_state_while_others_write(database: Database) -> None:
    model_id = new_model(database)
    log_segment(database, model_id, rows=1)
    with database.read() as connection:
        assert windows.open_rows(connection, model_id) == 1
        log_segment(database, model_id, rows=1)
        assert windows.open_rows(connection, model_id) == 1
    with database.read() as connection:
        assert windows.open_rows(connection, model_id) == 2


def test_a_segment_line_is_what_was_registered(database: Database) -> None:
    model_id = new_model(database)
    line = segment(model_id, rows=3, size=77)
    with database.write() as connection:
        catalog.register(connection, line)
        row = catalog.all_segments(connection, model_id)[0]
    assert {name: row[name] for name in line.__dict__} == line.__dict__
    assert row["window"] is None and row["deleted_at"] is None
