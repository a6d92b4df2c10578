"""Deletion of versions and models in one transaction; the audit log names what the store must lose.

Files are deleted after the commit, by `sweep`. What a crash left between the two, the next sweep
finds in the audit log. Numbers of versions stay taken; promotions and audit log are kept.
"""

from __future__ import annotations

from sqlalchemy import Connection, RowMapping, Table, delete, func, select, update

from acclimate.storage import tables
from acclimate.storage.database import Database, clock, now
from acclimate.storage.log.segments import Segments
from acclimate.storage.registry import audit_log, models, promotions, versions
from acclimate.storage.registry.artifacts import Artifacts
from acclimate.storage.runs import runs, stages
from acclimate.storage.runs.run_logs import RunLogs
from acclimate.storage.tables import audit as entries
from acclimate.storage.tables import run_stages
from acclimate.storage.tables import runs as all_runs

MODEL, VERSION = "model.delete", "version.delete"
SWEPT_SECONDS = 3600.0
LATE_SECONDS = 300.0
"""A worker may write the last log lines of a run that ended so long ago; sweeps delete them too."""
NEWEST_ENTRIES = 1000
"""Entries of the audit log that a sweep reads."""


class VersionAliased(Exception):
    """An alias names the version (champion, learner, proved, ...): it cannot be deleted."""


def delete_version(connection: Connection, model: RowMapping, number: int, *, actor: str) -> None:
    """Delete a version: it can no longer be loaded or promoted. Repeating changes nothing.

    Raises `UnknownVersion`, `VersionAliased`, and `RunActive` while a run learns from the version.
    """
    models.lock(connection, model["id"])
    row = versions.get(connection, model["id"], number)
    if row["deleted_at"] is not None:
        return
    aliases = promotions.aliases(connection, model["id"])
    names = sorted(alias for alias, named in aliases.items() if named == number)
    if names:
        raise VersionAliased(f"version {number} is {' and '.join(names)}")
    active = runs.active(connection, model["id"])
    if active is not None and active["parent_version"] == number:
        raise runs.RunActive(active["id"])
    of_model = update(tables.versions).where(tables.versions.c.model_id == model["id"])
    of_version = of_model.where(tables.versions.c.number == number)
    connection.execute(of_version.values(deleted_at=now()))
    # Weights that it shares may be left of a version that was deleted before.
    digests = (row["digest"], row["weights_digest"])
    artifacts = [digest for digest in digests if digest is not None]
    content = {"model": model["id"], "version": number, "artifacts": artifacts}
    audit_log.write(connection, actor=actor, action=VERSION, target=model["name"], content=content)


def delete_model(connection: Connection, model: RowMapping, *, actor: str) -> list[tuple[str, int]]:
    """Delete a model with everything but its audit log; its name is free again.

    Returns (run id, attempts) of each run, whose log lines the caller deletes. Raises `RunActive`,
    `ModelDeleted`.
    """
    model_id = model["id"]
    models.lock(connection, model_id)
    active = runs.active(connection, model_id)
    if active is not None:
        raise runs.RunActive(active["id"])
    query = select(all_runs.c.id, all_runs.c.attempt, all_runs.c.ended_at)
    ran = connection.execute(query.where(all_runs.c.model_id == model_id)).all()
    late = clock(connection) - LATE_SECONDS
    content = {
        "model": model_id,
        "artifacts": _artifacts(connection, model),
        "logs": [[run.id, run.attempt] for run in ran if (run.ended_at or late) >= late],
        "versions": _count(connection, tables.versions, model_id),
        "runs": len(ran),
        "windows": _count(connection, tables.windows, model_id),
    }
    # Versions and promotions name their runs, so they go before them; the rest goes with the model.
    for table in (tables.promotions, tables.versions, all_runs):
        connection.execute(delete(table).where(table.c.model_id == model_id))
    connection.execute(delete(tables.models).where(tables.models.c.id == model_id))
    audit_log.write(connection, actor=actor, action=MODEL, target=model["name"], content=content)
    return [(run.id, run.attempt) for run in ran]


def was_deleted(connection: Connection, model_id: str) -> bool:
    """Whether the audit log records that the model was deleted.

    A model that is only missing may be in another database.
    """
    if connection.execute(select(tables.models.c.id).where(tables.models.c.id == model_id)).first():
        return False
    contents = connection.execute(
        select(entries.c.content).where(entries.c.action == MODEL)
    ).scalars()
    return any(content.get("model") == model_id for content in contents)


def sweep(database: Database, segments: Segments, artifacts: Artifacts, logs: RunLogs) -> None:
    """Delete from the store what the deletions of the last hour named, unless referred to.

    Raises `StoreError`; repeating continues from there.
    """
    with database.read() as connection:
        query = select(entries.c.action, entries.c.at, entries.c.content).order_by(
            entries.c.sequence.desc()
        )
        newest = connection.execute(query.limit(NEWEST_ENTRIES)).all()
        since = clock(connection) - SWEPT_SECONDS
        deletions = [
            entry for entry in newest if entry.action in (MODEL, VERSION) and entry.at >= since
        ]
    for digest in sorted({digest for entry in deletions for digest in entry.content["artifacts"]}):
        if artifacts.exists(digest):
            with database.write() as connection:
                # Creating a model appends to the audit log: under this lock no transaction is
                # about to refer to an artifact that is not needed now.
                audit_log.serialise(connection)
                if not stages.is_needed(connection, digest):
                    artifacts.delete(digest)
    for entry in deletions:
        if entry.action == MODEL:
            segments.delete_all(entry.content["model"])
            for run_id, attempts in entry.content["logs"]:
                logs.delete(run_id, attempts)


def _artifacts(connection: Connection, model: RowMapping) -> list[str]:
    """The digests of all artifacts that the model, its versions and its runs refer to, sorted."""
    of_model = all_runs.c.model_id == model["id"]
    runs_of_model = select(all_runs.c.id).where(of_model)
    queries = (
        select(run_stages.c.digest).where(run_stages.c.run_id.in_(runs_of_model)),
        select(all_runs.c.pseudo_labels).where(of_model),
        select(tables.versions.c.digest).where(tables.versions.c.model_id == model["id"]),
    )
    digests = {model["seed_digest"], model["weights_digest"]}
    for query in queries:
        digests |= set(connection.execute(query).scalars())
    return sorted(digest for digest in digests if digest is not None)


def _count(connection: Connection, table: Table, model_id: str) -> int:
    """The number of rows of the model in this table."""
    query = select(func.count()).select_from(table).where(table.c.model_id == model_id)
    return int(connection.execute(query).scalar_one())
