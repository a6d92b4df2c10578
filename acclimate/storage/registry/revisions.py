"""Revisions of a model's policy and gates: append-only, numbered from 1.

Every function works inside the caller's transaction.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, func, insert, select

from acclimate.learning.spec import Gates, Policy, stored
from acclimate.storage.database import now
from acclimate.storage.registry.models import EpochMoved, ModelDeleted, lock
from acclimate.storage.tables import revisions


def get(
    connection: Connection, model_id: str, kind: str, number: int | None = None
) -> tuple[int, dict[str, Any]]:
    """The numbered revision (default: the newest) of "policy" or "gates": (number, content).

    Raises `ModelDeleted`.
    """
    query = select(revisions.c.revision, revisions.c.content).where(
        revisions.c.model_id == model_id, revisions.c.kind == kind
    )
    if number is not None:
        query = query.where(revisions.c.revision == number)
    row = connection.execute(query.order_by(revisions.c.revision.desc()).limit(1)).first()
    if row is None:
        raise ModelDeleted(model_id)
    return row.revision, row.content


def policy(connection: Connection, model_id: str, number: int | None = None) -> tuple[int, Policy]:
    """The numbered revision of the policy (default: the newest): (number, policy)."""
    found, content = get(connection, model_id, "policy", number)
    return found, stored(Policy, content)


def policies(connection: Connection) -> dict[str, Policy]:
    """The newest policy of every model, by the model's id."""
    others = revisions.alias()
    newer = (others.c.model_id == revisions.c.model_id) & (others.c.kind == "policy")
    newest = select(func.max(others.c.revision)).where(newer).scalar_subquery()
    query = select(revisions).where(revisions.c.kind == "policy", revisions.c.revision == newest)
    rows = connection.execute(query).mappings()
    return {row["model_id"]: stored(Policy, row["content"]) for row in rows}


def gates(connection: Connection, model_id: str, number: int | None = None) -> tuple[int, Gates]:
    """The numbered revision of the gates (default: the newest): (number, gates)."""
    found, content = get(connection, model_id, "gates", number)
    return found, stored(Gates, content)


def append(
    connection: Connection,
    model_id: str,
    kind: str,
    content: Mapping[str, Any],
    *,
    actor: str,
    expected: int,
) -> int:
    """Append a revision after the expected newest one; returns its number.

    Raises `EpochMoved` when there is a newer one, and `ModelDeleted`.
    """
    lock(connection, model_id)
    newest, _ = get(connection, model_id, kind)
    if newest != expected:
        raise EpochMoved(f"the newest revision of {kind} is {newest}, not {expected}")
    values = {
        "model_id": model_id,
        "kind": kind,
        "revision": newest + 1,
        "content": dict(content),
        "actor": actor,
    }
    connection.execute(insert(revisions).values(**values, at=now()))
    return newest + 1
