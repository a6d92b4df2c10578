"""The audit log: who did what, and when. Append-only; each entry's hash covers the one before."""

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
    """Append one entry, in the transaction that makes the change it records."""
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
    """Let one transaction at a time append, until it ends: two entries must not follow one."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(5410231)"))


def page(connection: Connection, *, after: int = 0, size: int = 50) -> list[RowMapping]:
    """Entries in order, those after the given sequence number."""
    query = select(audit).where(audit.c.sequence > after).order_by(audit.c.sequence).limit(size)
    return list(connection.execute(query).mappings())


@dataclass(frozen=True, kw_only=True)
class Chain:
    """The result of a check of the whole log: the number of valid entries, and the last one's hash.

    `broken` is the sequence number of the first entry that does not follow from the one before,
    None when all do. `seen`: one of the valid entries has the hash that was asked for. An operator
    who stores a head elsewhere detects a log that was truncated or rewritten.
    """

    entries: int
    head: str
    broken: int | None
    seen: bool


def verify(connection: Connection, *, expect: str | None = None) -> Chain:
    """Check every entry against its hash and the entry before it.

    `expect` is a hash that should be found, by default none.
    """
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
