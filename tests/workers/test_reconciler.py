"""The reconciler sends lost messages again, and keeps the log within its bounds."""

from __future__ import annotations

import time

from sqlalchemy import text
from stored_models import new_model, new_run, segment, spec

from acclimate.storage.log import catalog, windows
from acclimate.storage.log.segments import Segments
from acclimate.storage.registry import models
from acclimate.storage.registry.artifacts import Artifacts
from acclimate.storage.runs import run_events, runs, stages
from acclimate.storage.runs.run_logs import RunLogs
from acclimate.storage.store import Store
from workers import reconciler

DAY = 86_400.0


def test_a_queued_run_is_notified_until_claimed_and_after_its_lease(database):
    model_id = new_model(database)
    notified: list[str] = []
    with database.write() as connection:
        run_id = new_run(connection, model_id)
    reconciler.notify_waiting(database, notified.append)
    assert notified == [run_id]
    with database.write() as connection:
        assert runs.claim(connection, run_id, owner="worker-0") is not None
    reconciler.notify_waiting(database, notified.append)
    assert notified == [run_id]
    with database.write() as connection:
        connection.execute(text("UPDATE runs SET lease_expires_at = 1"))
    reconciler.notify_waiting(database, notified.append)
    assert notified == [run_id, run_id]


def test_segments_older_than_the_retention_are_deleted(database, tmp_path):
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
        assert windows.open_rows(connection, model_id) == young.rows


def test_stage_results_of_ended_runs_are_deleted_unless_referred_to(database, tmp_path):
    store = Store(f"file://{tmp_path / 'store'}", tmp_path / "cache")
    artifacts, logs = Artifacts(store), RunLogs(store)
    kept = {name: artifacts.write({"stage": name}, {}) for name in ("seed", "ended", "going on")}
    with database.write() as connection:
        model_id = models.create(connection, spec(), seed_digest=kept["seed"], actor="test")
        ended = runs.claim(connection, new_run(connection, model_id), owner="worker-0")
        stages.finish(connection, ended, "train", kept["ended"])
        stages.finish(connection, ended, "judge", kept["seed"])
        runs.finish(connection, ended, state="failed")
        going_on = runs.claim(connection, new_run(connection, model_id), owner="worker-0")
        stages.finish(connection, going_on, "train", kept["going on"])
    reconciler.purge_runs(database, artifacts, logs)
    assert [artifacts.exists(kept[name]) for name in ("seed", "ended", "going on")] == [
        True,
        False,
        True,
    ]
    with database.read() as connection:
        assert stages.finished(connection, ended.run_id) == {}
        assert stages.finished(connection, going_on.run_id) == {"train": kept["going on"]}


def test_events_and_logs_of_runs_are_deleted_after_a_month(database, tmp_path):
    model_id = new_model(database)
    store = Store(f"file://{tmp_path / 'store'}", tmp_path / "cache")
    logs, ended = RunLogs(store), []
    for days in (31, 29):
        with database.write() as connection:
            held = runs.claim(connection, new_run(connection, model_id), owner="worker-0")
            runs.finish(connection, held, state="rejected")
            query = text("UPDATE runs SET ended_at = ended_at - :age WHERE id = :id")
            connection.execute(query, {"age": days * DAY, "id": held.run_id})
        logs.write(held.run_id, 1, b"line")
        ended.append(held.run_id)
    reconciler.purge_runs(database, Artifacts(store), logs)
    with database.read() as connection:
        assert [len(run_events.after(connection, run_id, 0)) > 0 for run_id in ended] == [
            False,
            True,
        ]
        assert [runs.get(connection, run_id)["state"] for run_id in ended] == ["rejected"] * 2
    assert [logs.read(run_id, 1) for run_id in ended] == [b"", b"line"]
