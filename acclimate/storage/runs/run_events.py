"""The events of each run, in order and append-only, for clients that follow it over any replica.

An event is appended in the transaction that makes the change it reports, after that transaction has
changed the run's row: the row lock gives concurrent writers different sequence numbers.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, RowMapping, delete, func, insert, select

from acclimate.storage.database import now
from acclimate.storage.tables import run_events, runs

PROGRESS_SECONDS = 1.0
"""Shortest time between two progress events; the run's row is updated more often."""


def append(connection: Connection, run_id: str, kind: str, content: dict[str, Any]) -> None:
    """Append the run's next event: `state`, `stage`, `progress`, `gate` or `end`."""
    newest = select(func.coalesce(func.max(run_events.c.sequence), 0)).where(
        run_events.c.run_id == run_id
    )
    sequence = int(connection.execute(newest).scalar_one()) + 1
    values = {"run_id": run_id, "sequence": sequence, "kind": kind, "content": content}
    connection.execute(insert(run_events).values(**values, at=now()))


def append_progress(connection: Connection, run_id: str, content: dict[str, Any]) -> None:
    """Append a progress event, unless the newest event is progress of less than a second ago."""
    query = select(run_events.c.kind, (now() - run_events.c.at).label("age")).where(
        run_events.c.run_id == run_id
    )
    newest = connection.execute(query.order_by(run_events.c.sequence.desc()).limit(1)).first()
    if newest is None or newest.kind != "progress" or newest.age >= PROGRESS_SECONDS:
        append(connection, run_id, "progress", content)


def append_end(connection: Connection, run_id: str) -> None:
    """Append how the run ended: each gate, the state, and last `end`."""
    row = connection.execute(select(runs).where(runs.c.id == run_id)).mappings().one()
    for gate in row["gates"] or ():
        append(connection, run_id, "gate", gate)
    append(connection, run_id, "state", {"state": row["state"], "attempt": row["attempt"]})
    names = ("state", "promoted", "version", "evidence", "detail")
    append(connection, run_id, "end", {name: row[name] for name in names})


def after(
    connection: Connection, run_id: str, sequence: int, *, size: int = 500
) -> list[RowMapping]:
    """The run's events after the given sequence number, in order."""
    query = select(run_events).where(
        run_events.c.run_id == run_id, run_events.c.sequence > sequence
    )
    return list(connection.execute(query.order_by(run_events.c.sequence).limit(size)).mappings())


def outdated(connection: Connection, *, keep_days: float, most: int = 100) -> list[str]:
    """Runs that ended more than `keep_days` ago and still have events."""
    ended = (
        runs.c.ended_at < now() - keep_days * 86_400,
        runs.c.id.in_(select(run_events.c.run_id)),
    )
    return list(connection.execute(select(runs.c.id).where(*ended).limit(most)).scalars())


def delete_all(connection: Connection, run_id: str) -> None:
    """Delete the events of the run; its row stays."""
    connection.execute(delete(run_events).where(run_events.c.run_id == run_id))
