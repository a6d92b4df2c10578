"""Feedback entries: a label or right, with a time; what `right` stores of the logged answer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from live_rows import Live
from sqlalchemy import text

from acclimate.learning.spec import InputSpec, ModelSpec, NetworkSpec
from acclimate.storage.database import Database
from acclimate.storage.log import barrier
from acclimate.storage.registry import labels
from service.control import feedback_entries
from service.control.labels import accept
from service.inference.model_slot import Model

CLASSES = ("a", "b", "c")
NOW = 1_800_000_000.0  # 2027-01-15T08:00:00Z


def read(**changes: Any) -> feedback_entries.Entry | str:
    return feedback_entries.read({"prediction_id": "p", "row": 0, **changes}, CLASSES, now=NOW)


def time_of(text: Any) -> Any:
    found = read(label="a", label_time=text)
    return found if isinstance(found, str) else found.label_time


def test_an_entry_with_both_label_and_right_is_refused_and_told_which_to_send():
    for label in ("a", None):
        found = read(label=label, right=True)
        assert isinstance(found, str)
        assert "send label where you know the class, else right" in found


def test_right_is_true_or_false_and_nothing_else():
    assert [read(right=value).right for value in (True, False)] == [True, False]
    for value in (None, 1, "true"):
        assert read(right=value) == "right must be true or false"


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2027-01-15T08:00:59Z", NOW + 59),
        ("2027-01-15T10:00:00.5+02:00", NOW + 0.5),
        ("2027-01-15t07:30:00-00:30", NOW),
        (None, None),
    ],
)
def test_a_label_time_is_read_with_its_offset(text, seconds):
    assert time_of(text) == seconds


@pytest.mark.parametrize(
    "text",
    [
        *("2027-01-15T08:00:00", "2027-01-15", "20270115T080000Z", "2027-01-15 08:00:00Z"),
        *("2027-02-30T08:00:00Z", "2027-01-15T24:30:00Z", "yesterday", "", 5, True, ["x"]),
    ],
)
def test_a_label_time_that_is_no_rfc_3339_time_with_an_offset_is_refused(text):
    assert "RFC 3339 time with an offset" in time_of(text)


def test_a_label_time_more_than_a_minute_ahead_is_refused():
    assert time_of("2027-01-15T08:01:01Z") == "label_time is in the future"
    assert "future" in time_of("9999-12-31T23:59:59-23:59")
    assert time_of("0001-01-01T00:00:00+23:59") < 0


class Answered:
    """A model with one logged request "p" of two rows, of which b and a were answered."""

    def __init__(self, database: Database, folder: Path, classes: tuple[str, ...]) -> None:
        self.live = Live(database, folder, classes=len(classes))
        self.database = database
        answers = np.full((2, len(classes)), 0.1, dtype=np.float32)
        answers[0, 1] = answers[1, 0] = 0.8
        self.live.log(1, answers, request="p")
        spec = ModelSpec(
            name="gas",
            network=NetworkSpec(network="mlp"),
            input=InputSpec(kind="vector", shape=(2,), classes=classes),
            seed_path=None,
        )
        self.model = Model(id=self.live.model_id, name="gas", spec=spec)

    def say(self, *entries: dict[str, Any]) -> dict[str, Any]:
        about = [{"prediction_id": "p", **entry} for entry in entries]
        return accept(self.database, self.live.segments, self.model, about)

    def stored(self) -> list[tuple[Any, ...]]:
        """Row, label, wrong class and label time of each stored label."""
        query = text('SELECT "row", label, wrong, label_time FROM labels ORDER BY "row"')
        with self.database.read() as connection:
            return [tuple(row) for row in connection.execute(query)]


def test_of_two_classes_a_wrong_answer_names_the_other_one(database, tmp_path):
    answered = Answered(database, tmp_path, ("a", "b"))
    assert answered.say({"row": 0, "right": True}, {"row": 1, "right": False})["accepted"] == 2
    assert answered.stored() == [(0, 1, None, None), (1, 1, None, None)]
    # The class that was answered is the same label as one that says so.
    assert answered.say({"row": 0, "label": "b"}, {"row": 0, "right": True})["duplicates"] == 2


def test_of_more_classes_a_wrong_answer_says_only_which_class_the_row_is_not(database, tmp_path):
    answered = Answered(database, tmp_path, CLASSES)
    when = {"label_time": "2026-01-01T00:00:00Z"}
    said = answered.say({"row": 0, "right": False, **when}, {"row": 1, "right": True})
    assert said == {"accepted": 2, "duplicates": 0, "rejected": []}
    assert answered.stored() == [(0, None, 1, 1767225600.0), (1, 0, None, None)]
    assert answered.say({"row": 0, "right": False})["duplicates"] == 1
    with database.read() as connection:
        found = labels.records(connection, answered.model.id, before=4e9)
    assert {address: record.label for address, record in found.items()} == {("p", 1): 0}
    assert answered.say({"row": 0, "right": True})["accepted"] == 1
    assert answered.stored()[0][:3] == (0, 1, None)


def test_whether_an_answer_was_right_needs_a_logged_answer(database, tmp_path, monkeypatch):
    monkeypatch.setattr(barrier, "seal", lambda *args, **more: None)
    answered = Answered(database, tmp_path, CLASSES)
    assert answered.say({"row": 7, "right": True})["rejected"] == [
        {"index": 0, "reason": "no logged row has this prediction_id and row"}
    ]
