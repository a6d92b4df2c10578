"""When the periodic tasks were last done: beat or worker may be gone while all else goes on, and
nothing else would tell.
"""

from __future__ import annotations

from sqlalchemy import Connection, func, select, update

from acclimate.storage.database import now
from acclimate.storage.tables import periodic_tasks

MOST_SECONDS = {"trigger": 60.0, "reconcile": 300.0}
"""Longer ago than that, nobody does the task any more: it is rung for every two seconds, every
five.
"""


def note_done(connection: Connection, name: str) -> None:
    """The task has come to its end just now."""
    connection.execute(
        update(periodic_tasks).where(periodic_tasks.c.name == name).values(done_at=now())
    )


def ages(connection: Connection) -> dict[str, float | None]:
    """Seconds since each task was done, by the database's clock, which may have been set either
    way; None for never.
    """
    age = func.abs(now() - periodic_tasks.c.done_at)
    return {
        name: seconds for name, seconds in connection.execute(select(periodic_tasks.c.name, age))
    }


def overdue(connection: Connection) -> dict[str, float | None]:
    """Those of `MOST_SECONDS` that were done longer ago than that, or never: with their `ages`."""
    known = ages(connection)
    found = {name: known.get(name) for name in MOST_SECONDS}
    return {
        name: seconds
        for name, seconds in found.items()
        if seconds is None or seconds > MOST_SECONDS[name]
    }
