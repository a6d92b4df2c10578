"""Finished stages of runs: the artifact of each result, from which another attempt continues."""

from __future__ import annotations

from sqlalchemy import Connection, RowMapping, delete, insert, select

from acclimate.storage.database import now
from acclimate.storage.runs.runs import Claim, lock_claim
from acclimate.storage.tables import ENDED, models, run_stages, runs, versions


def finished(connection: Connection, run_id: str) -> dict[str, str]:
    """The digest of the stored result of each finished stage."""
    query = select(run_stages.c.stage, run_stages.c.digest).where(run_stages.c.run_id == run_id)
    return {row.stage: row.digest for row in connection.execute(query)}


def finish(connection: Connection, claim: Claim, stage: str, digest: str) -> None:
    """Record the artifact that holds the stage's result. Raises `LeaseLost`."""
    lock_claim(connection, claim)
    connection.execute(
        delete(run_stages).where(run_stages.c.run_id == claim.run_id, run_stages.c.stage == stage)
    )
    connection.execute(
        insert(run_stages).values(run_id=claim.run_id, stage=stage, digest=digest, at=now())
    )


def left_over(connection: Connection) -> list[RowMapping]:
    """The stored stages of runs that have ended: no attempt will continue from them."""
    joined = run_stages.join(runs, runs.c.id == run_stages.c.run_id)
    query = select(run_stages).select_from(joined).where(runs.c.state.in_(ENDED))
    return list(connection.execute(query).mappings())


def is_needed(connection: Connection, digest: str) -> bool:
    """Whether a stored version, a model, a run that has not ended, or pseudo-labels refer to it."""
    going_on = run_stages.join(runs, runs.c.id == run_stages.c.run_id)
    references = (
        select(versions.c.number).where(
            (versions.c.digest == digest) | (versions.c.weights_digest == digest),
            versions.c.deleted_at.is_(None),
        ),
        select(runs.c.id).where(runs.c.pseudo_labels == digest),
        select(models.c.id).where(
            (models.c.seed_digest == digest) | (models.c.weights_digest == digest)
        ),
        select(run_stages.c.stage)
        .select_from(going_on)
        .where(run_stages.c.digest == digest, runs.c.state.not_in(ENDED)),
    )
    return any(connection.execute(query.limit(1)).first() is not None for query in references)


def delete_stage(connection: Connection, run_id: str, stage: str) -> None:
    """Delete the record of one stage."""
    connection.execute(
        delete(run_stages).where(run_stages.c.run_id == run_id, run_stages.c.stage == stage)
    )
