"""Small models, versions, runs and segments for the tests of the memory's SQL side, and writers
that meet.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from sqlalchemy import Connection, text
from ulid import ULID

from acclimate.learning.spec import InputSpec, ModelSpec, NetworkSpec
from acclimate.storage.database import Database
from acclimate.storage.log import catalog
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
    """What the passing of time does to a run whose trainer is dead."""
    with database.write() as connection:
        connection.execute(
            text("UPDATE runs SET lease_expires_at = 1.0 WHERE id = :id"), {"id": run_id}
        )


def let_die(database: Database, replica: str, *, seconds: float) -> None:
    """The replica's last sign of life is so many seconds old."""
    with database.write() as connection:
        query = text(
            "UPDATE replicas SET heartbeat_at = heartbeat_at - :seconds WHERE replica = :replica"
        )
        connection.execute(query, {"seconds": seconds, "replica": replica})


def at_once(database: Database, deeds: list[Callable[[Connection], Any]]) -> list[Any]:
    """What each deed returned or raised, each in a thread and a transaction of its own, all started
    together.
    """
    start = threading.Barrier(len(deeds))

    def act(deed: Callable[[Connection], Any]) -> Any:
        start.wait(10)
        try:
            with database.write() as connection:
                return deed(connection)
        except Exception as error:
            return error

    with ThreadPoolExecutor(len(deeds)) as pool:
        return list(pool.map(act, deeds))
