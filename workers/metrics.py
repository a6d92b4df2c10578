"""The worker's metrics, exact over its forked processes (prometheus_client's multiprocess mode)."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from acclimate.settings import Settings, share_metrics_in
from acclimate.storage.database import Database, Unavailable
from acclimate.storage.runs import runs


def prepare(folder: Path) -> None:
    """Empty the folder of the counts. Call before any metric is used."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    share_metrics_in(folder)


@contextmanager
def counted(task: str) -> Iterator[None]:
    """Count the task by its outcome."""
    try:
        yield
    except BaseException:
        _tasks().labels(task, "failed").inc()
        raise
    _tasks().labels(task, "done").inc()


def serve(settings: Settings) -> None:
    """Serve /metrics on the worker's port, from a thread of the Celery parent."""
    from prometheus_client import CollectorRegistry, start_http_server
    from prometheus_client.core import GaugeMetricFamily
    from prometheus_client.multiprocess import MultiProcessCollector

    class Queue:
        def collect(self) -> Iterator[Any]:
            database = Database(settings.database_address)
            try:
                with database.read() as connection:
                    age = runs.oldest_waiting_seconds(connection)
            except Unavailable:
                return
            finally:
                database.close()
            yield GaugeMetricFamily(
                "acclimate_queue_oldest_task_age_seconds",
                "Age of the oldest run that nobody has taken.",
                age,
            )

    registry = CollectorRegistry()
    MultiProcessCollector(registry)  # type: ignore[no-untyped-call]  # has no types
    registry.register(Queue())
    start_http_server(settings.worker_metrics_port or 0, addr=settings.host, registry=registry)


@cache
def _tasks() -> Any:
    from prometheus_client import Counter

    return Counter("acclimate_worker_tasks", "Tasks by how they ended.", ("task", "outcome"))
