"""Repairs: sends lost messages again, and deletes what is not needed any more."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import structlog

from acclimate.learning.spec import LogPolicy, stored
from acclimate.storage.database import Database
from acclimate.storage.log import catalog, erasure
from acclimate.storage.log.segments import SegmentDamaged, Segments
from acclimate.storage.registry import models
from acclimate.storage.registry.artifacts import Artifacts
from acclimate.storage.runs import idempotency, run_events, runs, stages
from acclimate.storage.runs.run_logs import RunLogs
from workers.live_answers import LastChecked

if TYPE_CHECKING:
    from sqlalchemy import Connection, RowMapping

log = structlog.get_logger()
HISTORY_DAYS = 30.0
"""How long events and log lines of a run are kept after its end; its row stays."""


def notify_waiting(database: Database, notify: Callable[[str], None]) -> None:
    """Send the message again for every run that is queued or whose lease has expired."""
    with database.read() as connection:
        waiting = runs.waiting(connection)
    for run_id in waiting:
        notify(run_id)


def bound_logs(database: Database, segments: Segments) -> None:
    """Delete each model's oldest segments until its log is within `keep_days` and `max_gib`."""
    with database.read() as connection:
        surplus = [
            segment
            for model in models.list_all(connection)
            for segment in _surplus(connection, model)
        ]
    for segment in surplus:
        segments.delete(segment["key"])
        with database.write() as connection:
            catalog.mark_deleted(connection, [segment["id"]])
        log.info("segment deleted, the log is bounded", segment=segment["id"], rows=segment["rows"])


def repeat_erasures(
    database: Database, segments: Segments, artifacts: Artifacts, seen: LastChecked
) -> None:
    """Erase again what a restored backup brought back of erased subjects; once in a process."""
    with database.read() as connection:
        known = [model["id"] for model in models.list_all(connection)]
    for model_id in known:
        tombstones = tuple(sorted(segments.tombstones(model_id).items()))
        if not tombstones or seen.unchanged(("erased", model_id), tombstones):
            continue
        try:
            erasure.clean_all(database, segments, artifacts, model_id)
        except SegmentDamaged as error:
            log.error(
                "rows of erased subjects may be in a damaged segment",
                model=model_id,
                error=str(error),
            )
        seen.note(("erased", model_id), tombstones)


def purge_runs(database: Database, artifacts: Artifacts, logs: RunLogs) -> None:
    """Delete outdated events, logs and idempotency keys, and stage results of ended runs."""
    with database.read() as connection:
        left = stages.left_over(connection)
        needed = {row["digest"] for row in left if stages.is_needed(connection, row["digest"])}
        outdated = [
            runs.get(connection, run_id)
            for run_id in run_events.outdated(connection, keep_days=HISTORY_DAYS)
        ]
    for row in left:
        if row["digest"] not in needed:
            artifacts.delete(row["digest"])
        with database.write() as connection:
            stages.delete_stage(connection, row["run_id"], row["stage"])
    for row in outdated:
        logs.delete(row["id"], row["attempt"])
        with database.write() as connection:
            run_events.delete_all(connection, row["id"])
    with database.write() as connection:
        idempotency.purge(connection)


def _surplus(connection: Connection, model: RowMapping) -> list[RowMapping]:
    """The segments beyond the bounds of the model's log."""
    policy = stored(LogPolicy, model["spec"]["log"])
    return catalog.surplus_segments(
        connection, model["id"], keep_days=policy.keep_days, max_bytes=policy.max_gib * 2**30
    )
