"""Which pseudo-labels a run accepted, kept for a while after it: labels that come later confirm or
contradict them.

The rows stand in an artifact, by a number that follows from each address; the run's row names it
and counts what was found.
"""

from __future__ import annotations

from sqlalchemy import Connection, RowMapping, select, update

from acclimate.storage.database import now
from acclimate.storage.runs.runs import Claim, RunResults, note
from acclimate.storage.tables import runs


def set_artifact(connection: Connection, claim: Claim, digest: str) -> None:
    """The run's accepted pseudo-labels stand in this artifact. Raises `LeaseLost`."""
    note(connection, claim, RunResults(pseudo_labels=digest))


def newest(connection: Connection, model_id: str, *, most: int) -> list[RowMapping]:
    """The model's newest runs whose accepted pseudo-labels are still kept."""
    query = select(
        runs.c.id, runs.c.pseudo_labels, runs.c.pseudo_labels_checked, runs.c.pseudo_labels_wrong
    )
    kept = (runs.c.model_id == model_id, runs.c.pseudo_labels.is_not(None))
    return list(
        connection.execute(query.where(*kept).order_by(runs.c.id.desc()).limit(most)).mappings()
    )


def set_counts(connection: Connection, run_id: str, *, checked: int, wrong: int) -> None:
    """So many of the run's accepted pseudo-labels met a label that came later, and so many of them
    it contradicted.
    """
    found = {"pseudo_labels_checked": checked, "pseudo_labels_wrong": wrong}
    connection.execute(update(runs).where(runs.c.id == run_id).values(**found))


def outdated(connection: Connection, model_id: str, *, keep_days: float) -> list[RowMapping]:
    """The model's runs that ended longer ago than its log is kept, and name an artifact."""
    ended = (runs.c.model_id == model_id, runs.c.ended_at < now() - keep_days * 86_400)
    query = select(runs.c.id, runs.c.pseudo_labels).where(*ended, runs.c.pseudo_labels.is_not(None))
    return list(connection.execute(query).mappings())


def clear_artifact(connection: Connection, run_id: str) -> None:
    """The run names no artifact any more; what was counted stays."""
    connection.execute(update(runs).where(runs.c.id == run_id).values(pseudo_labels=None))
