"""Starts runs that are due: enough rows, a schedule slot, or drift in the newest answers."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import structlog

from acclimate.learning import triggers
from acclimate.learning.evaluation.behaviour import Behaviour
from acclimate.learning.spec import Policy
from acclimate.storage.database import Database, clock
from acclimate.storage.log import barrier, catalog, windows
from acclimate.storage.log.segments import Segments
from acclimate.storage.log.windows import NotEnoughRows
from acclimate.storage.registry import models, promotions, revisions, versions
from acclimate.storage.registry.models import UnknownModel
from acclimate.storage.runs import runs
from acclimate.storage.runs.run_start import RunRequest, start_run
from acclimate.storage.runs.runs import RunActive
from workers.live_answers import SEAL_GROWTH, LastChecked, behaviour, segment_ids

if TYPE_CHECKING:
    from sqlalchemy import Connection, Row, RowMapping

log = structlog.get_logger()

NEWEST_ROWS = 500
"""Newest answers that are tested for drift; older ones of the open window would hide it."""
REMEMBERED_RUNS = 32
"""Newest runs that are read to find the last success."""


@dataclass(frozen=True, kw_only=True)
class DueRun:
    """A run that is due, and why. `slot` is the schedule slot, unix seconds."""

    model: str
    trigger: str
    slot: float | None = None
    reason: str | None = None


@dataclass(frozen=True, kw_only=True)
class DriftCheck:
    """A model whose newest answers are to be compared with `reference`.

    At least `needed` rows are compared; with `seal`, more rows are to be sealed first.
    """

    model: RowMapping
    champion: Row[Any]
    reference: Behaviour
    lines: list[RowMapping]
    needed: int
    seal: bool


def start_due_runs(
    database: Database, segments: Segments, seen: LastChecked, notify: Callable[[str], None]
) -> None:
    """Start a run for each model that is due; a concurrent call starts no second one."""
    due, checks = [], []
    with database.read() as connection:
        for model in models.list_all(connection):
            _, policy = revisions.policy(connection, model["id"])
            champion = promotions.champion(connection, model["id"])
            if champion is None or not _may_learn(connection, model, policy):
                continue
            found = _due(connection, model, policy)
            if found is not None:
                due.append(found)
                continue
            check = _drift_check(connection, model, policy, champion) if policy.on_drift else None
            if check is not None:
                checks.append(check)
    for check in checks:
        with suppress(UnknownModel):  # deleted since
            reason = _drift_reason(database, segments, seen, check)
            if reason is not None:
                due.append(DueRun(model=check.model["name"], trigger="drift", reason=reason))
    for found in due:
        _start(database, found, notify)


def _start(database: Database, due: DueRun, notify: Callable[[str], None]) -> None:
    """Start the run and send its message."""
    what = {"trigger": due.trigger, "slot": due.slot, "reason": due.reason}
    request = RunRequest(
        model=due.model, actor="beat", trigger=due.trigger, slot=due.slot, reason=due.reason
    )
    try:
        run_id = start_run(database, request)
    except (RunActive, NotEnoughRows, UnknownModel) as error:
        log.info("not started", model=due.model, why=str(error), **what)
        return
    log.info("run started", model=due.model, run=run_id, **what)
    notify(run_id)


def _may_learn(connection: Connection, model: RowMapping, policy: Policy) -> bool:
    """Whether the model learns, has no active run, and has enough rows."""
    if model["learning"] != "on" or policy.learnable == "no":
        return False
    if runs.active(connection, model["id"]) is not None:
        return False
    return windows.open_rows(connection, model["id"]) >= policy.min_window_rows


def _due(connection: Connection, model: RowMapping, policy: Policy) -> DueRun | None:
    """The run that enough rows or the schedule call for, if any."""
    if triggers.rows_due(policy, windows.open_rows(connection, model["id"])):
        return DueRun(model=model["name"], trigger="rows")
    now = clock(connection)
    # Times in the future were written before the clock was set back.
    known = (model["created_at"], runs.last_slot(connection, model["id"], until=now) or 0.0)
    since = max(at for at in (0.0, *known) if at <= now)
    slot = triggers.due_slot(policy.schedule, since=since, now=now)
    return DueRun(model=model["name"], trigger="schedule", slot=slot) if slot is not None else None


def _drift_check(
    connection: Connection, model: RowMapping, policy: Policy, champion: Row[Any]
) -> DriftCheck | None:
    """The drift check of the model.

    None during a cool-down, and where no reference is known.
    """
    if _is_cooling_down(connection, model):
        return None
    reference = _reference(connection, model, champion)
    if reference is None:
        return None
    lines = catalog.segments_of(connection, model["id"], None)
    sealed = sum(line["rows"] for line in lines)
    return DriftCheck(
        model=model,
        champion=champion,
        reference=reference,
        lines=sorted(lines, key=lambda line: line["last_logged_at"], reverse=True),
        needed=min(policy.min_window_rows, NEWEST_ROWS),
        seal=barrier.seal_is_due(
            connection, model["id"], max(policy.min_window_rows, SEAL_GROWTH * sealed)
        ),
    )


def _is_cooling_down(connection: Connection, model: RowMapping) -> bool:
    """Whether the last runs that drift started taught nothing, and the cool-down goes on.

    Runs of other triggers neither wait for a cool-down nor cause one.
    """
    fruitless = []
    for run in runs.page(connection, model_id=model["id"], size=REMEMBERED_RUNS):
        if run["state"] == "succeeded":
            break
        if run["trigger"] == "drift" and run["ended_at"] is not None:
            fruitless.append(run["ended_at"])
    # An end in the future was written before the clock was set back, and does not count.
    return bool(fruitless) and 0 <= clock(connection) - fruitless[0] < triggers.cool_down_seconds(
        len(fruitless)
    )


def _reference(connection: Connection, model: RowMapping, champion: Row[Any]) -> Behaviour | None:
    """The champion's answers in the last good window that it served, else on the held-out rows."""
    version = champion.to_version
    for window in reversed(windows.list_all(connection, model["id"])):
        served = (window["estimate"] or {}).get("served")
        if (
            window["state"] in ("closed", "released")
            and served is not None
            and served["version"] == version
        ):
            return Behaviour.from_json(served["answers"])
    expected = versions.get(connection, model["id"], version)["expected"] or {}
    return Behaviour.from_json(expected["student"]) if expected.get("student") else None


def _drift_reason(
    database: Database, segments: Segments, seen: LastChecked, check: DriftCheck
) -> str | None:
    """Why the newest sealed answers call for a run, as a sentence; None where they do not."""
    model_id, champion = check.model["id"], check.champion
    if check.seal:
        with database.write() as connection:
            barrier.request_seal(connection, model_id)
    state = (champion.epoch, check.reference, segment_ids(check.lines))
    if seen.unchanged(("drift", model_id), state):
        return None
    newest = behaviour(segments, check.lines, version=champion.to_version, most=NEWEST_ROWS)
    reason = None
    if newest is not None and newest.rows >= check.needed:
        reason = triggers.drift_due(check.reference, newest)
    log.debug(
        "looked for drift",
        model=check.model["name"],
        rows=newest.rows if newest else 0,
        found=reason,
    )
    if reason is None:
        seen.note(("drift", model_id), state)
    return reason
