"""Runs: rows in a table, worked on under leases.

A run is claimed by a conditional update that raises its fencing token and grants a lease. Every
later write names that token and changes nothing unless it is the newest, so duplicate, lost and
late messages are harmless. Every change is appended to the run's events in the same transaction.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import Connection, RowMapping, func, insert, not_, or_, select, update
from ulid import ULID

from acclimate.learning.data import Json
from acclimate.storage.database import now
from acclimate.storage.runs import run_events
from acclimate.storage.tables import ACTIVE, models, promotions, runs

MOST_ATTEMPTS = 3
CANCELLED = "cancelled by an operator"
STARTING_SECONDS = 90.0
"""The first lease of an attempt: a trainer process takes a while to start."""
SET_BACK_SECONDS = 10.0
"""A heartbeat further in the future was written before the database's clock was set back."""


class RunActive(Exception):
    """The model has a run that has not ended; `run_id` names it."""

    def __init__(self, run_id: str) -> None:
        super().__init__(f"run {run_id} has not ended")
        self.run_id = run_id


class UnknownRun(LookupError):
    """No run has this id."""


class RunEnded(Exception):
    """The run has ended: it cannot be cancelled."""


class RunCancelled(Exception):
    """The run was cancelled before it ended: it can only end as cancelled."""


class LeaseLost(Exception):
    """The run has a newer claim or has ended: the holder of this token must not write."""


@dataclass(frozen=True, kw_only=True)
class Claim:
    """The right to work on a run until its lease expires; `token` is the fencing token."""

    run_id: str
    token: int
    attempt: int


@dataclass(frozen=True, kw_only=True)
class NewRun:
    """What a run is to do: the windows it learns from, and the rules that it obeys.

    `slot` is the schedule slot that started it, unix seconds; `parent_version` is None for the run
    that makes version 1.
    """

    trigger: str
    reason: str | None
    recipe: str
    windows: list[int]
    rows: int | None
    data_digest: str | None
    policy_revision: int
    gates_revision: int
    parent_version: int | None
    slot: float | None = None


@dataclass(frozen=True, kw_only=True)
class RunResults:
    """What a run found; a field that is None leaves its column as it is."""

    version: int | None = None
    promoted: bool | None = None
    evidence: str | None = None
    detail: str | None = None
    drift: Json | None = None
    gates: list[Json] | None = None
    serving: Json | None = None
    rows: int | None = None
    rows_pseudo_labelled: int | None = None
    rows_labelled: int | None = None
    rows_taught: int | None = None
    refused: dict[str, int] | None = None
    pseudo_labels: str | None = None
    config_digest: str | None = None

    @property
    def columns(self) -> dict[str, Any]:
        """The columns to write, by name."""
        return {name: value for name, value in asdict(self).items() if value is not None}


NOTHING = RunResults()
"""No results."""


def create(connection: Connection, model_id: str, run: NewRun) -> str:
    """The id of the new queued run. Call under `models.lock`. Raises `RunActive`."""
    active_run = active(connection, model_id)
    if active_run is not None:
        raise RunActive(active_run["id"])
    run_id = str(ULID())
    connection.execute(
        insert(runs).values(
            id=run_id,
            model_id=model_id,
            state="queued",
            stage="snapshot",
            created_at=now(),
            **asdict(run),
        )
    )
    run_events.append(connection, run_id, "state", {"state": "queued", "attempt": 0})
    return run_id


def active(connection: Connection, model_id: str) -> RowMapping | None:
    """The run of the model that has not ended, if any."""
    query = select(runs).where(runs.c.model_id == model_id, runs.c.state.in_(ACTIVE))
    return connection.execute(query).mappings().first()


def get(connection: Connection, run_id: str) -> RowMapping:
    """One run, with its model's name and `served_at`. Raises `UnknownRun`."""
    row = connection.execute(_with_model().where(runs.c.id == run_id)).mappings().first()
    if row is None:
        raise UnknownRun(run_id)
    return row


def page(
    connection: Connection,
    *,
    model_id: str | None = None,
    state: str | None = None,
    before: str | None = None,
    size: int = 50,
) -> list[RowMapping]:
    """Runs, newest first, at most `size`; with `before`, those with a lower id."""
    query = _with_model().order_by(runs.c.id.desc()).limit(size)
    if model_id is not None:
        query = query.where(runs.c.model_id == model_id)
    if state is not None:
        query = query.where(runs.c.state == state)
    if before is not None:
        query = query.where(runs.c.id < before)
    return list(connection.execute(query).mappings())


def last_slot(connection: Connection, model_id: str, *, until: float) -> float | None:
    """The newest schedule slot, at most `until`, that started a run; both in unix seconds.

    A later slot was written before the clock was set back.
    """
    where = (runs.c.model_id == model_id, runs.c.slot <= until)
    return connection.execute(select(func.max(runs.c.slot)).where(*where)).scalar()


def waiting(connection: Connection) -> list[str]:
    """The ids of runs without a worker: queued, or with an expired lease. Oldest first."""
    query = select(runs.c.id).where(_has_no_worker()).order_by(runs.c.created_at)
    return list(connection.execute(query).scalars())


def oldest_waiting_seconds(connection: Connection) -> float:
    """Age of the oldest queued run in seconds; 0 when none is queued."""
    query = select(now() - func.min(runs.c.created_at)).where(runs.c.state == "queued")
    return float(connection.execute(query).scalar() or 0.0)


def owned(connection: Connection, owner: str) -> int:
    """The number of runs that this owner holds a valid lease on."""
    query = select(func.count()).where(
        runs.c.owner == owner, runs.c.state.in_(("running", "cancelling")), not_(_expired())
    )
    return int(connection.execute(query).scalar_one())


def claim(connection: Connection, run_id: str, *, owner: str) -> Claim | None:
    """Claim the run for this owner; None when it has ended or another owner has it.

    A run that has used up its attempts ends as failed, one that was cancelled as cancelled: also
    None.
    """
    free = (runs.c.id == run_id) & _has_no_worker()
    exhausted = {
        "state": "failed",
        "ended_at": now(),
        "detail": f"none of {MOST_ATTEMPTS} attempts finished",
    }
    exhausted_runs = (
        update(runs)
        .where(free, runs.c.state != "cancelling", runs.c.attempt >= MOST_ATTEMPTS)
        .values(**exhausted, token=runs.c.token + 1)
    )
    ended = {
        "state": "cancelled",
        "ended_at": now(),
        "detail": CANCELLED,
        "token": runs.c.token + 1,
    }
    cancelled = update(runs).where(free, runs.c.state == "cancelling").values(**ended)
    if connection.execute(exhausted_runs).rowcount or connection.execute(cancelled).rowcount:
        run_events.append_end(connection, run_id)
        return None
    row = connection.execute(
        update(runs)
        .where(free)
        .values(
            state="running",
            stage="snapshot",
            owner=owner,
            token=runs.c.token + 1,
            attempt=runs.c.attempt + 1,
            progress=None,
            started_at=func.coalesce(runs.c.started_at, now()),
            heartbeat_at=now(),
            lease_expires_at=now() + STARTING_SECONDS,
        )
        .returning(runs.c.token, runs.c.attempt)
    ).first()
    if row is None:
        return None
    run_events.append(connection, run_id, "state", {"state": "running", "attempt": row.attempt})
    return Claim(run_id=run_id, token=row.token, attempt=row.attempt)


def enter_stage(connection: Connection, claim: Claim, stage: str, *, lease_seconds: float) -> str:
    """Record that the run begins this stage, with a heartbeat; its state. Raises `LeaseLost`."""
    state = heartbeat(connection, claim, stage=stage, progress=None, lease_seconds=lease_seconds)
    run_events.append(connection, claim.run_id, "stage", {"stage": stage, "attempt": claim.attempt})
    return state


def heartbeat(
    connection: Connection,
    claim: Claim,
    *,
    stage: str,
    progress: dict[str, Any] | None,
    lease_seconds: float,
) -> str:
    """Renew the lease, with the run's stage and progress; the run's state. Raises `LeaseLost`."""
    values = {
        "stage": stage,
        "progress": progress,
        "heartbeat_at": now(),
        "lease_expires_at": now() + lease_seconds,
    }
    row = connection.execute(
        update(runs).where(*_held(claim)).values(**values).returning(runs.c.state)
    ).first()
    if row is None:
        raise LeaseLost(claim.run_id)
    if progress is not None:
        run_events.append_progress(connection, claim.run_id, {"stage": stage, **progress})
    return str(row.state)


def finish(
    connection: Connection, claim: Claim, *, state: str, results: RunResults = NOTHING
) -> None:
    """End the run with its results. Raises `LeaseLost` and `RunCancelled`; nothing changes then.

    A run that was cancelled can only end as `cancelled`: of cancelling and ending, the first to
    commit holds.
    """
    values = {
        "state": state,
        "ended_at": now(),
        "heartbeat_at": now(),
        "lease_expires_at": None,
        **results.columns,
    }
    not_cancelled = () if state == "cancelled" else (runs.c.state == "running",)
    if (
        connection.execute(
            update(runs).where(*_held(claim), *not_cancelled).values(**values)
        ).rowcount
        == 0
    ):
        lock_claim(connection, claim)
        raise RunCancelled(claim.run_id)
    run_events.append_end(connection, claim.run_id)


def lock_claim(connection: Connection, claim: Claim) -> None:
    """Lock the run's row until the transaction ends, if the claim holds it. Raises `LeaseLost`."""
    if connection.execute(select(runs.c.id).where(*_held(claim)).with_for_update()).first() is None:
        raise LeaseLost(claim.run_id)


def overdue_seconds(connection: Connection, claim: Claim) -> float:
    """Seconds since the claim's lease expired, negative before.

    Infinite when the run has ended or has a newer claim.
    """
    found = connection.execute(
        select(now() - runs.c.lease_expires_at).where(*_held(claim))
    ).scalar()
    return math.inf if found is None else float(found)


def note(connection: Connection, claim: Claim, results: RunResults) -> None:
    """Write the results of a stage into the run's row. Raises `LeaseLost`."""
    if (
        connection.execute(update(runs).where(*_held(claim)).values(**results.columns)).rowcount
        == 0
    ):
        raise LeaseLost(claim.run_id)


def release(connection: Connection, claim: Claim) -> None:
    """Expire the claim's lease now, since its trainer is dead, if the claim is the newest."""
    connection.execute(update(runs).where(*_held(claim)).values(lease_expires_at=now() - 1.0))


def cancel(connection: Connection, run_id: str) -> None:
    """Cancel the run: at once when it has no worker, else at its next heartbeat.

    Raises `UnknownRun`, `RunEnded`.
    """
    free = {"state": "cancelled", "ended_at": now(), "detail": CANCELLED, "token": runs.c.token + 1}
    if connection.execute(
        update(runs).where(runs.c.id == run_id, _has_no_worker()).values(**free)
    ).rowcount:
        run_events.append_end(connection, run_id)
        return
    cancelling = (
        update(runs)
        .where(runs.c.id == run_id, runs.c.state == "running")
        .values(state="cancelling")
    )
    row = connection.execute(cancelling.returning(runs.c.attempt)).first()
    if row is not None:
        run_events.append(
            connection, run_id, "state", {"state": "cancelling", "attempt": row.attempt}
        )
    elif (state := get(connection, run_id)["state"]) != "cancelling":
        raise RunEnded(state)


def _has_no_worker() -> Any:
    """The condition that a run is queued or its lease has expired."""
    return or_(runs.c.state == "queued", runs.c.state.in_(("running", "cancelling")) & _expired())


def _expired() -> Any:
    """The condition that a lease has expired, or is from before the database's clock was set back.

    A live trainer soon writes a new heartbeat; a dead one's lease would last for hours.
    """
    return or_(runs.c.lease_expires_at < now(), runs.c.heartbeat_at > now() + SET_BACK_SECONDS)


def _held(claim: Claim) -> tuple[Any, ...]:
    """The conditions that a run is this claim's and has not ended."""
    return (
        runs.c.id == claim.run_id,
        runs.c.token == claim.token,
        runs.c.state.in_(("running", "cancelling")),
    )


def _with_model() -> Any:
    """The query for runs with their model's name and `served_at`."""
    served = (
        select(func.min(promotions.c.served_at))
        .where(promotions.c.run_id == runs.c.id)
        .scalar_subquery()
    )
    joined = runs.join(models, models.c.id == runs.c.model_id)
    return select(runs, models.c.name.label("model"), served.label("served_at")).select_from(joined)
