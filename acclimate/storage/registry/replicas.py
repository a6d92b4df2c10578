"""API replicas: their heartbeats, the version each has loaded, and the rows each holds.

Every function works inside the caller's transaction.
"""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import (
    ColumnElement,
    Connection,
    RowMapping,
    exists,
    func,
    insert,
    literal,
    select,
    update,
)

from acclimate.storage.database import now
from acclimate.storage.registry.models import lock
from acclimate.storage.tables import models, promotions, replica_models, replicas

LIVE_SECONDS = 10.0
"""A replica whose heartbeat is older is dead: nothing waits for it."""


def is_live() -> ColumnElement[bool]:
    """The condition on `replicas` that the last heartbeat is at most `LIVE_SECONDS` away from now.

    A heartbeat further in the future was written before the database's clock was set back.
    """
    return replicas.c.heartbeat_at.between(now() - LIVE_SECONDS, now() + LIVE_SECONDS)


def heartbeat(connection: Connection, replica: str, open_rows: dict[str, int]) -> int:
    """Record a heartbeat of the replica; returns how many replicas are live.

    `open_rows` has, by model id, the rows that the replica has logged and not yet sealed.
    """
    alive = update(replicas).where(replicas.c.replica == replica).values(heartbeat_at=now())
    if connection.execute(alive).rowcount == 0:
        connection.execute(
            insert(replicas).values(replica=replica, heartbeat_at=now(), started_at=now())
        )
    for model_id, rows in open_rows.items():
        _write(connection, replica, model_id, {"open_rows": rows})
    living = select(func.count()).select_from(replicas).where(is_live())
    return int(connection.execute(living).scalar_one())


def sign_off(connection: Connection, replica: str) -> None:
    """Record that the replica stops: from now on it is not live."""
    connection.execute(
        update(replicas).where(replicas.c.replica == replica).values(heartbeat_at=0.0)
    )


def list_live(connection: Connection, model_id: str) -> list[RowMapping]:
    """What each live replica last reported of the model: version, epoch, sealed, rows, problem."""
    joined = replicas.outerjoin(
        replica_models,
        (replica_models.c.replica == replicas.c.replica) & (replica_models.c.model_id == model_id),
    )
    query = (
        select(
            replicas.c.replica,
            replicas.c.heartbeat_at,
            replica_models.c.version,
            replica_models.c.epoch,
        )
        .add_columns(replica_models.c.sealed, replica_models.c.open_rows, replica_models.c.problem)
        .select_from(joined)
        .where(is_live())
        .order_by(replicas.c.replica)
    )
    return list(connection.execute(query).mappings())


def report_loaded(
    connection: Connection, replica: str, model_id: str, *, version: int, epoch: int
) -> None:
    """Record that the replica answers with the version of this epoch.

    When no live replica is behind, the promotions up to this epoch count as served. Raises
    `ModelDeleted`.
    """
    lock(connection, model_id)
    loaded = {"version": version, "epoch": epoch, "problem": None}
    _write(connection, replica, model_id, loaded)
    behind = (
        select(func.count())
        .select_from(
            replicas.outerjoin(
                replica_models,
                (replica_models.c.replica == replicas.c.replica)
                & (replica_models.c.model_id == model_id),
            )
        )
        .where(is_live(), func.coalesce(replica_models.c.epoch, 0) < epoch)
    )
    if connection.execute(behind).scalar_one() == 0:
        served = (
            promotions.c.model_id == model_id,
            promotions.c.epoch <= epoch,
            promotions.c.served_at.is_(None),
        )
        connection.execute(update(promotions).where(*served).values(served_at=now()))


def report_problem(
    connection: Connection, replica: str, model_id: str, problem: str | None
) -> None:
    """Record a problem of the replica with this model; None clears it."""
    _write(connection, replica, model_id, {"problem": problem})


def note_sealed(connection: Connection, replica: str, model_id: str, number: int) -> None:
    """Record that the replica has sealed and registered all rows logged before seal `number`."""
    _write(connection, replica, model_id, {"sealed": number, "open_rows": 0})


def _write(
    connection: Connection, replica: str, model_id: str, values: Mapping[str, int | str | None]
) -> None:
    """Write columns of `replica_models`; nothing is written for a model that was deleted."""
    where = (replica_models.c.replica == replica, replica_models.c.model_id == model_id)
    if connection.execute(update(replica_models).where(*where).values(**values)).rowcount == 0:
        row = {"replica": replica, "model_id": model_id, **values}
        columns = [literal(value, replica_models.c[name].type) for name, value in row.items()]
        there = select(*columns).where(exists().where(models.c.id == model_id))
        connection.execute(insert(replica_models).from_select(list(row), there))
