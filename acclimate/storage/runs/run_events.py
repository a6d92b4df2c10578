"""The events of each run, in order and append-only, for clients that follow it over any replica.

An event is appended in the transaction that makes the change it reports, after that transaction has
changed the run's row: the row lock gives concurrent writers different sequence numbers.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, RowMapping, delete, func, insert, select

from acclimate.storage.database import now
from acclimate.storage.tables import run_events, runs

END = ("state", "promoted", "version", "evidence", "detail")
"""Columns of the run in its `end` event."""
PROGRESS_SECONDS = 1.0
"""Shortest time between two progress events; the run's row is updated more often."""


def append(connection: Connection, run_id: str, kind: str, content: dict[str, Any]) -> None:
    """Append the run's next event: `state`, `stage`, `progress`, `gate` or `end`."""
    newest = func.coalesce(func.max(run_events.c.sequence), 0)
    query = select(newest).where(run_events.c.run_id == run_id)
    sequence = int(connection.execute(query).scalar_one()) + 1
    statement = insert(run_events).values(
        run_id=run_id,
        sequence=sequence,
        kind=kind,
        content=content,
        at=now(),
    )
    connection.execute(statement)


def append_progress(connection: Connection, run_id: str, content: dict[str, Any]) -> None:
    """Append a progress event, unless the newest event is progress of less than a second ago."""
    age = (now() - run_events.c.at).label("age")
    query = (
        select(run_events.c.kind, age)
        .where(run_events.c.run_id == run_id)
        .order_by(run_events.c.sequence.desc())
        .limit(1)
    )
    newest = connection.execute(query).first()
    if newest is not None and newest.kind == "progress" and newest.age < PROGRESS_SECONDS:
        return
    append(connection, run_id, "progress", content)


def append_end(connection: Connection, run_id: str) -> None:
    """Append how the run ended: each gate, the state, and last `end`."""
    query = select(runs).where(runs.c.id == run_id)
    row = connection.execute(query).mappings().one()
    for gate in row["gates"] or ():
        append(connection, run_id, "gate", gate)
    state = {"state": row["state"], "attempt": row["attempt"]}
    append(connection, run_id, "state", state)
    end = {name: row[name] for name in END}
    append(connection, run_id, "end", end)


def after(
    connection: Connection, run_id: str, sequence: int, *, size: int = 500
) -> list[RowMapping]:
    """The run's events after the given sequence number, in order."""
    query = (
        select(run_events)
        .where(run_events.c.run_id == run_id)
        .where(run_events.c.sequence > sequence)
        .order_by(run_events.c.sequence)
        .limit(size)
    )
    return list(connection.execute(query).mappings())


def outdated(connection: Connection, *, keep_days: float, most: int = 100) -> list[str]:
    """Runs that ended more than `keep_days` ago and still have events."""
    oldest_kept = now() - keep_days * 86_400
    with_events = select(run_events.c.run_id)
    query = (
        select(runs.c.id)
        .where(runs.c.ended_at < oldest_kept)
        .where(runs.c.id.in_(with_events))
        .limit(most)
    )
    return list(connection.execute(query).scalars())


def delete_all(connection: Connection, run_id: str) -> None:
    """Delete the events of the run; its row stays."""
    connection.execute(delete(run_events).where(run_events.c.run_id == run_id))
