"""Starting a run: the barrier, then one transaction that closes the window and inserts the run."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, RowMapping

from acclimate.storage.database import Database
from acclimate.storage.log import barrier, windows
from acclimate.storage.registry import audit_log, models, promotions, revisions
from acclimate.storage.runs import idempotency, runs
from acclimate.storage.runs.idempotency import IdempotentRequest
from acclimate.storage.runs.runs import NewRun


class NothingServed(Exception):
    """The model has no version yet, so there are no teachers."""


@dataclass(frozen=True, kw_only=True)
class RunRequest:
    """Who asks for a run of a model, and why.

    `windows` are the numbers of closed windows to learn from again; None closes the open one.
    `slot` is the schedule slot, unix seconds. A request with the same `once` starts one run.
    """

    model: str
    trigger: str
    actor: str
    reason: str | None = None
    recipe: str | None = None
    windows: list[int] | None = None
    slot: float | None = None
    once: IdempotentRequest | None = None


def start_run(database: Database, request: RunRequest) -> str:
    """The id of the new queued run; with `once`, of the run that the same request started before.

    Every row acknowledged before this call by a live replica is in the run's window, unless the
    request names closed ones. Takes as long as the slowest live replica needs to seal, at most
    12 s. Raises `RunActive`, `NotEnoughRows` (the rows stay where they are), `UnknownModel`,
    `UnknownWindow`, `WindowOpen`, `WindowQuarantined`, `NothingServed`, `KeyReused`.
    """
    with database.read() as connection:
        model_id = models.named(connection, request.model)["id"]
        started = _started(connection, model_id, request.once)
    if started is not None:
        return started
    if request.windows is None:
        barrier.seal(database, model_id)
    with database.write() as connection:
        models.lock(connection, model_id)
        # Asked again under the lock: of two simultaneous requests, one starts the run.
        started = _started(connection, model_id, request.once)
        if started is not None:
            return started
        run_id = runs.create(connection, model_id, _new_run(connection, model_id, request))
        if request.once is not None:
            idempotency.remember(connection, request.once, run_id)
        audit_log.write(
            connection,
            actor=request.actor,
            action="run.start",
            target=request.model,
            content={"run": run_id, "trigger": request.trigger},
        )
    return run_id


def _new_run(connection: Connection, model_id: str, request: RunRequest) -> NewRun:
    """The run of this request, over the windows that it names, or over the open one, closed now."""
    policy_revision, policy = revisions.policy(connection, model_id)
    gates_revision, _ = revisions.gates(connection, model_id)
    learner = promotions.learner(connection, model_id)
    if learner is None:
        raise NothingServed(f"model {request.model!r} has no version yet")
    needed = policy.min_window_rows
    closed = _windows(
        connection, model_id, request.windows, closed_by=request.trigger, needed=needed
    )
    return NewRun(
        trigger=request.trigger,
        reason=request.reason,
        recipe=request.recipe or policy.recipe,
        windows=[window["number"] for window in closed],
        rows=sum(window["rows"] for window in closed),
        data_digest=windows.digest_of([window["digest"] for window in closed]),
        policy_revision=policy_revision,
        gates_revision=gates_revision,
        parent_version=learner,
        slot=request.slot,
    )


def _started(connection: Connection, model_id: str, once: IdempotentRequest | None) -> str | None:
    """The run that the same request started before, if any. Raises `RunActive` for another one."""
    started = None if once is None else idempotency.started_run(connection, once)
    active = runs.active(connection, model_id) if started is None else None
    if active is not None:
        raise runs.RunActive(active["id"])
    return started


def _windows(
    connection: Connection, model_id: str, numbers: list[int] | None, *, closed_by: str, needed: int
) -> list[RowMapping]:
    """The windows that a run learns from: the open one, closed now, or the closed ones named."""
    if numbers is None:
        return [windows.close(connection, model_id, closed_by=closed_by, needed=needed)]
    return [windows.closed_window(connection, model_id, number) for number in numbers]
