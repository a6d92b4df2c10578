"""API keys: 256 random bits, stored as SHA-256, shown once, with scopes.

A slow hash adds nothing at that entropy.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, RowMapping, insert, select, update
from ulid import ULID

from acclimate.storage.database import now
from acclimate.storage.tables import keys

SCOPES = ("predict", "feedback", "view", "operate", "admin")
AT_ONCE = 500
"""Fingerprints in one query: every database takes so many parameters."""
IMPLIED = {"admin": frozenset(SCOPES), "operate": frozenset({"operate", "view"})}
"""Scopes that a scope includes. Viewing does not include predicting: answered rows are learnt from.
"""


@dataclass(frozen=True, kw_only=True)
class Key:
    """A key's owner and scopes."""

    id: str
    name: str
    scopes: frozenset[str]

    def allows(self, scope: str) -> bool:
        """Whether the key has this scope."""
        return any(scope in IMPLIED.get(own, {own}) for own in self.scopes)


def create(
    connection: Connection, *, name: str, scopes: list[str], secret: str | None = None
) -> tuple[Key, str]:
    """Create a key; returns it with its secret, which is not stored."""
    secret = secret or f"acc_{secrets.token_urlsafe(32)}"
    key = Key(id=str(ULID()), name=name, scopes=frozenset(scopes))
    statement = insert(keys).values(
        id=key.id,
        name=name,
        scopes=sorted(scopes),
        hash=fingerprint(secret),
        created_at=now(),
    )
    connection.execute(statement)
    return key, secret


def find(connection: Connection, hash: str) -> Key | None:
    """The key with this fingerprint that is not revoked."""
    return find_all(connection, [hash]).get(hash)


def find_all(connection: Connection, hashes: Sequence[str]) -> dict[str, Key]:
    """The keys with these fingerprints that are not revoked, by fingerprint.

    A lookup by hash leaks no timing of the secret.
    """
    found = {}
    for start in range(0, len(hashes), AT_ONCE):
        some = hashes[start : start + AT_ONCE]
        query = select(keys).where(keys.c.hash.in_(some)).where(keys.c.revoked_at.is_(None))
        for row in connection.execute(query):
            found[row.hash] = Key(id=row.id, name=row.name, scopes=frozenset(row.scopes))
    return found


def list_all(connection: Connection) -> list[RowMapping]:
    """All keys, oldest first, without hashes."""
    columns = (keys.c.id, keys.c.name, keys.c.scopes, keys.c.created_at, keys.c.revoked_at)
    return list(connection.execute(select(*columns).order_by(keys.c.id)).mappings())


def revoke(connection: Connection, id: str) -> bool:
    """Revoke the key; whether it existed and was not revoked before."""
    valid = update(keys).where(keys.c.id == id).where(keys.c.revoked_at.is_(None))
    return connection.execute(valid.values(revoked_at=now())).rowcount == 1


def fingerprint(secret: str) -> str:
    """The hash of a secret, which is stored and cached in its place."""
    return hashlib.sha256(secret.encode()).hexdigest()
