"""The label snapshot of a run: which labels judge, which teach, and which rows are read for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from live_rows import Live, answers
from sqlalchemy import text
from stored_models import DIGEST, new_run

from acclimate.learning.data import NONE_OF_THE_CLASSES, TAUGHT, UNLABELLED, Part, Snapshot
from acclimate.storage.database import Database
from acclimate.storage.log import catalog, window_rows, windows
from acclimate.storage.registry import labels, models, versions
from acclimate.storage.registry.labels import Label
from acclimate.storage.runs import label_snapshot, runs

ROWS = 6


class History:
    """Windows that close one after the other, labels of their rows, and runs over them, each later
    than what came before.
    """

    def __init__(self, database: Database, folder: Path) -> None:
        self.live = Live(database, folder)
        self.database, self.model_id = database, self.live.model_id
        self.clock = 1e9
        with database.write() as connection:
            connection.execute(text("UPDATE runs SET created_at = 1"))

    def window(self, request: str, *, rows: int = ROWS) -> int:
        """The number of a new closed window with these rows."""
        self.live.log(1, answers(rows), request=request)
        with self.database.write() as connection:
            models.lock(connection, self.model_id)
            return int(
                windows.close(connection, self.model_id, closed_by="operator", needed=1)["number"]
            )

    def label(self, request: str, given: dict[int, int | None], *, source: str = "anna") -> None:
        with self.database.write() as connection:
            models.lock(connection, self.model_id)
            segment = next(
                line["id"]
                for line in catalog.all_segments(connection, self.model_id)
                if request in self.live.segments.ids(line["key"])[0]
            )
            said = [
                Label(prediction_id=request, row=r, label=y, source=source, segment=segment)
                for r, y in given.items()
            ]
            labels.add(connection, self.model_id, said)
            self._now(connection, "labels", "accepted_at")

    def deny(self, request: str, row: int, wrong: int) -> None:
        """Say that the row is not of the class `wrong`."""
        with self.database.write() as connection:
            models.lock(connection, self.model_id)
            line = catalog.all_segments(connection, self.model_id)[-1]
            said = Label(
                prediction_id=request,
                row=row,
                label=None,
                wrong=wrong,
                source="anna",
                segment=line["id"],
            )
            labels.add(connection, self.model_id, [said])
            self._now(connection, "labels", "accepted_at")

    def run(self, *windows: int, state: str = "rejected", gates: Any = None, **origin: Any) -> Any:
        """A run over these windows that is asked for now and has ended; state "running": one that
        has not; "succeeded": with version 2, made from version 1.
        """
        with self.database.write() as connection:
            run_id = new_run(connection, self.model_id, windows=list(windows), **origin)
            self._now(connection, "runs", "created_at")
            claim = runs.claim(connection, run_id, owner="w")
            assert claim is not None
            if state != "running":
                promoted = state == "succeeded"
                version = self._version(connection, run_id) if promoted else None
                runs.finish(
                    connection,
                    claim,
                    state=state,
                    results=runs.RunResults(promoted=promoted, gates=gates, version=version),
                )
            return runs.get(connection, run_id)

    def _version(self, connection: Any, run_id: str) -> int:
        new = versions.NewVersion(
            digest=DIGEST, promoted=True, parent=1, run_id=run_id, gates=[], evidence=None
        )
        return versions.add(connection, self.model_id, new)

    def snapshot(self, run: Any) -> Snapshot:
        with self.database.read() as connection:
            words = label_snapshot.inputs_of_run(connection, run)
            lines = catalog.segments_of(connection, self.model_id, run["windows"])
        rows = window_rows.read(self.live.segments, lines, lambda done, total: None)
        return label_snapshot.snapshot(self.live.segments, words, rows)

    def _now(self, connection: Any, table: str, column: str) -> None:
        """What was written by the database's clock in this test stands in the order of the test, a
        second apart.
        """
        self.clock += 1
        values = {"now": self.clock, "real": 1.5e9}
        connection.execute(
            text(f"UPDATE {table} SET {column} = :now WHERE {column} > :real"), values
        )


@pytest.fixture
def history(database: Database, tmp_path: Path) -> History:
    return History(database, tmp_path)


def told(part: Part | None) -> list[tuple[int, int]]:
    """The row in its request, and its label."""
    return (
        [] if part is None else [(int(x[1]), int(y)) for x, y in zip(part.x, part.y, strict=True)]
    )


def test_labels_of_a_window_judge_in_its_run_and_teach_in_the_next(history):
    first = history.window("a")
    history.label("a", {0: 1, 3: 0, 4: None})
    run = history.run(first)
    found = history.snapshot(run)
    assert found.labels.tolist() == [1, UNLABELLED, UNLABELLED, 0, NONE_OF_THE_CLASSES, UNLABELLED]
    assert found.taught is None and found.late is None
    after = history.snapshot(history.run(history.window("b")))
    assert (after.labels == UNLABELLED).all() and after.late is None
    # Only labels that name a class teach.
    assert sorted(told(after.taught)) == [(0, 1), (3, 0)]


def test_a_row_known_only_not_to_be_a_class_neither_judges_nor_teaches(history):
    first = history.window("a")
    history.label("a", {0: 1})
    history.deny("a", 1, 0)
    found = history.snapshot(history.run(first))
    assert found.labels.tolist() == [1, *[UNLABELLED] * (ROWS - 1)]
    after = history.snapshot(history.run(history.window("b")))
    assert (told(after.taught), after.late) == ([(0, 1)], None)


def test_labels_that_came_after_the_run_over_their_window_judge_in_the_next(history):
    history.run(history.window("a"))
    history.label("a", {1: 1})
    found = history.snapshot(history.run(history.window("b")))
    assert (told(found.late), found.taught) == ([(1, 1)], None)
    found = history.snapshot(history.run(history.window("c")))
    assert (found.late, told(found.taught)) == (None, [(1, 1)])


def test_a_row_that_somebody_else_labels_anew_goes_on_teaching_with_the_last_word(history):
    number = history.window("a")
    history.label("a", {0: 1})
    history.run(number)
    history.label("a", {0: 0}, source="zoe")
    found = history.snapshot(history.run(history.window("b")))
    assert (found.late, told(found.taught)) == (None, [(0, 0)])


def test_a_run_that_came_to_no_decision_used_no_label_up(history):
    first = history.window("a")
    history.label("a", {2: 0})
    history.run(first, state="failed")
    found = history.snapshot(history.run(history.window("b")))
    assert (told(found.late), found.taught) == ([(2, 0)], None)


def test_labels_accepted_after_a_run_was_asked_for_are_nothing_to_it(history):
    first = history.window("a")
    run = history.run(first)
    history.label("a", {0: 1})
    assert (history.snapshot(run).labels == UNLABELLED).all()
    history.label("a", {0: 0, 1: 1})
    assert history.snapshot(history.run(first)).labels.tolist()[:2] == [0, 1]


def test_rows_of_a_quarantined_window_teach_and_the_newest_come_first(history):
    for request in "ab":
        number = history.window(request)
        history.label(request, {0: 0})
        history.label(request, {5: 1})
        history.run(number)
    with history.database.write() as connection:
        windows.set_state(connection, history.model_id, number, "quarantined")
    found = history.snapshot(history.run(history.window("c")))
    assert told(found.taught) == [(5, 1), (0, 0), (5, 1), (0, 0)]
    assert found.taught is not None and np.diff(found.taught.x[:, 0])[1] < 0


def test_a_row_whose_label_has_taught_the_learner_neither_judges_nor_is_learnt_from_again(history):
    first = history.window("a")
    history.label("a", {0: 1, 1: None})
    history.run(first)
    history.run(history.window("b"))
    assert history.snapshot(history.run(first)).labels.tolist()[:2] == [1, NONE_OF_THE_CLASSES]
    history.run(history.window("c"), state="succeeded")
    history.label("a", {3: 0})
    # Version 1 has never learnt from it, and after a rollback learning goes on from there.
    found = history.snapshot(history.run(first, parent_version=1))
    assert found.labels.tolist()[:4] == [1, NONE_OF_THE_CLASSES, UNLABELLED, 0]
    found = history.snapshot(history.run(first, parent_version=2))
    assert found.labels.tolist() == [
        TAUGHT,
        NONE_OF_THE_CLASSES,
        UNLABELLED,
        0,
        UNLABELLED,
        UNLABELLED,
    ]


def test_a_copy_of_a_row_teaches_once_and_not_in_a_run_over_a_window_that_holds_one(history):
    number = history.window("a")
    history.label("a", {0: 1, 1: 0})
    history.run(number)
    history.run(history.window("a", rows=1))
    with history.database.write() as connection:
        connection.execute(text("UPDATE windows SET rows_labelled = 1"))
    assert sorted(told(history.snapshot(history.run(history.window("b"))).taught)) == [
        (0, 1),
        (1, 0),
    ]
    found = history.snapshot(history.run(history.window("a", rows=1)))
    assert found.labels.tolist() == [1] and told(found.taught) == [(1, 0)]


def test_only_the_newest_windows_and_rows_teach_and_are_read(history, monkeypatch):
    monkeypatch.setattr(label_snapshot, "MOST_WINDOWS", 3)
    monkeypatch.setattr(label_snapshot, "MOST_ROWS", 4)
    for request in "abcd":
        number = history.window(request)
        if request != "c":
            history.label(request, {row: 1 for row in range(3)})
        history.run(number)
    read: list[str] = []
    take, places = history.live.segments.take, history.live.segments.positions
    monkeypatch.setattr(
        history.live.segments,
        "positions",
        lambda key, asked: read.append(key) or places(key, asked),
    )
    taken: list[int] = []
    monkeypatch.setattr(
        history.live.segments,
        "take",
        lambda key, digest, at: taken.append(len(at)) or take(key, digest, at),
    )
    found = history.snapshot(history.run(history.window("e")))
    # Windows d, c and b count; nobody labelled c.
    assert (len(read), taken) == (2, [3, 1]) and len(found.taught or ()) == 4


def test_a_segment_that_is_gone_teaches_nothing_and_hinders_no_run(history):
    number = history.window("a")
    history.label("a", {0: 1})
    history.run(number)
    with history.database.read() as connection:
        line = catalog.segments_of(connection, history.model_id, [number])[0]
    history.live.segments.delete(line["key"])
    assert history.snapshot(history.run(history.window("b"))).taught is None


def test_each_other_challenger_that_the_same_labels_judged_is_a_peek(history):
    first, second = history.window("a"), history.window("b")
    judged = [{"gate": "audited_gain", "n": 2}]
    history.run(first, gates=judged)
    history.run(first, gates=[{"gate": "max_ece", "n": 60}], policy_revision=2)
    history.run(first, policy_revision=3)
    history.label("a", {0: 1, 1: 0, 2: None})
    assert history.snapshot(history.run(second, gates=judged)).peeks == 0
    assert history.snapshot(history.run(first, recipe="born_again", gates=judged)).peeks == 1
    assert history.snapshot(history.run(first, parent_version=2)).peeks == 2
    assert history.snapshot(history.run(first, second)).peeks == 3


def test_the_same_run_again_is_no_peek_until_more_labels_judge(history):
    first = history.window("a")
    history.label("a", {0: 1, 1: 0})
    for _ in range(2):
        again = history.run(first, gates=[{"gate": "audited_gain", "n": 2}])
        assert history.snapshot(again).peeks == 0
    history.label("a", {2: 1})
    assert history.snapshot(history.run(first)).peeks == 1
