"""The audit log: who did what when. Append-only; each entry's hash covers the one before it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, RowMapping, insert, select, text

from acclimate.learning.data import Json
from acclimate.storage.database import now
from acclimate.storage.tables import audit

FIRST = "0" * 64


def write(
    connection: Connection, *, actor: str, action: str, target: str, content: Json | None = None
) -> None:
    """Append one entry inside the caller's transaction, so that a deed and its record stand or fall
    together.
    """
    serialise(connection)
    last = connection.execute(
        select(audit.c.sequence, audit.c.hash).order_by(audit.c.sequence.desc()).limit(1)
    ).first()
    sequence, previous = (last.sequence + 1, last.hash) if last else (1, FIRST)
    at = float(connection.execute(select(now())).scalar_one())
    entry = {
        "sequence": sequence,
        "at": at,
        "actor": actor,
        "action": action,
        "target": target,
        "content": content or {},
    }
    connection.execute(
        insert(audit).values(**entry, previous_hash=previous, hash=_digest(entry, previous))
    )


def serialise(connection: Connection) -> None:
    """One appender at a time until the transaction ends, or two entries would follow the
    same one.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(5410231)"))


def page(connection: Connection, *, after: int = 0, size: int = 50) -> list[RowMapping]:
    """Entries in order, those after the given sequence number."""
    query = select(audit).where(audit.c.sequence > after).order_by(audit.c.sequence).limit(size)
    return list(connection.execute(query).mappings())


@dataclass(frozen=True, kw_only=True)
class Chain:
    """What a walk over the whole log found: so many entries follow from one another, the last of
    them has the hash `head`.

    `broken` is the sequence number of the first that does not follow, None when all do. `seen`: one
    of those that do has the hash that was asked for. Who keeps a head elsewhere can tell that the
    end was cut off, or all of it written anew.
    """

    entries: int
    head: str
    broken: int | None
    seen: bool


def verify(connection: Connection, *, expect: str | None = None) -> Chain:
    """Every entry held against its hash and the one before it."""
    previous, entries, seen = FIRST, 0, expect in (None, FIRST)
    for row in connection.execute(select(audit).order_by(audit.c.sequence)).mappings():
        entry = {
            name: row[name] for name in ("sequence", "at", "actor", "action", "target", "content")
        }
        follows = row["sequence"] == entries + 1 and row["previous_hash"] == previous
        if not follows or row["hash"] != _digest(entry, previous):
            return Chain(entries=entries, head=previous, broken=int(row["sequence"]), seen=seen)
        previous, entries, seen = row["hash"], entries + 1, seen or row["hash"] == expect
    return Chain(entries=entries, head=previous, broken=None, seen=seen)


def _digest(entry: dict[str, Any], previous: str) -> str:
    return hashlib.sha256((previous + json.dumps(entry, sort_keys=True)).encode()).hexdigest()
