"""What became of each run, in order and append-only, for whoever follows it over any replica.

An event is written in the transaction that does what it tells, after that transaction has changed
the run's row: the lock on the row is what gives two writers different sequences.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, RowMapping, delete, func, insert, select

from acclimate.storage.database import now
from acclimate.storage.tables import run_events, runs

PROGRESS_SECONDS = 1.0
"""Progress is told at most so often; the run's row has it more finely."""


def append(connection: Connection, run_id: str, kind: str, content: dict[str, Any]) -> None:
    """The next event of the run: `state`, `stage`, `progress`, `gate` or `end`."""
    newest = select(func.coalesce(func.max(run_events.c.sequence), 0)).where(
        run_events.c.run_id == run_id
    )
    sequence = int(connection.execute(newest).scalar_one()) + 1
    values = {"run_id": run_id, "sequence": sequence, "kind": kind, "content": content}
    connection.execute(insert(run_events).values(**values, at=now()))


def append_progress(connection: Connection, run_id: str, content: dict[str, Any]) -> None:
    """The same for progress, unless the newest event is progress of less than a second ago."""
    query = select(run_events.c.kind, (now() - run_events.c.at).label("age")).where(
        run_events.c.run_id == run_id
    )
    newest = connection.execute(query.order_by(run_events.c.sequence.desc()).limit(1)).first()
    if newest is None or newest.kind != "progress" or newest.age >= PROGRESS_SECONDS:
        append(connection, run_id, "progress", content)


def append_end(connection: Connection, run_id: str) -> None:
    """How the run ended: each gate, the state, and last `end`, after which nothing follows."""
    row = connection.execute(select(runs).where(runs.c.id == run_id)).mappings().one()
    for gate in row["gates"] or ():
        append(connection, run_id, "gate", gate)
    append(connection, run_id, "state", {"state": row["state"], "attempt": row["attempt"]})
    names = ("state", "promoted", "version", "evidence", "detail")
    append(connection, run_id, "end", {name: row[name] for name in names})


def after(
    connection: Connection, run_id: str, sequence: int, *, size: int = 500
) -> list[RowMapping]:
    """The run's events above the given sequence, in order."""
    query = select(run_events).where(
        run_events.c.run_id == run_id, run_events.c.sequence > sequence
    )
    return list(connection.execute(query.order_by(run_events.c.sequence).limit(size)).mappings())


def outdated(connection: Connection, *, keep_days: float, most: int = 100) -> list[str]:
    """Runs that ended longer ago than that and still have events."""
    ended = (
        runs.c.ended_at < now() - keep_days * 86_400,
        runs.c.id.in_(select(run_events.c.run_id)),
    )
    return list(connection.execute(select(runs.c.id).where(*ended).limit(most)).scalars())


def delete_all(connection: Connection, run_id: str) -> None:
    """The run's row keeps what came of it; the way there is gone."""
    connection.execute(delete(run_events).where(run_events.c.run_id == run_id))
