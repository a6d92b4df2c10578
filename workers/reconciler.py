"""Puts right what was lost: runs that nobody works on are rung for again, the log is kept within its bounds."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import structlog

from acclimate.learning.values import LogPolicy
from acclimate.storage import catalog, registry, runs
from acclimate.storage.database import Database
from acclimate.storage.segments import Segments

if TYPE_CHECKING:
    from sqlalchemy import Connection, RowMapping

log = structlog.get_logger()


def ring_again(database: Database, ring: Callable[[str], None]) -> None:
    """Ring for every run that is queued, or whose lease has expired."""
    with database.read() as connection:
        waiting = runs.waiting(connection)
    for run_id in waiting:
        ring(run_id)


def bound_logs(database: Database, segments: Segments) -> None:
    """Delete the oldest segments of each model until its log keeps to `keep_days` and `max_gib`."""
    with database.read() as connection:
        surplus = [segment for model in registry.all_models(connection) for segment in _surplus(connection, model)]
    for segment in surplus:
        segments.delete(segment["key"])
        with database.write() as connection:
            catalog.mark_deleted(connection, [segment["id"]])
        log.info("segment deleted, the log is bounded", segment=segment["id"], rows=segment["rows"])


def _surplus(connection: Connection, model: RowMapping) -> list[RowMapping]:
    policy = LogPolicy(**model["spec"]["log"])
    return catalog.surplus_segments(
        connection, model["id"], keep_days=policy.keep_days, max_bytes=policy.max_gib * 2**30
    )
