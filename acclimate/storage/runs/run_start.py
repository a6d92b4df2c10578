"""Starts runs: first the barrier, then one transaction that closes a window and inserts the run."""

from __future__ import annotations

from sqlalchemy import Connection, RowMapping

from acclimate.storage.database import Database
from acclimate.storage.log import barrier
from acclimate.storage.log.windows import close, closed_window, digest_of
from acclimate.storage.registry import audit_log, models, promotions, revisions
from acclimate.storage.runs import idempotency, runs
from acclimate.storage.runs.idempotency import Once


class NothingServed(Exception):
    """The model has no version yet, so there is nothing that could teach."""


def start_run(
    database: Database,
    model_name: str,
    *,
    trigger: str,
    actor: str,
    reason: str | None = None,
    recipe: str | None = None,
    windows: list[int] | None = None,
    slot: float | None = None,
    once: Once | None = None,
) -> str:
    """The id of the new queued run; with `once`, of the one that the same request has started
    before.

    Every row acknowledged before this call by a live replica is in the run's window, unless
    `windows` names closed ones to learn from again. Takes as long as the slowest live replica needs
    to seal, at most 12 s. Raises `RunActive`, `NotEnoughRows` (the rows stay where they are),
    `UnknownModel`, `UnknownWindow`, `WindowOpen`, `WindowQuarantined`, `NothingServed`,
    `KeyReused`.
    """
    with database.read() as connection:
        model_id = models.named(connection, model_name)["id"]
        started = _started(connection, model_id, once)
    if started is not None:
        return started
    if windows is None:
        barrier.seal(database, model_id)
    with database.write() as connection:
        models.lock(connection, model_id)
        # Asked again under the lock: of two that come at the same moment one starts the run.
        started = _started(connection, model_id, once)
        if started is not None:
            return started
        policy_revision, policy = revisions.policy(connection, model_id)
        gates_revision, _ = revisions.gates(connection, model_id)
        champion = promotions.champion(connection, model_id)
        if champion is None:
            raise NothingServed(f"model {model_name!r} has no version yet")
        closed = _windows(
            connection, model_id, windows, closed_by=trigger, needed=policy.min_window_rows
        )
        run_id = runs.create(
            connection,
            model_id,
            trigger=trigger,
            reason=reason,
            recipe=recipe or policy.recipe,
            windows=[window["number"] for window in closed],
            rows=sum(window["rows"] for window in closed),
            data_digest=digest_of([window["digest"] for window in closed]),
            policy_revision=policy_revision,
            gates_revision=gates_revision,
            parent_version=champion.to_version,
            slot=slot,
        )
        if once is not None:
            idempotency.remember(connection, once, run_id)
        audit_log.write(
            connection,
            actor=actor,
            action="run.start",
            target=model_name,
            run=run_id,
            trigger=trigger,
        )
    return run_id


def _started(connection: Connection, model_id: str, once: Once | None) -> str | None:
    """The run that the same request has started. Raises `RunActive` where there is another."""
    started = None if once is None else idempotency.started_run(connection, once)
    active = runs.active(connection, model_id) if started is None else None
    if active is not None:
        raise runs.RunActive(active["id"])
    return started


def _windows(
    connection: Connection, model_id: str, numbers: list[int] | None, *, closed_by: str, needed: int
) -> list[RowMapping]:
    """The windows that a run learns from: the open one, closed now, or closed ones by their
    numbers.
    """
    if numbers is None:
        return [close(connection, model_id, closed_by=closed_by, needed=needed)]
    return [closed_window(connection, model_id, number) for number in numbers]
