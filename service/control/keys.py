"""Keys as documents of the API; their creation and revocation."""

from __future__ import annotations

from acclimate.storage.database import Database
from acclimate.storage.registry import audit_log, keys
from service.control import documents
from service.control.documents import Document
from service.errors import Refusal


def listed(database: Database) -> Document:
    """All keys, oldest first, without their secrets."""
    with database.read() as connection:
        return documents.items(documents.key(row) for row in keys.list_all(connection))


def create(database: Database, *, name: str, scopes: list[str], actor: str) -> Document:
    """Create a key; returns it with its secret, which is not stored."""
    with database.write() as connection:
        new, secret = keys.create(connection, name=name, scopes=scopes)
        audit_log.write(
            connection,
            actor=actor,
            action="key.create",
            target=name,
            content={"id": new.id, "scopes": sorted(scopes)},
        )
    return {"id": new.id, "name": new.name, "scopes": sorted(new.scopes), "key": secret}


def revoke(database: Database, key_id: str, *, actor: str) -> None:
    """Revoke a key. Raises the 404 refusal for one that is unknown or already revoked."""
    with database.write() as connection:
        if not keys.revoke(connection, key_id):
            raise Refusal("not-found", f"there is no key {key_id[:32]!r} that works")
        audit_log.write(connection, actor=actor, action="key.revoke", target=key_id)
