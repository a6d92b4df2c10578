"""Finished stages of runs: the artifact of each result, from which another attempt continues."""

from __future__ import annotations

from sqlalchemy import Connection, FromClause, RowMapping, delete, insert, or_, select

from acclimate.storage.database import now
from acclimate.storage.runs.runs import Claim, lock_claim
from acclimate.storage.tables import ENDED, models, run_stages, runs, versions


def finished(connection: Connection, run_id: str) -> dict[str, str]:
    """The digest of the stored result of each finished stage."""
    query = select(run_stages.c.stage, run_stages.c.digest)
    rows = connection.execute(query.where(run_stages.c.run_id == run_id))
    return {row.stage: row.digest for row in rows}


def finish(connection: Connection, claim: Claim, stage: str, digest: str) -> None:
    """Record the artifact that holds the stage's result. Raises `LeaseLost`."""
    lock_claim(connection, claim)
    delete_stage(connection, claim.run_id, stage)
    statement = insert(run_stages).values(
        run_id=claim.run_id,
        stage=stage,
        digest=digest,
        at=now(),
    )
    connection.execute(statement)


def left_over(connection: Connection) -> list[RowMapping]:
    """The stored stages of runs that have ended: no attempt will continue from them."""
    query = select(run_stages).select_from(_with_runs()).where(runs.c.state.in_(ENDED))
    return list(connection.execute(query).mappings())


def is_needed(connection: Connection, digest: str) -> bool:
    """Whether a stored version, a model, a run that has not ended, or pseudo-labels refer to it."""
    queries = (
        select(versions.c.number)
        .where(or_(versions.c.digest == digest, versions.c.weights_digest == digest))
        .where(versions.c.deleted_at.is_(None)),
        select(runs.c.id).where(runs.c.pseudo_labels == digest),
        select(models.c.id).where(
            or_(models.c.seed_digest == digest, models.c.weights_digest == digest)
        ),
        select(run_stages.c.stage)
        .select_from(_with_runs())
        .where(run_stages.c.digest == digest)
        .where(runs.c.state.not_in(ENDED)),
    )
    return any(connection.execute(query.limit(1)).first() is not None for query in queries)


def delete_stage(connection: Connection, run_id: str, stage: str) -> None:
    """Delete the record of one stage."""
    of_run = delete(run_stages).where(run_stages.c.run_id == run_id)
    connection.execute(of_run.where(run_stages.c.stage == stage))


def _with_runs() -> FromClause:
    """The stages, joined with their runs."""
    return run_stages.join(runs, runs.c.id == run_stages.c.run_id)
