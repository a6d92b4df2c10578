"""Requests for a run that are sent again: the same key, from the same caller, means the run that
the first one started.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, delete, insert, select
from sqlalchemy.exc import IntegrityError

from acclimate.storage.database import now
from acclimate.storage.tables import idempotency_keys

KEPT_SECONDS = 24 * 3600.0


class KeyReused(Exception):
    """The same Idempotency-Key came before with another request."""


@dataclass(frozen=True, kw_only=True)
class IdempotentRequest:
    """Who asks, under which key, for what: a digest of the whole request."""

    key_id: str
    idempotency_key: str
    fingerprint: str


def started_run(connection: Connection, once: IdempotentRequest) -> str | None:
    """The run that this request has started within the last 24 hours. Raises `KeyReused`."""
    query = select(idempotency_keys.c.fingerprint, idempotency_keys.c.run_id).where(
        *_same(once), idempotency_keys.c.at > now() - KEPT_SECONDS
    )
    row = connection.execute(query).first()
    if row is None:
        return None
    if row.fingerprint != once.fingerprint:
        raise KeyReused(once.idempotency_key)
    return str(row.run_id)


def remember(connection: Connection, once: IdempotentRequest, run_id: str) -> None:
    """The request has started this run. Call in the transaction that starts it. Raises
    `KeyReused`.
    """
    connection.execute(
        delete(idempotency_keys).where(*_same(once), idempotency_keys.c.at <= now() - KEPT_SECONDS)
    )
    try:
        connection.execute(
            insert(idempotency_keys).values(**once.__dict__, run_id=run_id, at=now())
        )
    except IntegrityError as error:  # for another model, at the same moment
        raise KeyReused(once.idempotency_key) from error


def purge(connection: Connection) -> int:
    """Forget the keys of more than 24 hours ago; how many."""
    return connection.execute(
        delete(idempotency_keys).where(idempotency_keys.c.at <= now() - KEPT_SECONDS)
    ).rowcount


def _same(once: IdempotentRequest) -> tuple[Any, ...]:
    return (
        idempotency_keys.c.key_id == once.key_id,
        idempotency_keys.c.idempotency_key == once.idempotency_key,
    )
