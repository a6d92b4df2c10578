"""The Celery tasks: "run" works on a run, "reconcile" repairs, "trigger" watches and starts."""

from __future__ import annotations

from collections.abc import Callable

import structlog
from celery import Celery

from acclimate.settings import Settings
from acclimate.storage.database import Database
from acclimate.storage.log import copies
from acclimate.storage.log.segments import Segments
from acclimate.storage.registry import deletion, periodic_tasks
from acclimate.storage.registry.artifacts import Artifacts
from acclimate.storage.runs.run_logs import RunLogs
from acclimate.storage.store import Store
from workers import (
    metrics,
    pseudo_label_checks,
    reconciler,
    rollback_watch,
    run,
    serving_watch,
    triggers,
)
from workers.live_answers import LastChecked

log = structlog.get_logger()


def register(app: Celery, settings: Settings, *, owner: str, stopping: Callable[[], bool]) -> None:
    """Register the tasks with the application.

    Each task opens the database in its own process, after the fork. `owner` names this worker in
    claims; `stopping()` says whether it was told to stop.
    """
    checked_by_trigger, checked_by_reconcile = LastChecked(), LastChecked()

    def notify(run_id: str) -> None:
        app.send_task("run", args=[run_id], queue="train", retry=False)

    def work_on(run_id: str) -> None:
        with metrics.counted("run"):
            database = Database(settings.database_address)
            try:
                run.work(settings, database, str(run_id), owner=owner, stopping=stopping)
            finally:
                database.close()

    def reconcile() -> None:
        with metrics.counted("reconcile"):
            database = Database(settings.database_address)
            try:
                reconciler.notify_waiting(database, notify)
                store = Store(settings.store_address, settings.cache)
                reconciler.bound_logs(database, Segments(store))
                reconciler.repeat_erasures(
                    database, Segments(store), Artifacts(store), checked_by_reconcile
                )
                reconciler.purge_runs(database, Artifacts(store), RunLogs(store))
                pseudo_label_checks.forget_outdated(database, Artifacts(store))
                deletion.sweep(database, Segments(store), Artifacts(store), RunLogs(store))
                copies.purge(database, Segments(store), Artifacts(store))
                pseudo_label_checks.recount(database, Artifacts(store), checked_by_reconcile)
                note_done(database, "reconcile")
            finally:
                database.close()

    def trigger() -> None:
        with metrics.counted("trigger"):
            database = Database(settings.database_address)
            try:
                segments = Segments(Store(settings.store_address, settings.cache))
                try:
                    # First: starting a run may wait for a replica, and these must not.
                    rollback_watch.poll(database, segments, checked_by_trigger)
                    serving_watch.poll(settings, database, checked_by_trigger)
                finally:
                    triggers.start_due_runs(database, segments, checked_by_trigger, notify)
                note_done(database, "trigger")
            finally:
                database.close()

    for name, task in (("run", work_on), ("reconcile", reconcile), ("trigger", trigger)):
        app.task(name=name)(task)


def note_done(database: Database, task: str) -> None:
    """Record that the periodic task has finished."""
    with database.write() as connection:
        periodic_tasks.note_done(connection, task)
