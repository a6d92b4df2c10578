"""Compares accepted pseudo-labels with labels that come later: the error rate of self-training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import structlog
from numpy.typing import NDArray

from acclimate.learning import label_sampling
from acclimate.learning.data import NONE_OF_THE_CLASSES
from acclimate.learning.spec import LogPolicy, stored
from acclimate.storage.database import Database
from acclimate.storage.log import windows
from acclimate.storage.registry import labels, models
from acclimate.storage.registry.artifacts import ArtifactError, Artifacts
from acclimate.storage.registry.labels import LabelRecord
from acclimate.storage.runs import pseudo_labels
from workers.live_answers import LastChecked

if TYPE_CHECKING:
    from acclimate.learning.data import PseudoLabels
    from acclimate.storage.log.logged_rows import LoggedRows

log = structlog.get_logger()
MOST_RUNS = 32
"""Runs that are compared, the newest: labels come for rows of the last windows."""
Numbers = NDArray[np.uint64]


def numbers(model_id: str, rows: LoggedRows) -> Numbers:
    """The number (N,) that stands for the address of each row."""
    return label_sampling.priorities(rows.prediction_id, rows.row, key=model_id)


def write(artifacts: Artifacts, run_id: str, learnt: Numbers, found: PseudoLabels) -> str:
    """Store the accepted pseudo-labels of the rows learnt from; returns the digest.

    Twelve bytes a row.
    """
    accepted = found.accepted
    arrays: dict[str, NDArray[Any]] = {
        "row": learnt[accepted],
        "label": found.label[accepted].astype(np.int32),
    }
    # The run's id in the manifest makes the digest unique to the run: the artifact can be deleted
    # with it.
    return artifacts.write({"run": run_id, "pseudo_labels": len(arrays["row"])}, arrays)


def recount(database: Database, artifacts: Artifacts, seen: LastChecked) -> None:
    """Count again how many pseudo-labels of the newest runs are contradicted by labels.

    Models without new labels or ended runs since the last count are skipped.
    """
    with database.read() as connection:
        known = models.list_all(connection)
    for model in known:
        with database.read() as connection:
            kept = pseudo_labels.newest(connection, model["id"], most=MOST_RUNS)
            labelled = sum(
                window["rows_labelled"] for window in windows.list_all(connection, model["id"])
            )
            state = (labelled, frozenset(run["id"] for run in kept))
            if not kept or not labelled or seen.unchanged(("pseudo_labels", model["id"]), state):
                continue
            records = labels.records(connection, model["id"], before=float("inf"))
        row, label = _known(model["id"], records)
        for run in kept:
            counted = _checked(artifacts, run["pseudo_labels"], row, label)
            if counted is not None and counted != (
                run["pseudo_labels_checked"],
                run["pseudo_labels_wrong"],
            ):
                with database.write() as connection:
                    pseudo_labels.set_counts(
                        connection, run["id"], checked=counted[0], wrong=counted[1]
                    )
        seen.note(("pseudo_labels", model["id"]), state)


def forget_outdated(database: Database, artifacts: Artifacts) -> None:
    """Delete the accepted pseudo-labels of runs whose rows the bounds of the log have deleted."""
    with database.read() as connection:
        outdated = []
        for model in models.list_all(connection):
            keep_days = stored(LogPolicy, model["spec"]["log"]).keep_days
            outdated += pseudo_labels.outdated(connection, model["id"], keep_days=keep_days)
    for run in outdated:
        artifacts.delete(run["pseudo_labels"])
        with database.write() as connection:
            pseudo_labels.clear_artifact(connection, run["id"])


def _known(
    model_id: str, records: Mapping[tuple[str, int], LabelRecord]
) -> tuple[Numbers, NDArray[np.int32]]:
    """Number and label of each labelled row, in the order of the numbers."""
    row = label_sampling.priorities(
        [id for id, _ in records],
        np.array([row for _, row in records], dtype=np.int32),
        key=model_id,
    )
    label = [
        NONE_OF_THE_CLASSES if record.label is None else record.label for record in records.values()
    ]
    order = np.argsort(row)
    return row[order], np.array(label, dtype=np.int32)[order]


def _checked(
    artifacts: Artifacts, digest: str, row: Numbers, label: NDArray[np.int32]
) -> tuple[int, int] | None:
    """How many accepted rows have a label, and how many of those another one than was accepted."""
    try:
        _, accepted = artifacts.read(digest)
    except ArtifactError as error:
        log.warning("accepted pseudo-labels cannot be read", error=str(error))
        return None
    position = np.minimum(np.searchsorted(row, accepted["row"]), len(row) - 1)
    known = row[position] == accepted["row"]
    return int(known.sum()), int((label[position][known] != accepted["label"][known]).sum())
