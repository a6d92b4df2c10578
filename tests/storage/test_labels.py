"""Labels of logged rows: the newest counts, and each labelled row counts once for its window."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import Connection, event, text
from stored_models import at_once, log_segment, new_model

from acclimate.storage.database import Database
from acclimate.storage.log import windows
from acclimate.storage.registry import labels, models
from acclimate.storage.registry.labels import Label


def label(
    segment: str, row: int = 0, what: int | None = 0, source: str = "anna", id: str = "p"
) -> Label:
    return Label(prediction_id=id, row=row, label=what, source=source, segment=segment)


def add(database: Database, model_id: str, *given: Label) -> list[bool]:
    with database.write() as connection:
        models.lock(connection, model_id)
        return labels.add(connection, model_id, given)


def known(
    database: Database, model_id: str, before: float = 4e9
) -> dict[tuple[str, int], int | None]:
    with database.read() as connection:
        return {
            address: said.label
            for address, said in labels.records(connection, model_id, before=before).items()
        }


def counts(database: Database, model_id: str) -> list[int]:
    with database.read() as connection:
        return [row["rows_labelled"] for row in windows.list_all(connection, model_id)]


def close(connection: Connection, model_id: str) -> int:
    models.lock(connection, model_id)
    return windows.close(connection, model_id, closed_by="operator", needed=1)["number"]


@pytest.fixture
def model_id(database: Database) -> str:
    return new_model(database)


def test_the_last_label_of_a_source_counts_and_a_repeat_says_nothing_new(database, model_id):
    here = log_segment(database, model_id).id
    assert add(database, model_id, label(here, what=1)) == [True]
    assert add(database, model_id, label(here, what=1)) == [False]
    assert add(database, model_id, label(here, what=None)) == [True]
    assert add(database, model_id, label(here, what=None)) == [False]
    assert known(database, model_id) == {("p", 0): None}
    with database.read() as connection:
        accepted_at = connection.execute(text("SELECT accepted_at FROM labels")).scalar_one()
    assert known(database, model_id, before=accepted_at) == {("p", 0): None}
    assert known(database, model_id, before=accepted_at - 1) == {}


def test_the_last_word_in_one_call_counts_over_all_sources(database, model_id):
    here = log_segment(database, model_id).id
    for first, second in (("anna", "zoe"), ("zoe", "anna"), ("anna", "zoe")):
        said = [
            label(here, 0, 0, first),
            label(here, 0, 1, second),
            label(here, 1, 1, first),
            label(here, 1, 0, first),
        ]
        add(database, model_id, *said)
        assert known(database, model_id) == {("p", 0): 1, ("p", 1): 0}
    assert add(
        database,
        model_id,
        label(here, 5, 0),
        label(here, 5, 0),
        label(here, 5, 1),
        label(here, 5, 0),
    ) == [
        True,
        False,
        True,
        True,
    ]


def test_a_word_said_later_counts_though_the_clock_has_not_moved(database, model_id):
    here = log_segment(database, model_id).id
    add(database, model_id, label(here, what=0, source="zoe"))
    with database.write() as connection:
        connection.execute(text("UPDATE labels SET accepted_at = accepted_at + 5"))
    add(database, model_id, label(here, what=1, source="anna"))
    assert known(database, model_id) == {("p", 0): 1}


def test_a_row_counts_once_for_its_window_whoever_labels_it_how_often(database, model_id):
    first = log_segment(database, model_id).id
    add(
        database,
        model_id,
        label(first, 0),
        label(first, 0, source="zoe"),
        label(first, 1),
        label(first, 1, 1),
    )
    assert counts(database, model_id) == [2]
    with database.write() as connection:
        close(connection, model_id)
    second = log_segment(database, model_id).id
    add(
        database,
        model_id,
        label(first, 0, 1),
        label(first, 2),
        label(second, 0, id="q"),
        label(second, 1, id="q"),
    )
    assert counts(database, model_id) == [3, 2]
    with database.write() as connection:
        close(connection, model_id)
    assert counts(database, model_id) == [3, 2, 0]
    with database.read() as connection:
        assert labels.answered(connection, model_id, ["q", "nobody"]) == {("q", 0), ("q", 1)}


def test_labels_given_during_a_close_count_for_the_window_of_their_rows(database, model_id):
    here = log_segment(database, model_id).id

    def give(row: int) -> Any:
        def deed(connection: Connection) -> list[bool]:
            models.lock(connection, model_id)
            return labels.add(
                connection, model_id, [label(here, row), label(here, 9, source=f"s{row}")]
            )

        return deed

    found = at_once(
        database, [give(0), give(1), lambda connection: close(connection, model_id), give(2)]
    )
    assert found == [[True, True], [True, True], 1, [True, True]]
    assert counts(database, model_id) == [4, 0]


def test_of_two_that_say_the_same_at_once_one_says_something_new(database, model_id):
    here = log_segment(database, model_id).id

    def give(connection: Connection) -> list[bool]:
        models.lock(connection, model_id)
        return labels.add(connection, model_id, [label(here, row) for row in range(20)])

    found = at_once(database, [give] * 3)
    assert sorted(found) == [[False] * 20, [False] * 20, [True] * 20]
    assert counts(database, model_id) == [20]


def test_ten_thousand_labels_take_few_statements(database, model_id):
    here = log_segment(database, model_id, rows=10_000).id
    seen = []
    event.listen(
        database.engine, "before_cursor_execute", lambda *arguments: seen.append(arguments[2])
    )
    assert sum(add(database, model_id, *(label(here, id=f"r{n}") for n in range(10_000)))) == 10_000
    assert len(seen) < 60
    assert counts(database, model_id) == [10_000]


def not_class(segment: str, wrong: int, source: str = "anna", row: int = 0) -> Label:
    return Label(
        prediction_id="p", row=row, label=None, source=source, segment=segment, wrong=wrong
    )


def test_a_row_known_only_not_to_be_a_class_has_no_label_and_is_not_counted(database, model_id):
    here = log_segment(database, model_id).id
    assert add(database, model_id, not_class(here, 1)) == [True]
    assert add(database, model_id, not_class(here, 1)) == [False]
    assert add(database, model_id, not_class(here, 0)) == [True]
    assert (known(database, model_id), counts(database, model_id)) == ({}, [0])
    with database.read() as connection:
        assert labels.answered(connection, model_id, ["p"]) == {("p", 0)}
    # "Not class 0" is another statement than "none of the classes".
    assert add(database, model_id, label(here, what=None)) == [True]
    assert (known(database, model_id), counts(database, model_id)) == ({("p", 0): None}, [1])
    assert add(database, model_id, not_class(here, 0)) == [True]
    assert (known(database, model_id), counts(database, model_id)) == ({}, [0])


def test_that_a_row_is_not_a_class_takes_away_only_an_older_label_of_this_class(database, model_id):
    here = log_segment(database, model_id).id
    add(database, model_id, label(here, 0, 1), label(here, 1, 1), label(here, 2, None))
    with database.read() as connection:
        first_at = labels.records(connection, model_id, before=4e9)["p", 0].first_at
    said = [not_class(here, wrong, "zoe", row) for row, wrong in ((0, 1), (1, 0), (2, 0))]
    assert add(database, model_id, *said) == [True] * 3
    assert known(database, model_id) == {("p", 1): 1, ("p", 2): None}
    assert counts(database, model_id) == [2]
    add(database, model_id, label(here, 0, 0, "ben"))
    assert known(database, model_id) == {("p", 0): 0, ("p", 1): 1, ("p", 2): None}
    with database.read() as connection:
        # The row may have judged with its first label: it does not judge as a new one.
        assert labels.records(connection, model_id, before=4e9)["p", 0].first_at == first_at


def test_a_label_after_the_word_that_a_row_is_not_a_class_is_as_old_as_itself(database, model_id):
    here = log_segment(database, model_id).id
    add(database, model_id, not_class(here, 1))
    add(database, model_id, label(here, 0, 0, "zoe"))
    with database.read() as connection:
        first_at = labels.records(connection, model_id, before=4e9)["p", 0].first_at
        times = dict(connection.execute(text("SELECT source, accepted_at FROM labels")).fetchall())
    assert first_at == times["zoe"] > times["anna"]


def test_erasing_takes_off_the_count_only_rows_that_had_a_label(database, model_id):
    here = log_segment(database, model_id).id
    add(database, model_id, label(here, 0), not_class(here, 1, row=1))
    with database.write() as connection:
        assert labels.erase(connection, model_id, {("p", 0), ("p", 1)}) == 1
        assert labels.answered(connection, model_id, ["p"]) == set()


def test_when_a_label_was_known_is_kept_and_makes_no_other_label_of_it(database, model_id):
    here = log_segment(database, model_id).id

    def at(when: float) -> Label:
        return Label(
            prediction_id="p", row=0, label=1, source="anna", segment=here, label_time=when
        )

    assert add(database, model_id, at(5.0), at(6.0)) == [True, False]
    with database.read() as connection:
        found = connection.execute(text("SELECT label_time FROM labels")).scalars().all()
    assert found == [5.0]
