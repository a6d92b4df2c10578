"""When each periodic task last finished: shows that the scheduler or all workers are gone."""

from __future__ import annotations

from sqlalchemy import Connection, func, select, update

from acclimate.storage.database import now
from acclimate.storage.tables import periodic_tasks

MOST_SECONDS = {"trigger": 60.0, "reconcile": 300.0}
"""A task that finished longer ago is overdue: "trigger" is due every 2 s, "reconcile" every 5 s."""


def note_done(connection: Connection, name: str) -> None:
    """Record that the task has finished now."""
    connection.execute(
        update(periodic_tasks).where(periodic_tasks.c.name == name).values(done_at=now())
    )


def ages(connection: Connection) -> dict[str, float | None]:
    """Seconds since each task finished, by the database's clock; None: never.

    The absolute difference: the clock may have been set back.
    """
    age = func.abs(now() - periodic_tasks.c.done_at)
    return {
        name: seconds for name, seconds in connection.execute(select(periodic_tasks.c.name, age))
    }


def overdue(connection: Connection) -> dict[str, float | None]:
    """The tasks of `MOST_SECONDS` that finished longer ago than that, or never, with their ages."""
    known = ages(connection)
    found = {name: known.get(name) for name in MOST_SECONDS}
    return {
        name: seconds
        for name, seconds in found.items()
        if seconds is None or seconds > MOST_SECONDS[name]
    }
