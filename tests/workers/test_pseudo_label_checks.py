"""Accepted pseudo-labels and later labels: counted, exported, and deleted with the log."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from live_rows import Live, answers
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import text
from stored_models import new_run

from acclimate.learning.data import PseudoLabels
from acclimate.storage.database import Database
from acclimate.storage.log import catalog, window_rows, windows
from acclimate.storage.registry import labels, models
from acclimate.storage.registry.artifacts import Artifacts
from acclimate.storage.registry.labels import Label
from acclimate.storage.runs import pseudo_labels, runs, stages
from acclimate.storage.runs.run_logs import RunLogs
from acclimate.storage.store import Store
from service import learning_metrics
from workers import pseudo_label_checks, reconciler
from workers.live_answers import LastChecked

ROWS = 20


class Checked:
    """A model with a closed window and a run that accepted the even rows of it as class 0, 1, 0, 1,
    ...
    """

    def __init__(self, database: Database, folder: Path) -> None:
        self.live = Live(database, folder)
        self.database, self.model_id = database, self.live.model_id
        self.store = Store(f"file://{folder / 'store'}", folder / "cache")
        self.artifacts = Artifacts(self.store)
        self.seen = LastChecked()
        self.live.log(1, answers(ROWS), request="a")
        with database.write() as connection:
            models.lock(connection, self.model_id)
            windows.close(connection, self.model_id, closed_by="operator", needed=1)
            lines = catalog.segments_of(connection, self.model_id, [1])
            self.segment = lines[0]["id"]
            self.run_id = new_run(connection, self.model_id, windows=[1])
            claim = runs.claim(connection, self.run_id, owner="w")
            assert claim is not None
            rows = window_rows.read(self.live.segments, lines, lambda done, total: None)
            found = PseudoLabels(
                label=np.arange(ROWS) // 2 % 2,
                confidence=np.ones(ROWS, np.float32),
                votes=np.full(ROWS, 3),
                refusal=np.array(["", "disagreement"] * (ROWS // 2)),
                needed=1,
            )
            numbers = pseudo_label_checks.numbers(self.model_id, rows)
            self.digest = pseudo_label_checks.write(self.artifacts, self.run_id, numbers, found)
            stages.finish(connection, claim, "publish", self.digest)
            pseudo_labels.set_artifact(connection, claim, self.digest)
            runs.finish(connection, claim, state="rejected")

    def label(self, given: dict[int, int | None]) -> None:
        with self.database.write() as connection:
            models.lock(connection, self.model_id)
            said = [
                Label(prediction_id="a", row=r, label=y, source="s", segment=self.segment)
                for r, y in given.items()
            ]
            labels.add(connection, self.model_id, said)

    def error_ratio(self) -> float | None:
        """The exported metric after a recount."""
        pseudo_label_checks.recount(self.database, self.artifacts, self.seen)
        for family in text_string_to_metric_families(learning_metrics.text(self.database).decode()):
            if family.name == "acclimate_pseudo_label_error_ratio":
                return family.samples[0].value if family.samples else None
        return None

    def reconcile(self) -> None:
        reconciler.purge_runs(self.database, self.artifacts, RunLogs(self.store))
        pseudo_label_checks.forget_outdated(self.database, self.artifacts)


@pytest.fixture
def checked(database: Database, tmp_path: Path) -> Checked:
    return Checked(database, tmp_path)


def test_the_share_of_accepted_pseudo_labels_that_later_labels_contradict_is_exported(checked):
    assert checked.error_ratio() is None
    checked.label({0: 0, 2: 1})  # as accepted
    assert checked.error_ratio() == 0.0
    checked.label({4: 1, 6: None})  # another class, and none of the classes
    assert checked.error_ratio() == 0.5
    checked.label({1: 1, 3: 0})  # of rows that were not accepted
    assert checked.error_ratio() == 0.5


def test_accepted_pseudo_labels_are_kept_as_long_as_the_log_keeps_their_rows(checked):
    checked.reconcile()
    assert checked.artifacts.exists(checked.digest)
    checked.label({0: 1})
    assert checked.error_ratio() == 1.0
    with checked.database.write() as connection:
        connection.execute(text("UPDATE runs SET ended_at = ended_at - 8 * 86400"))
    checked.reconcile()
    assert not checked.artifacts.exists(checked.digest)
    assert checked.error_ratio() is None


def test_the_artifact_of_a_run_that_was_cancelled_before_it_named_it_goes_with_the_run(checked):
    with checked.database.write() as connection:
        connection.execute(text("UPDATE runs SET pseudo_labels = NULL"))
    checked.reconcile()
    assert not checked.artifacts.exists(checked.digest)


def test_a_lost_artifact_leaves_what_was_counted(checked):
    checked.label({0: 1, 2: 1})
    assert checked.error_ratio() == 0.5
    checked.artifacts.delete(checked.digest)
    checked.label({4: 0})
    assert checked.error_ratio() == 0.5
