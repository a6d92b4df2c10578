"""Versions of a model, numbered from 1; a number is never used twice.

Every function works inside the caller's transaction.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, RowMapping, func, insert, select

from acclimate.storage.database import now
from acclimate.storage.tables import versions


class UnknownVersion(LookupError):
    """The model has no such version."""


def add(
    connection: Connection,
    model_id: str,
    *,
    digest: str,
    promoted: bool,
    parent: int | None,
    run_id: str,
    gates: list[dict[str, Any]],
    evidence: str | None,
    expected: dict[str, Any] | None = None,
    mode: str = "plain",
    weights_digest: str | None = None,
    lineage: dict[str, Any] | None = None,
    rehearsal: dict[str, Any] | None = None,
) -> int:
    """The number of the new version: one above the highest there ever was. Call under `lock`.

    `expected` is how `student` and `champion` answered the held-out rows when it was judged;
    `weights_digest` the artifact of another version that lends this one its weights; `lineage` what
    it comes of; `rehearsal` what version 1 could learn by itself.
    """
    highest = connection.execute(
        select(func.max(versions.c.number)).where(versions.c.model_id == model_id)
    ).scalar()
    number = (highest or 0) + 1
    values = {
        "model_id": model_id,
        "number": number,
        "digest": digest,
        "state": "promoted" if promoted else "rejected",
    }
    values |= {"parent": parent, "run_id": run_id, "gates": gates, "evidence": evidence}
    values |= {"expected": expected, "mode": mode, "weights_digest": weights_digest}
    values |= {"lineage": lineage, "rehearsal": rehearsal}
    connection.execute(insert(versions).values(**values, created_at=now()))
    return number


def list_all(connection: Connection, model_id: str) -> list[RowMapping]:
    query = select(versions).where(versions.c.model_id == model_id).order_by(versions.c.number)
    return list(connection.execute(query).mappings())


def get(connection: Connection, model_id: str, number: int) -> RowMapping:
    """One version. Raises `UnknownVersion`."""
    query = select(versions).where(versions.c.model_id == model_id, versions.c.number == number)
    row = connection.execute(query).mappings().first()
    if row is None:
        raise UnknownVersion(f"there is no version {number}")
    return row


def get_stored(connection: Connection, model_id: str, number: int) -> RowMapping:
    """One version that can still be loaded. Raises `UnknownVersion`, also for one that was
    deleted.
    """
    row = get(connection, model_id, number)
    if row["deleted_at"] is not None:
        raise UnknownVersion(f"version {number} was deleted")
    return row
