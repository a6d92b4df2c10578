"""Watches over promotions: their findings, and the rollback of a promotion that one found worse.

Every function works inside the caller's transaction.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Row, RowMapping, select, update

from acclimate.storage import tables
from acclimate.storage.log import windows
from acclimate.storage.registry import audit_log, models, promotions, versions
from acclimate.storage.runs import runs

ACTOR = "watch"


def note(connection: Connection, model_id: str, epoch: int, watch: dict[str, Any]) -> None:
    """Write the findings of the watch over this promotion."""
    where = (tables.promotions.c.model_id == model_id, tables.promotions.c.epoch == epoch)
    connection.execute(update(tables.promotions).where(*where).values(watch=watch))


def supersede(connection: Connection, model_id: str, newest: int) -> None:
    """End every open watch over a promotion older than epoch `newest`."""
    for row in _open(connection, model_id, newest):
        note(connection, model_id, row.epoch, {**row.watch, "state": "superseded"})


def any_open(connection: Connection, model_id: str, *, before: int) -> bool:
    """Whether a watch over a promotion older than epoch `before` is open."""
    return bool(_open(connection, model_id, before))


def served_before(connection: Connection, model_id: str, version: int, epoch: int) -> bool:
    """Whether the version was champion before this epoch."""
    where = (
        tables.promotions.c.model_id == model_id,
        tables.promotions.c.epoch < epoch,
        tables.promotions.c.to_version == version,
    )
    return (
        connection.execute(select(tables.promotions.c.epoch).where(*where).limit(1)).first()
        is not None
    )


def is_watching(connection: Connection, model_id: str, epoch: int) -> bool:
    """Whether this promotion is the newest one and its watch is open. Call under `models.lock`."""
    newest = promotions.champion(connection, model_id)
    if newest is None or newest.epoch != epoch:
        return False
    return newest.watch is not None and newest.watch["state"] == "watching"


def roll_back(connection: Connection, model: RowMapping, promotion: Row[Any], reason: str) -> None:
    """Roll the promotion back, pause learning, and quarantine the windows the version learnt from.

    Where the previous version was deleted, the version keeps serving; the rest is done all the
    same. Call under `models.lock`, while `is_watching`.
    """
    why = f"the watch found version {promotion.to_version} worse: {reason}"
    before, version = versions.get(connection, model["id"], promotion.from_version), None
    if before["deleted_at"] is None:
        _, version = promotions.roll_back(
            connection, model["id"], to=before["number"], actor=ACTOR, reason=why
        )
        paused = f"rolled back to version {version}: {why}"
    else:
        paused = f"{why}; it still serves, since version {before['number']} was deleted"
    models.set_learning(connection, model["id"], "paused", paused)
    learnt_from = _learnt_from(connection, model["id"], promotion.to_version)
    for number in learnt_from:
        windows.set_state(connection, model["id"], number, "quarantined")
    content = {
        "version": version,
        "from": promotion.to_version,
        "windows": learnt_from,
        "reason": reason,
    }
    audit_log.write(
        connection, actor=ACTOR, action="version.rollback", target=model["name"], content=content
    )


def _learnt_from(connection: Connection, model_id: str, version: int) -> list[int]:
    """The windows that the version learnt from."""
    run_id = versions.get(connection, model_id, version)["run_id"]
    return list(runs.get(connection, run_id)["windows"]) if run_id is not None else []


def _open(connection: Connection, model_id: str, before: int) -> list[Any]:
    """Epoch and findings of each open watch over a promotion older than epoch `before`."""
    state = tables.promotions.c.watch["state"].as_string()
    where = (
        tables.promotions.c.model_id == model_id,
        tables.promotions.c.epoch < before,
        state == "watching",
    )
    return list(
        connection.execute(
            select(tables.promotions.c.epoch, tables.promotions.c.watch).where(*where)
        ).all()
    )
