"""Runs as documents of the API, and how an operator starts, cancels and retries them."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

from acclimate.storage.database import Database
from acclimate.storage.registry import audit_log, models, promotions
from acclimate.storage.runs import runs
from acclimate.storage.runs.idempotency import IdempotentRequest
from acclimate.storage.runs.run_logs import RunLogs
from acclimate.storage.runs.run_start import RunRequest, start_run
from acclimate.storage.tables import ACTIVE
from service.control import documents
from service.control.documents import Document
from service.errors import Refusal

if TYPE_CHECKING:
    from sqlalchemy import RowMapping


def listed(
    database: Database, *, model: str | None, state: str | None, before: str | None, size: int
) -> Document:
    """One page of runs, newest first, older than the run `before`. Raises `UnknownModel`."""
    with database.read() as connection:
        model_id = models.named(connection, model)["id"] if model else None
        rows = runs.page(connection, model_id=model_id, state=state, before=before, size=size + 1)
    token = rows[size - 1]["id"] if len(rows) > size else None
    return documents.items((documents.run(row) for row in rows[:size]), token)


def get(database: Database, run_id: str) -> RowMapping:
    """The run's row. Raises `UnknownRun`."""
    with database.read() as connection:
        return runs.get(connection, run_id)


def is_active(row: RowMapping) -> bool:
    """Whether the run has not ended."""
    return row["state"] in ACTIVE


def logs(database: Database, run_logs: RunLogs, run_id: str, attempt: int | None) -> bytes:
    """The log lines of every attempt, or of one, as ndjson.

    Raises `UnknownRun`, and the 404 refusal for an attempt that the run did not have.
    """
    attempts = get(database, run_id)["attempt"]
    if attempt is not None and attempt > attempts:
        raise Refusal("not-found", f"the run had {attempts} attempts so far")
    wanted = range(1, attempts + 1) if attempt is None else (attempt,)
    return b"".join(run_logs.read(run_id, number) for number in wanted)


def once(key_id: str, idempotency_key: str, request: dict[str, Any]) -> IdempotentRequest:
    """The identity of a request under an Idempotency-Key: key, header and a digest of the body."""
    content = json.dumps(request, sort_keys=True)
    fingerprint = hashlib.sha256(content.encode()).hexdigest()
    return IdempotentRequest(
        key_id=key_id, idempotency_key=idempotency_key, fingerprint=fingerprint
    )


def cancel(database: Database, run_id: str, *, actor: str) -> Document:
    """Cancel the run; returns it. Raises `UnknownRun`, `RunEnded`."""
    with database.write() as connection:
        runs.cancel(connection, run_id)
        audit_log.write(connection, actor=actor, action="run.cancel", target=run_id)
        return documents.run(runs.get(connection, run_id))


def retry(database: Database, run_id: str, *, actor: str) -> str:
    """Start a new run over the windows of an ended one; returns its id.

    Raises `UnknownRun`, `RunActive`, and what `start_run` raises.
    """
    row = get(database, run_id)
    if is_active(row):
        raise runs.RunActive(run_id)
    if row["trigger"] == "create" or not row["windows"]:
        return _retry_create(database, row, actor)
    return start_run(
        database,
        RunRequest(
            model=row["model"],
            trigger="retry",
            actor=actor,
            reason=f"retry of {run_id}",
            recipe=row["recipe"],
            windows=row["windows"],
        ),
    )


def _retry_create(database: Database, row: RowMapping, actor: str) -> str:
    """Start another run for version 1. Raises `RunActive` and the 409 refusal."""
    with database.write() as connection:
        models.lock(connection, row["model_id"])
        if promotions.champion(connection, row["model_id"]) is not None:
            raise Refusal("run-ended", "version 1 exists: there is nothing to try again")
        audit_log.write(
            connection,
            actor=actor,
            action="run.start",
            target=row["model"],
            content={"trigger": "retry"},
        )
        return runs.create(
            connection,
            row["model_id"],
            runs.NewRun(
                trigger="retry",
                reason=f"retry of {row['id']}",
                recipe=row["recipe"],
                windows=[],
                rows=None,
                data_digest=row["data_digest"],
                policy_revision=row["policy_revision"],
                gates_revision=row["gates_revision"],
                parent_version=None,
            ),
        )
