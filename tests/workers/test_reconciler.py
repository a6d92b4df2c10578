"""What was lost is rung for again, and the log is kept within its bounds."""

from __future__ import annotations

import time
from pathlib import Path

from memories import new_model, new_run, segment
from sqlalchemy import text

from acclimate.storage import catalog, runs
from acclimate.storage.database import Database
from acclimate.storage.segments import Segments
from acclimate.storage.store import Store
from workers import reconciler

DAY = 86_400.0


def test_a_queued_run_is_rung_for_until_somebody_takes_it_and_again_when_its_lease_has_expired(
    database: Database,
) -> None:
    model_id = new_model(database)
    rung: list[str] = []
    with database.write() as connection:
        run_id = new_run(connection, model_id)
    reconciler.ring_again(database, rung.append)
    assert rung == [run_id]
    with database.write() as connection:
        assert runs.claim(connection, run_id, owner="worker-0") is not None
    reconciler.ring_again(database, rung.append)
    assert rung == [run_id]
    with database.write() as connection:
        connection.execute(text("UPDATE runs SET lease_expires_at = 1"))
    reconciler.ring_again(database, rung.append)
    assert rung == [run_id, run_id]


def test_segments_older_than_the_log_keeps_are_deleted_from_store_and_catalog_and_younger_ones_stay(
    database: Database, tmp_path: Path
) -> None:
    model_id = new_model(database)
    store = Store(f"file://{tmp_path / 'store'}", tmp_path / "cache")
    old, young = (segment(model_id, logged_at=time.time() - days * DAY) for days in (8, 6))
    for line in (old, young):
        store.put_bytes(b"rows", line.key)
        with database.write() as connection:
            catalog.register(connection, line)
    reconciler.bound_logs(database, Segments(store))
    assert [store.exists(line.key) for line in (old, young)] == [False, True]
    with database.read() as connection:
        assert [row["id"] for row in catalog.all_segments(connection, model_id)] == [young.id]
        assert catalog.open_rows(connection, model_id) == young.rows
