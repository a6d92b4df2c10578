"""What runs kept of the versions that could serve: how they compare, and who answers.

Every function works inside the caller's transaction.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import ColumnElement, Connection, select, true

from acclimate.learning.data import Json
from acclimate.storage.tables import runs

NEWEST_RUNS = 50
"""Newest runs among which the last comparison is looked for."""


def last_serving(connection: Connection, model_id: str, *, before: str | None) -> Json | None:
    """What the newest run, or the newest before this one, kept of who serves; None where none kept
    anything.
    """
    earlier = true() if before is None else runs.c.id < before
    kept = _kept(connection, runs.c.model_id == model_id, earlier)
    return next(iter(kept), None)


def last_compared(connection: Connection, model_id: str) -> Json | None:
    """What the newest ended run that compared versions kept; None where none did."""
    kept = _kept(connection, runs.c.model_id == model_id)
    return next((serving for serving in kept if serving["divergence"] is not None), None)


def _kept(connection: Connection, *where: ColumnElement[bool]) -> Sequence[Json]:
    """What ended runs kept of who serves, newest first."""
    query = select(runs.c.serving).where(*where, runs.c.ended_at.is_not(None))
    newest = query.order_by(runs.c.id.desc()).limit(NEWEST_RUNS)
    found = connection.execute(newest).scalars()
    return [serving for serving in found if serving is not None]
