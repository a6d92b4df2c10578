"""Versions of a model, numbered from 1; a number is never used twice.

Every function works inside the caller's transaction.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

from sqlalchemy import Connection, RowMapping, func, insert, select, update

from acclimate.learning.data import Json
from acclimate.storage.database import clock, now
from acclimate.storage.tables import versions


class UnknownVersion(LookupError):
    """The model has no such version."""


@dataclass(frozen=True, kw_only=True)
class NewVersion:
    """What is stored of a version when it is made.

    `digest` names its artifact; `weights_digest` the artifact of another version that holds its
    weights, if any. `expected` is how `student` and `champion` answered the held-out rows when the
    version was judged. `rehearsal` is, of version 1, what the simulation of self-training found.
    """

    digest: str
    promoted: bool
    parent: int | None
    run_id: str
    gates: list[Json]
    evidence: str | None
    expected: Json | None = None
    mode: str = "plain"
    weights_digest: str | None = None
    lineage: Json | None = None
    rehearsal: Json | None = None


def add(connection: Connection, model_id: str, version: NewVersion) -> int:
    """The number of the new version: one above the highest there ever was.

    Call under `models.lock`.
    """
    query = select(func.max(versions.c.number)).where(versions.c.model_id == model_id)
    number = (connection.execute(query).scalar() or 0) + 1
    values = asdict(version)
    values["state"] = "promoted" if values.pop("promoted") else "rejected"
    connection.execute(
        insert(versions).values(model_id=model_id, number=number, **values, created_at=now())
    )
    return number


def list_all(connection: Connection, model_id: str) -> list[RowMapping]:
    """All versions of the model, in the order of their numbers, deleted ones included."""
    query = select(versions).where(versions.c.model_id == model_id).order_by(versions.c.number)
    return list(connection.execute(query).mappings())


def get(connection: Connection, model_id: str, number: int) -> RowMapping:
    """One version, possibly deleted. Raises `UnknownVersion`."""
    query = select(versions).where(versions.c.model_id == model_id, versions.c.number == number)
    row = connection.execute(query).mappings().first()
    if row is None:
        raise UnknownVersion(f"there is no version {number}")
    return row


def get_stored(connection: Connection, model_id: str, number: int) -> RowMapping:
    """One version that was not deleted. Raises `UnknownVersion`."""
    row = get(connection, model_id, number)
    if row["deleted_at"] is not None:
        raise UnknownVersion(f"version {number} was deleted")
    return row


def line_of(connection: Connection, model_id: str, number: int | None) -> set[int]:
    """The version, its parent, and so on to version 1. Empty where there is no such version."""
    query = select(versions.c.number, versions.c.parent).where(versions.c.model_id == model_id)
    parents = {row.number: row.parent for row in connection.execute(query)}
    line: set[int] = set()
    at = number
    while at is not None and at in parents and at not in line:
        line.add(at)
        at = parents[at]
    return line


def proved(connection: Connection, model_id: str) -> int:
    """The version that labels proved last; version 1, which the seed set judged, where none did."""
    query = (
        select(versions.c.number)
        .where(
            versions.c.model_id == model_id,
            versions.c.proved_at.is_not(None),
            versions.c.deleted_at.is_(None),
        )
        .order_by(versions.c.proved_at.desc(), versions.c.number.desc())
        .limit(1)
    )
    return int(connection.execute(query).scalar() or 1)


def set_proved(connection: Connection, model_id: str, number: int, proof: Json) -> None:
    """Record that labels proved the version. Call under `models.lock`."""
    of_model = versions.c.model_id == model_id
    last = connection.execute(select(func.max(versions.c.proved_at)).where(of_model)).scalar()
    # Later than every proof before, whatever the clock says.
    at = max(clock(connection), 0.0 if last is None else last + 1e-6)
    here = update(versions).where(of_model, versions.c.number == number)
    connection.execute(here.values(proved_at=at, proof=proof))
