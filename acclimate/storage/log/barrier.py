"""Starts runs: the barrier over all replicas first, then ONE transaction that closes the window and
inserts the run.
"""

from __future__ import annotations

import time

from sqlalchemy import Connection, RowMapping

from acclimate.storage.database import Database
from acclimate.storage.log import catalog
from acclimate.storage.registry import audit_log, idempotency, models, promotions, revisions, runs
from acclimate.storage.registry.idempotency import Once

MOST_SECONDS = 12.0
"""A replica that neither acknowledges nor misses its heartbeat for so long is not waited for; its
rows go to the next window.
"""
LOOK_SECONDS = 0.05


class WindowQuarantined(Exception):
    """A window that is quarantined is not learnt from until somebody releases it."""


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
        seal(database, model_id)
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
            data_digest=catalog.digest_of([window["digest"] for window in closed]),
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


def seal(database: Database, model_id: str, *, most_seconds: float = MOST_SECONDS) -> None:
    """Returns when every live replica has sealed and registered what it had logged, or has proved
    dead or stuck.

    After `most_seconds` at the latest. Raises `ModelDeleted`.
    """
    with database.write() as connection:
        number = catalog.request_seal(connection, model_id)
    deadline = time.monotonic() + most_seconds
    while time.monotonic() < deadline:
        with database.read() as connection:
            if not catalog.unsealed_replicas(connection, model_id, number):
                return
        time.sleep(LOOK_SECONDS)


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
        return [catalog.close_window(connection, model_id, closed_by=closed_by, needed=needed)]
    return [closed_window(connection, model_id, number) for number in numbers]


def closed_window(connection: Connection, model_id: str, number: int) -> RowMapping:
    """A window that may be learnt from again. Raises `UnknownWindow`, `WindowOpen`,
    `WindowQuarantined`.
    """
    window = catalog.window(connection, model_id, number)
    if window["state"] == "open":
        raise catalog.WindowOpen(f"window w-{window['number']} is still open")
    if window["state"] == "quarantined":
        raise WindowQuarantined(f"window w-{window['number']} is quarantined: release it first")
    return window
