"""The accepted pseudo-labels of runs: labels that come later confirm or contradict them.

The rows stand in an artifact, each by a number that follows from its address. The run's row names
the artifact, and counts what was found.
"""

from __future__ import annotations

from sqlalchemy import Connection, RowMapping, select, update

from acclimate.storage.database import now
from acclimate.storage.runs.runs import Claim, RunResults, note
from acclimate.storage.tables import runs


def set_artifact(connection: Connection, claim: Claim, digest: str) -> None:
    """Record the artifact of the run's accepted pseudo-labels. Raises `LeaseLost`."""
    note(connection, claim, RunResults(pseudo_labels=digest))


def newest(connection: Connection, model_id: str, *, most: int) -> list[RowMapping]:
    """The model's newest runs whose accepted pseudo-labels are stored, at most `most`."""
    query = (
        select(
            runs.c.id,
            runs.c.pseudo_labels,
            runs.c.pseudo_labels_checked,
            runs.c.pseudo_labels_wrong,
        )
        .where(runs.c.model_id == model_id)
        .where(runs.c.pseudo_labels.is_not(None))
        .order_by(runs.c.id.desc())
        .limit(most)
    )
    return list(connection.execute(query).mappings())


def set_counts(connection: Connection, run_id: str, *, checked: int, wrong: int) -> None:
    """Record how many accepted pseudo-labels have a label by now, and how many it contradicts."""
    statement = (
        update(runs)
        .where(runs.c.id == run_id)
        .values(pseudo_labels_checked=checked, pseudo_labels_wrong=wrong)
    )
    connection.execute(statement)


def outdated(connection: Connection, model_id: str, *, keep_days: float) -> list[RowMapping]:
    """The model's runs that name an artifact and ended more than `keep_days` ago."""
    oldest_kept = now() - keep_days * 86_400
    query = (
        select(runs.c.id, runs.c.pseudo_labels)
        .where(runs.c.model_id == model_id)
        .where(runs.c.ended_at < oldest_kept)
        .where(runs.c.pseudo_labels.is_not(None))
    )
    return list(connection.execute(query).mappings())


def clear_artifact(connection: Connection, run_id: str) -> None:
    """Record that the run names no artifact any more; its counts stay."""
    statement = update(runs).where(runs.c.id == run_id)
    connection.execute(statement.values(pseudo_labels=None))
