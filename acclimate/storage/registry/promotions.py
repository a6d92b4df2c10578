"""Promotions: append-only; the one with the highest epoch names the champion.

A switch changes who answers and leaves the learner alone: learning goes on from the version of the
newest promotion of another kind. Every function works inside the caller's transaction.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Row, RowMapping, insert, select, update

from acclimate.learning.data import Json
from acclimate.storage import tables
from acclimate.storage.database import now
from acclimate.storage.registry import models, versions
from acclimate.storage.registry.models import EpochMoved
from acclimate.storage.registry.versions import UnknownVersion
from acclimate.storage.tables import promotions


class GateNotPassed(Exception):
    """The version did not pass its gates; only an override makes it champion."""


class AlreadyChampion(Exception):
    """The version is champion and learner: a promotion would change nothing."""


def promote(
    connection: Connection,
    model_id: str,
    version: int,
    *,
    kind: str,
    actor: str,
    reason: str | None,
    run_id: str | None = None,
    evidence: str | None = None,
) -> int:
    """Append a promotion that makes the version champion and learner; returns the new epoch.

    `kind` is "first", "promote", "rollback" or "override"; `evidence` "audited", "label_free" or
    None. Call under `models.lock`.
    """
    values = {"kind": kind, "actor": actor, "reason": reason}
    return _append(connection, model_id, version, **values, run_id=run_id, evidence=evidence)


def switch(
    connection: Connection,
    model_id: str,
    version: int,
    *,
    actor: str,
    reason: str,
    run_id: str | None,
    comparison: Json,
) -> int:
    """Append a switch: the version answers, learning goes on as before; returns the new epoch.

    `comparison` is what it follows from. Call under `models.lock`.
    """
    values = {"kind": "switch", "actor": actor, "reason": reason}
    return _append(connection, model_id, version, **values, run_id=run_id, comparison=comparison)


def make_champion(
    connection: Connection,
    model_id: str,
    number: int,
    *,
    expected: int,
    actor: str,
    reason: str,
    override: bool,
) -> int:
    """Promote a version at an operator's request, if the epoch is the expected one; the new epoch.

    A version that failed its gates needs `override`. Raises `UnknownVersion`, `EpochMoved`,
    `AlreadyChampion`, `GateNotPassed`.
    """
    models.lock(connection, model_id)
    row = versions.get_stored(connection, model_id, number)
    current = champion(connection, model_id)
    if current is None or current.epoch != expected:
        raise EpochMoved(f"the epoch is {current.epoch if current else 0}, not {expected}")
    _not_yet(connection, model_id, number)
    if row["state"] != "promoted":
        if not override:
            raise GateNotPassed(f"version {number} did not pass its gates")
        connection.execute(
            update(tables.versions)
            .where(tables.versions.c.model_id == model_id, tables.versions.c.number == number)
            .values(state="promoted")
        )
        return promote(connection, model_id, number, kind="override", actor=actor, reason=reason)
    return promote(
        connection,
        model_id,
        number,
        kind="promote",
        actor=actor,
        reason=reason,
        run_id=row["run_id"],
        evidence=row["evidence"],
    )


def roll_back(
    connection: Connection, model_id: str, *, to: int | None, actor: str, reason: str
) -> tuple[int, int]:
    """Make `to` champion again, by default the version before the champion: (epoch, version).

    Raises `AlreadyChampion`, and `UnknownVersion` when there is no earlier version, or when `to`
    was never champion or is deleted.
    """
    models.lock(connection, model_id)
    target = to if to is not None else previous(connection, model_id)
    if target is None:
        raise UnknownVersion("there is no earlier version to roll back to")
    if versions.get_stored(connection, model_id, target)["state"] != "promoted":
        raise UnknownVersion(
            f"version {target} was never champion; promote it with override instead"
        )
    _not_yet(connection, model_id, target)
    return promote(
        connection, model_id, target, kind="rollback", actor=actor, reason=reason
    ), target


def champion(connection: Connection, model_id: str) -> Row[Any] | None:
    """The newest promotion, with `epoch` and `to_version`; None before version 1."""
    query = (
        select(promotions)
        .where(promotions.c.model_id == model_id)
        .order_by(promotions.c.epoch.desc())
        .limit(1)
    )
    return connection.execute(query).first()


def learner(connection: Connection, model_id: str) -> int | None:
    """The version that learning goes on from; None before version 1."""
    query = (
        select(promotions.c.to_version)
        .where(promotions.c.model_id == model_id, promotions.c.kind != "switch")
        .order_by(promotions.c.epoch.desc())
        .limit(1)
    )
    found: int | None = connection.execute(query).scalar()
    return found


def previous(connection: Connection, model_id: str) -> int | None:
    """The version that was champion before the current one; None where there was none.

    After a rollback that is the version that was rolled back.
    """
    current = champion(connection, model_id)
    return current.from_version if current else None


def list_all(connection: Connection, model_id: str) -> list[RowMapping]:
    """All promotions, oldest first."""
    query = select(promotions).where(promotions.c.model_id == model_id).order_by(promotions.c.epoch)
    return list(connection.execute(query).mappings())


def aliases(connection: Connection, model_id: str) -> dict[str, int | None]:
    """The versions that `champion`, `previous`, `learner`, `proved` and `anchor` name; empty
    before version 1.
    """
    current = champion(connection, model_id)
    if current is None:
        return {}
    return {
        "champion": current.to_version,
        "previous": current.from_version,
        "learner": learner(connection, model_id),
        "proved": versions.proved(connection, model_id),
        "anchor": 1,
    }


def _append(connection: Connection, model_id: str, version: int, **values: Any) -> int:
    """The epoch of a new promotion of the version."""
    current = champion(connection, model_id)
    epoch = current.epoch + 1 if current else 1
    before = current.to_version if current else None
    if current and before == version:  # a switch made it champion: it becomes the learner too
        before = current.from_version
    line = {"epoch": epoch, "from_version": before, "to_version": version, "at": now()}
    connection.execute(insert(promotions).values(model_id=model_id, **line, **values))
    return epoch


def _not_yet(connection: Connection, model_id: str, number: int) -> None:
    """Raise `AlreadyChampion` if the version is champion and learner."""
    current = champion(connection, model_id)
    answers = current is not None and current.to_version == number
    if answers and learner(connection, model_id) == number:
        raise AlreadyChampion(f"version {number} is the champion")
