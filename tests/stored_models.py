"""Small models, versions, runs and segments in a database, and concurrent writers."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from sqlalchemy import Connection, text
from ulid import ULID

from acclimate.learning.spec import InputSpec, ModelSpec, NetworkSpec
from acclimate.storage.database import Database
from acclimate.storage.log import catalog, windows
from acclimate.storage.log.catalog import SegmentLine
from acclimate.storage.registry import models, promotions, versions
from acclimate.storage.runs import runs

DIGEST = "sha256:" + "0" * 64
T0 = 1_800_000_000.0


def spec(name: str = "gas") -> ModelSpec:
    return ModelSpec(
        name=name,
        network=NetworkSpec(network="mlp"),
        input=InputSpec(kind="vector", shape=(2,), classes=("a", "b")),
        seed_path=None,
    )


def new_model(database: Database, name: str = "gas") -> str:
    """The id of a new model without a version."""
    with database.write() as connection:
        return models.create(connection, spec(name), seed_digest=DIGEST, actor="test")


def new_run(connection: Connection, model_id: str, **changes: Any) -> str:
    values: dict[str, Any] = {
        "trigger": "operator",
        "reason": None,
        "recipe": "self_training",
        "windows": [],
    }
    values |= {
        "rows": None,
        "data_digest": None,
        "policy_revision": 1,
        "gates_revision": 1,
        "parent_version": None,
    }
    return runs.create(connection, model_id, runs.NewRun(**values | changes))


def new_version(connection: Connection, model_id: str, *, promoted: bool = True) -> int:
    """The number of a version that an ended run made, champion when it passed its gates."""
    run_id = new_run(connection, model_id)
    claim = runs.claim(connection, run_id, owner="worker-0")
    assert claim is not None
    number = versions.add(
        connection,
        model_id,
        versions.NewVersion(
            digest=DIGEST,
            promoted=promoted,
            parent=None,
            run_id=run_id,
            gates=[],
            evidence="label_free",
        ),
    )
    if promoted:
        kind = "promote" if promotions.champion(connection, model_id) else "first"
        promotions.promote(
            connection,
            model_id,
            number,
            kind=kind,
            actor="worker",
            reason=None,
            run_id=run_id,
            evidence="label_free",
        )
    runs.finish(
        connection,
        claim,
        state="succeeded" if promoted else "rejected",
        results=runs.RunResults(version=number, promoted=promoted),
    )
    return number


def segment(
    model_id: str, *, rows: int = 100, size: int = 1000, logged_at: float = T0
) -> SegmentLine:
    id = str(ULID())
    return SegmentLine(
        id=id,
        model_id=model_id,
        replica="api-0",
        key=f"segments/{id}.arrow",
        digest=DIGEST,
        rows=rows,
        bytes=size,
        first_logged_at=logged_at,
        last_logged_at=logged_at,
    )


def log_segment(database: Database, model_id: str, **values: Any) -> SegmentLine:
    line = segment(model_id, **values)
    with database.write() as connection:
        assert catalog.register(connection, line)
    return line


def expire_lease(database: Database, run_id: str) -> None:
    """Expire the lease of a run, as time does after its trainer died."""
    with database.write() as connection:
        connection.execute(
            text("UPDATE runs SET lease_expires_at = 1.0 WHERE id = :id"), {"id": run_id}
        )


def let_die(database: Database, replica: str, *, seconds: float) -> None:
    """Make the replica's last heartbeat so many seconds old."""
    with database.write() as connection:
        query = text(
            "UPDATE replicas SET heartbeat_at = heartbeat_at - :seconds WHERE replica = :replica"
        )
        connection.execute(query, {"seconds": seconds, "replica": replica})


def at_once(database: Database, functions: list[Callable[[Connection], Any]]) -> list[Any]:
    """Call each function in a thread and transaction of its own, started together.

    Returns what each returned or raised.
    """
    start = threading.Barrier(len(functions))

    def act(function: Callable[[Connection], Any]) -> Any:
        start.wait(10)
        try:
            with database.write() as connection:
                return function(connection)
        except Exception as error:
            return error

    with ThreadPoolExecutor(len(functions)) as pool:
        return list(pool.map(act, functions))


def close_window(database: Database, model_id: str, needed: int = 1) -> int:
    """Close the open window; returns its number."""
    with database.write() as connection:
        models.lock(connection, model_id)
        return windows.close(connection, model_id, closed_by="operator", needed=needed)["number"]


def queue_run(database: Database, model_id: str, **changes: Any) -> str:
    """The id of a new queued run."""
    with database.write() as connection:
        models.lock(connection, model_id)
        return new_run(connection, model_id, **changes)


def claim_run(database: Database, run_id: str, owner: str = "worker-0") -> runs.Claim | None:
    """Claim the run for this owner."""
    with database.write() as connection:
        return runs.claim(connection, run_id, owner=owner)


def run_row(database: Database, run_id: str) -> dict[str, Any]:
    """The run's row."""
    with database.read() as connection:
        return dict(runs.get(connection, run_id))
