"""The audit log: who did what when. Append-only; each entry's hash covers the one before it."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from sqlalchemy import Connection, RowMapping, insert, select, text

from acclimate.storage.database import now
from acclimate.storage.tables import audit

FIRST = "0" * 64


def write(connection: Connection, *, actor: str, action: str, target: str, **content: Any) -> None:
    """Append one entry inside the caller's transaction, so that a deed and its record stand or fall together."""
    serialise(connection)
    last = connection.execute(select(audit.c.sequence, audit.c.hash).order_by(audit.c.sequence.desc()).limit(1)).first()
    sequence, previous = (last.sequence + 1, last.hash) if last else (1, FIRST)
    at = float(connection.execute(select(now())).scalar_one())
    entry = {"sequence": sequence, "at": at, "actor": actor, "action": action, "target": target, "content": content}
    connection.execute(insert(audit).values(**entry, previous_hash=previous, hash=_digest(entry, previous)))


def serialise(connection: Connection) -> None:
    """One appender at a time until the transaction ends, or two entries would follow the same one."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(5410231)"))


def page(connection: Connection, *, after: int = 0, size: int = 50) -> list[RowMapping]:
    """Entries in order, those after the given sequence number."""
    query = select(audit).where(audit.c.sequence > after).order_by(audit.c.sequence).limit(size)
    return list(connection.execute(query).mappings())


def first_broken(connection: Connection) -> int | None:
    """The sequence number of the first entry that does not follow from the one before it; None when all do."""
    previous, expected = FIRST, 1
    for row in connection.execute(select(audit).order_by(audit.c.sequence)).mappings():
        entry = {name: row[name] for name in ("sequence", "at", "actor", "action", "target", "content")}
        if row["sequence"] != expected or row["previous_hash"] != previous or row["hash"] != _digest(entry, previous):
            return int(row["sequence"])
        previous, expected = row["hash"], expected + 1
    return None


def _digest(entry: dict[str, Any], previous: str) -> str:
    return hashlib.sha256((previous + json.dumps(entry, sort_keys=True)).encode()).hexdigest()
