"""Idempotency keys: a request for a run that is sent again is answered with the run it started."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, delete, insert, select
from sqlalchemy.exc import IntegrityError

from acclimate.storage.database import now
from acclimate.storage.tables import idempotency_keys

KEPT_SECONDS = 24 * 3600.0


class KeyReused(Exception):
    """The same Idempotency-Key was used before, with another request."""


@dataclass(frozen=True, kw_only=True)
class IdempotentRequest:
    """A request under an Idempotency-Key: its API key, the header's value, the request's digest."""

    key_id: str
    idempotency_key: str
    fingerprint: str


def started_run(connection: Connection, once: IdempotentRequest) -> str | None:
    """The run that this request started within the last 24 hours, if any. Raises `KeyReused`."""
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
    """Record that the request started this run, in the transaction that starts it.

    Raises `KeyReused`.
    """
    connection.execute(
        delete(idempotency_keys).where(*_same(once), idempotency_keys.c.at <= now() - KEPT_SECONDS)
    )
    try:
        connection.execute(
            insert(idempotency_keys).values(**once.__dict__, run_id=run_id, at=now())
        )
    except IntegrityError as error:  # used for another model in a concurrent transaction
        raise KeyReused(once.idempotency_key) from error


def purge(connection: Connection) -> int:
    """Delete the keys that are older than 24 hours; returns how many."""
    return connection.execute(
        delete(idempotency_keys).where(idempotency_keys.c.at <= now() - KEPT_SECONDS)
    ).rowcount


def _same(once: IdempotentRequest) -> tuple[Any, ...]:
    return (
        idempotency_keys.c.key_id == once.key_id,
        idempotency_keys.c.idempotency_key == once.idempotency_key,
    )
