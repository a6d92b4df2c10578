"""The Celery processes: `python -m workers.app worker` and `... beat`.

A task reads from the database what is due and does it: late, lost and duplicate messages are
harmless. Trainers are processes of their own, so torch is not imported here.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import socket
import time

import structlog
from celery import Celery, signals

from acclimate.logs import configure
from acclimate.settings import Settings, server_settings
from acclimate.storage import schema
from acclimate.storage.database import Database, Unavailable
from workers import metrics, tasks
from workers.scheduler import MonotonicScheduler, monotonic_schedule

log = structlog.get_logger()

RECONCILE_SECONDS = 5.0
TRIGGER_SECONDS = 2.0


def build(settings: Settings) -> Celery:
    """The Celery application with its tasks; it is not connected yet."""
    app = Celery("acclimate", broker=settings.broker_address, set_as_current=True)
    app.conf.update(
        task_serializer="json",
        result_serializer="json",
        accept_content=["json"],
        result_backend=None,
        task_ignore_result=True,
        # Acknowledged at once: a lost run returns by its lease, not by redelivery of the message.
        task_acks_late=False,
        task_reject_on_worker_lost=False,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        worker_prefetch_multiplier=1,
        worker_disable_prefetch=True,
        worker_send_task_events=False,
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        task_default_queue="control",
        task_routes={"run": {"queue": "train"}},
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_transport_options={
            "visibility_timeout": 3600,
            "socket_timeout": 10,
            "socket_connect_timeout": 3,
            "socket_keepalive": True,
            "health_check_interval": 15,
        },
        beat_schedule={
            "reconcile": {"task": "reconcile", "schedule": monotonic_schedule(RECONCILE_SECONDS)},
            "trigger": {"task": "trigger", "schedule": monotonic_schedule(TRIGGER_SECONDS)},
        },
        beat_scheduler=MonotonicScheduler,
        beat_max_loop_interval=1,
        timezone="UTC",
    )
    # Shared with the processes that Celery forks: they end their trainers at shutdown.
    stopping = multiprocessing.get_context("fork").Event()
    signals.worker_shutting_down.connect(lambda **_: stopping.set(), weak=False)
    tasks.register(
        app, settings, owner=f"{socket.gethostname()}:{os.getpid()}", stopping=stopping.is_set
    )
    return app


def await_database(settings: Settings) -> None:
    """Return once the database answers and has the schema that this code needs.

    A run claimed before would only use up its attempts.
    """
    database = Database(settings.database_address)
    try:
        while True:
            try:
                with database.read() as connection:
                    return schema.require(connection)
            except Unavailable as error:
                log.warning("waiting for the database", error=str(error).splitlines()[0])
                time.sleep(1.0)
    finally:
        database.close()


def main() -> None:
    """Run one of the two processes."""
    parser = argparse.ArgumentParser(prog="acclimate", description=__doc__)
    parser.add_argument("role", choices=("worker", "beat"))
    role = parser.parse_args().role
    settings = server_settings()
    configure(settings.log_level, process=role)
    # With a receiver of this signal, Celery does not configure logging.
    signals.setup_logging.connect(lambda **_: None, weak=False)
    if role == "worker" and settings.worker_metrics_port is not None:
        metrics.prepare(settings.home / "metrics" / f"worker-{settings.worker_metrics_port}")
    app = build(settings)
    if role == "beat":
        app.start(["beat", "--pidfile="])
        return
    if settings.worker_metrics_port is not None:
        metrics.serve(settings)
    await_database(settings)
    # Two processes: one for a run, one for control tasks.
    options = [
        "--pool=prefork",
        "--concurrency=2",
        "--queues=train,control",
        "--without-mingle",
        "--without-gossip",
    ]
    app.worker_main(["worker", *options, f"--hostname=worker-{os.getpid()}@%h"])


if __name__ == "__main__":
    main()
