"""The learning metrics of estimates and rollbacks, and when they are absent."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from live_rows import Live, compared
from prometheus_client.parser import text_string_to_metric_families

from acclimate.learning.evaluation.accuracy_estimate import Estimate
from acclimate.storage.database import Database
from acclimate.storage.log import windows
from service import learning_metrics

GIVEN = Estimate(value=0.9, lower=0.7, upper=0.97)


@pytest.fixture
def live(database: Database, tmp_path: Path) -> Live:
    return Live(database, tmp_path)


def close(live: Live, told: Estimate, divergence: float | None) -> None:
    with live.database.write() as connection:
        number = windows.close(connection, live.model_id, closed_by="operator", needed=0)["number"]
        found = {**told.as_json(), "pseudo_label_divergence": divergence}
        windows.note(connection, live.model_id, number, windows.Findings(estimate=found))


def exported(live: Live, name: str) -> dict[tuple[str, ...], float]:
    """Values by the labels other than the model."""
    found: dict[tuple[str, ...], float] = {}
    for family in text_string_to_metric_families(learning_metrics.text(live.database).decode()):
        for sample in family.samples:
            if sample.name == f"acclimate_{name}":
                labels: dict[str, Any] = sample.labels
                found[tuple(value for key, value in sorted(labels.items()) if key != "model")] = (
                    sample.value
                )
    return found


def test_the_newest_estimate_is_exported_with_its_interval_and_its_estimator(live):
    close(live, Estimate(value=0.5, lower=0.3, upper=0.6), 0.0)
    close(live, GIVEN, 0.04)
    values = {"": 0.9, "_lower": 0.7, "_upper": 0.97}
    for end, value in values.items():
        assert exported(live, f"estimated_accuracy_ratio{end}") == {("mean_confidence",): value}
    assert exported(live, "pseudo_label_class_divergence_ratio") == {(): 0.04}


def test_after_a_refused_estimate_no_older_number_is_shown(live):
    close(live, GIVEN, 0.04)
    close(live, Estimate(refused="abrupt"), None)
    for name in (
        "estimated_accuracy_ratio",
        "estimated_accuracy_ratio_lower",
        "pseudo_label_class_divergence_ratio",
    ):
        assert exported(live, name) == {}


def test_rollbacks_are_counted_from_zero_so_that_the_first_one_is_an_increase(live):
    counted = exported(live, "promotions_total")
    assert counted["none", "first"] == 1
    assert (
        counted["none", "rollback"]
        == counted["none", "override"]
        == counted["none", "switch"]
        == counted["label_free", "promote"]
        == 0
    )


def test_switches_are_counted_with_their_kind(live):
    live.add_version()
    live.switch(1, compared(0.2), "the learner fell behind")
    assert exported(live, "promotions_total")["none", "switch"] == 1


def test_the_divergence_of_what_answers_is_exported_and_is_0_for_the_proved_version(live):
    assert exported(live, "divergence_ratio") == {}
    live.add_version()
    live.compare(compared(0.2))
    assert exported(live, "divergence_ratio") == {(): 0.2}
    live.switch(1, compared(0.2), "the learner fell behind")
    assert exported(live, "divergence_ratio") == {(): 0.0}
