"""What the answers of a run's windows tell without a label: the estimate, how the version answered,
how pseudo-labels lean.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from acclimate.learning.data import Json, PseudoLabels
from acclimate.learning.evaluation.accuracy_estimate import estimate
from acclimate.learning.evaluation.behaviour import Behaviour
from acclimate.storage.database import Database
from acclimate.storage.log import catalog, windows
from acclimate.storage.log.segments import Segments
from acclimate.storage.registry import versions
from workers.live_answers import served
from workers.trainer.outcome import Task

if TYPE_CHECKING:
    from acclimate.learning.pipeline import Turn

FROZEN = 1
"""Version 1, which learnt from the seed set alone."""


def of_run(database: Database, segments: Segments, task: Task, turn: Turn) -> dict[int, Json]:
    """By number of the window: the estimate, with the answers it was made of. Windows that have one
    keep it.

    A later run over the same window may know labels of it, the first estimate did not.
    """
    if turn.drift is None:
        return {}
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
        second = turn.second if version == task.run["parent_version"] else None
        told = estimate(
            answers, expected=expected, drift=turn.drift, frozen=version == FROZEN, second=second
        )
        found[number] = {
            **told.as_json(),
            "served": {"version": version, "answers": answers.as_json()},
            "pseudo_label_divergence": _divergence(turn.labels),
        }
    return found


def _divergence(labels: PseudoLabels | None) -> float | None:
    """Total variation between the classes of the accepted pseudo-labels and those of all: how the
    selection leans.
    """
    if labels is None or not labels.accepted.any():
        return None
    shares: list[Any] = []
    for chosen in (labels.label[labels.accepted], labels.label):
        shares.append(np.bincount(chosen, minlength=int(labels.label.max()) + 1) / len(chosen))
    return float(np.abs(shares[0] - shares[1]).sum()) / 2
