"""The seal barrier: every live replica seals its open journal and acknowledges a number.

Functions that take a connection work inside the caller's transaction.
"""

from __future__ import annotations

import time

from sqlalchemy import Connection, select, update

from acclimate.storage import tables
from acclimate.storage.database import Database
from acclimate.storage.registry import models, replicas

MOST_SECONDS = 12.0
"""Longest wait for a live replica that does not acknowledge; its rows go to the next window."""
POLL_SECONDS = 0.05


def request_seal(connection: Connection, model_id: str) -> int:
    """Raise the seal number of the model; returns it. Raises `ModelDeleted`.

    Each live replica acknowledges it once all rows logged so far are sealed and registered.
    """
    query = (
        update(tables.models)
        .where(tables.models.c.id == model_id)
        .values(seal=tables.models.c.seal + 1)
        .returning(tables.models.c.seal)
    )
    number = connection.execute(query).scalar()
    if number is None:
        raise models.ModelDeleted(model_id)
    return int(number)


def unsealed_replicas(connection: Connection, model_id: str, number: int) -> list[str]:
    """The live replicas that have not acknowledged the seal."""
    return [
        row["replica"]
        for row in replicas.list_live(connection, model_id)
        if (row["sealed"] or 0) < number
    ]


def seal_is_due(connection: Connection, model_id: str, rows: float) -> bool:
    """Whether live replicas hold at least `rows` unsealed rows and have acknowledged the last seal.

    A replica that does not answer is therefore asked once.
    """
    alive = replicas.list_live(connection, model_id)
    asked = int(
        connection.execute(
            select(tables.models.c.seal).where(tables.models.c.id == model_id)
        ).scalar_one()
    )
    held = sum(row["open_rows"] or 0 for row in alive)
    return held > 0 and held >= rows and all((row["sealed"] or 0) >= asked for row in alive)


def seal(database: Database, model_id: str, *, most_seconds: float = MOST_SECONDS) -> None:
    """Request a seal; returns when every live replica has acknowledged it.

    A replica that is dead or does not answer is waited for at most `most_seconds`. Raises
    `ModelDeleted`.
    """
    with database.write() as connection:
        number = request_seal(connection, model_id)
    deadline = time.monotonic() + most_seconds
    while time.monotonic() < deadline:
        with database.read() as connection:
            if not unsealed_replicas(connection, model_id, number):
                return
        time.sleep(POLL_SECONDS)
