"""What the answers of a run's windows show without labels: estimate, behaviour, selection."""

from __future__ import annotations

import numpy as np

from acclimate.learning.data import Json, PseudoLabels
from acclimate.learning.evaluation.accuracy_estimate import estimate
from acclimate.learning.evaluation.behaviour import Behaviour
from acclimate.learning.outcomes import FirstVersion, Outcome
from acclimate.learning.stats.significance import total_variation
from acclimate.storage.database import Database
from acclimate.storage.log import catalog, windows
from acclimate.storage.log.segments import Segments
from acclimate.storage.registry import versions
from workers.live_answers import served
from workers.trainer.outcome import Task, labels_of

FROZEN = 1
"""Version 1, trained on the seed set alone."""


def of_run(
    database: Database, segments: Segments, task: Task, ended: Outcome | FirstVersion
) -> dict[int, Json]:
    """The estimate by number of the window, with the answers it was made of.

    Windows that have one keep it: a later run over the same window may know labels of it.
    """
    if isinstance(ended, FirstVersion):
        return {}
    drift = ended.diagnosis.drift
    found: dict[int, Json] = {}
    for number in task.run["windows"]:
        with database.read() as connection:
            if windows.get(connection, task.model["id"], number)["estimate"] is not None:
                continue
            lines = catalog.segments_of(connection, task.model["id"], [number])
        answered = served(segments, lines)
        if answered is None:
            continue
        version, answers = answered
        with database.read() as connection:
            known = versions.get(connection, task.model["id"], version)["expected"] or {}
        expected = Behaviour.from_json(known["student"]) if "student" in known else None
        second = ended.opinion if version == task.run["parent_version"] else None
        told = estimate(
            answers, expected=expected, drift=drift, frozen=version == FROZEN, second=second
        )
        found[number] = {
            **told.as_json(),
            "served": {"version": version, "answers": answers.as_json()},
            "pseudo_label_divergence": _divergence(labels_of(ended)),
        }
    return found


def _divergence(labels: PseudoLabels | None) -> float | None:
    """Total variation between the classes of the accepted pseudo-labels and those of all."""
    if labels is None or not labels.accepted.any():
        return None
    classes = int(labels.label.max()) + 1
    accepted, all_rows = (
        np.bincount(chosen, minlength=classes) / len(chosen)
        for chosen in (labels.label[labels.accepted], labels.label)
    )
    return total_variation(accepted, all_rows)
