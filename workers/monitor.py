"""Looks whether a trigger is due: enough rows, or a slot of the schedule."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from acclimate.learning import triggers
from acclimate.storage import catalog, registry, runs
from acclimate.storage.barrier import start_run
from acclimate.storage.catalog import NotEnoughRows
from acclimate.storage.database import Database, clock
from acclimate.storage.runs import RunActive

if TYPE_CHECKING:
    from sqlalchemy import Connection, RowMapping

log = structlog.get_logger()


@dataclass(frozen=True, kw_only=True)
class Due:
    """A model whose window should close now, and why."""

    model: str
    trigger: str
    slot: float | None = None


def start_due_runs(database: Database, ring: Callable[[str], None]) -> None:
    """Start a run for each model that is due; whoever else looks at the same time starts no second one."""
    with database.read() as connection:
        due = [found for row in registry.all_models(connection) if (found := _due(connection, row)) is not None]
    for found in due:
        try:
            run_id = start_run(database, found.model, trigger=found.trigger, actor="beat", slot=found.slot)
        except (RunActive, NotEnoughRows) as error:
            log.info("not started", model=found.model, trigger=found.trigger, why=str(error))
            continue
        log.info("run started", model=found.model, trigger=found.trigger, run=run_id)
        ring(run_id)


def _due(connection: Connection, model: RowMapping) -> Due | None:
    _, policy = registry.policy(connection, model["id"])
    if model["learning"] != "on" or policy.learnable == "no":
        return None
    if registry.champion(connection, model["id"]) is None or runs.active(connection, model["id"]) is not None:
        return None
    open_rows = catalog.open_rows(connection, model["id"])
    if open_rows < policy.min_window_rows:
        return None
    if triggers.rows_due(policy, open_rows):
        return Due(model=model["name"], trigger="rows")
    since = max(model["created_at"], runs.last_slot(connection, model["id"]) or 0.0)
    slot = triggers.due_slot(policy.schedule, since=since, now=clock(connection))
    return Due(model=model["name"], trigger="schedule", slot=slot) if slot is not None else None
