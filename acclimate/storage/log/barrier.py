"""The barrier over all replicas: each seals its open journal and acknowledges the number asked for.

Functions that take a connection work inside the caller's transaction.
"""

from __future__ import annotations

import time

from sqlalchemy import Connection, select, update

from acclimate.storage import tables
from acclimate.storage.database import Database
from acclimate.storage.registry import models, replicas

MOST_SECONDS = 12.0
"""A replica that neither acknowledges nor misses its heartbeat for so long is not waited for; its
rows go to the next window.
"""
POLL_SECONDS = 0.05


def request_seal(connection: Connection, model_id: str) -> int:
    """The number that every live replica acknowledges once all it has logged so far is sealed and
    registered.
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


def acknowledge_seal(connection: Connection, replica: str, model_id: str, number: int) -> None:
    replicas.note_sealed(connection, replica, model_id, number)


def unsealed_replicas(connection: Connection, model_id: str, number: int) -> list[str]:
    """Live replicas that have not yet acknowledged the seal."""
    return [
        row["replica"]
        for row in replicas.list_live(connection, model_id)
        if (row["sealed"] or 0) < number
    ]


def seal_is_due(connection: Connection, model_id: str, rows: float) -> bool:
    """Whether live replicas hold so many rows in their journals, and have sealed whatever they were
    last asked to.

    A replica that is stuck is therefore asked once.
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
    """Returns when every live replica has sealed and registered what it had logged, or has proved
    dead or stuck.

    After `most_seconds` at the latest. Raises `ModelDeleted`.
    """
    with database.write() as connection:
        number = request_seal(connection, model_id)
    deadline = time.monotonic() + most_seconds
    while time.monotonic() < deadline:
        with database.read() as connection:
            if not unsealed_replicas(connection, model_id, number):
                return
        time.sleep(POLL_SECONDS)
