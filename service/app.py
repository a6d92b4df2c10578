"""The API process, `python -m service.app [--fd N]`."""

from __future__ import annotations

import argparse
import asyncio
import shutil
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from types import FrameType

import structlog
import torch
import uvicorn
from fastapi import FastAPI

from acclimate.learning.models import architectures
from acclimate.logs import configure
from acclimate.settings import Settings, server_settings
from acclimate.storage import schema
from acclimate.storage.database import Database, Unavailable
from acclimate.storage.log import copies, journal
from acclimate.storage.log.segments import Segments
from acclimate.storage.registry import deletion, replicas
from acclimate.storage.registry.artifacts import Artifacts
from acclimate.storage.runs.run_logs import RunLogs
from acclimate.storage.store import Store
from service import errors
from service.auth import Keyring
from service.body_limit import BodyLimit
from service.control.label_queue import LabelQueue
from service.control.notifier import RunNotifier
from service.control.planner import Planner
from service.control.routes import labels, models, operator, rows, runs, versions, windows
from service.control.routes.openapi import describe
from service.headers import Headers
from service.inference import predict_route, v2_routes
from service.inference.backlog import Backlog
from service.inference.batcher import Batcher
from service.inference.model_slot import ModelSlots
from service.inference.rate_limit import RateLimit
from service.inference.recorder import Recorder
from service.inference.running_state import States
from service.metrics import ServingMetrics, count_in_files, serve_openly
from service.release import RELEASE
from service.state import ServiceState
from service.sync.heartbeat import Heartbeat
from service.sync.log_shipping import LogShipper
from service.sync.loops import SyncLoops
from service.sync.model_sync import ModelSync

logger = structlog.get_logger()
MODEL_UPLOAD_MIB = 512.0
"""The largest body of a request that creates a model, with its seed set."""
COPY_SECONDS = 60.0
"""Pause between two checks of the local copies of a remote store."""
PATIENCE = 6.0
"""The longest wait of a request for the database, in seconds; a lock is waited for 5 seconds."""


ROUTES = (predict_route, v2_routes, runs, versions, windows, rows, labels, models, operator)


def build(settings: Settings) -> FastAPI:
    """The application. It uses the database and the disk only while its lifespan runs."""
    app = FastAPI(
        title="acclimate",
        version=RELEASE,
        summary="A served classifier that keeps learning from its own unlabeled traffic.",
        lifespan=partial(lifespan, settings),
        redirect_slashes=False,
    )
    app.openapi = partial(describe, app)  # type: ignore[method-assign]
    errors.install(app)
    for routes in ROUTES:
        app.include_router(routes.router)
    most_model = int(MODEL_UPLOAD_MIB * 2**20)
    app.add_middleware(
        BodyLimit, most=settings.body_limit, most_model=most_model, seconds=settings.body_seconds
    )
    app.add_middleware(Headers)
    return app


@asynccontextmanager
async def lifespan(settings: Settings, app: FastAPI) -> AsyncIterator[None]:
    """Recover the journals and load the champions, run the background tasks, then stop."""
    state = build_state(settings)
    app.state.service = state
    state.recorder.start()
    warm_up_torch()
    loops = SyncLoops(
        heartbeat=state.heartbeat,
        model_sync=state.model_sync,
        log_shipper=state.log_shipper,
    )
    await asyncio.to_thread(recover, state, loops)
    tasks = (loops.run(), state.keyring.keep_fresh(), forget_copies(state))
    background = [asyncio.create_task(task) for task in tasks]
    try:
        yield
    finally:
        for task in background:
            task.cancel()
        await asyncio.to_thread(retire, state)


def build_state(settings: Settings) -> ServiceState:
    """Build the state of this process from its settings."""
    database = Database(settings.database_address, timeout=PATIENCE)
    store = Store(settings.store_address, settings.cache)
    metrics = ServingMetrics(count_in_files(settings))
    segments = Segments(store)
    artifacts = Artifacts(store)
    slots = ModelSlots(artifacts, settings.allowlist)
    backlog = Backlog(settings.journals, settings.journal_limit, metrics)
    recorder = Recorder(settings.journals, settings.replica, metrics, backlog)
    log_shipper = LogShipper(
        replica=settings.replica, database=database, segments=segments, recorder=recorder
    )
    states = States(database, segments)
    heartbeat = Heartbeat(replica=settings.replica, database=database, recorder=recorder)
    model_sync = ModelSync(
        replica=settings.replica,
        database=database,
        slots=slots,
        states=states,
        metrics=metrics,
    )
    return ServiceState(
        settings=settings,
        database=database,
        segments=segments,
        artifacts=artifacts,
        keyring=Keyring(database),
        slots=slots,
        states=states,
        batcher=Batcher(),
        recorder=recorder,
        heartbeat=heartbeat,
        model_sync=model_sync,
        log_shipper=log_shipper,
        notifier=RunNotifier(settings.broker_address),
        label_queue=LabelQueue(database, segments, slots),
        metrics=metrics,
        rate_limit=RateLimit(
            settings.rate_limit_rows,
            most_request_rows=settings.max_request_rows,
            replicas=lambda: heartbeat.live_replicas,
        ),
        planner=Planner(database, segments, artifacts, slots),
        run_logs=RunLogs(store),
    )


def warm_up_torch() -> None:
    """Build one network: the first one takes 0.3 s of imports, which would delay a promotion."""
    architectures.Mlp(1, 2, [1], torch.Generator())


def recover(state: ServiceState, loops: SyncLoops) -> None:
    """Seal and register the journals of this slot's previous process, before the first heartbeat;
    then load the champions.

    Waits while the database does not answer or is not migrated: without it the replica knows
    neither models nor keys. It does not wait for the store: files that it refuses are retried
    later.
    """
    while True:
        try:
            with state.database.read() as connection:
                schema.require(connection)
            _recover_journals(state)
            loops.keep_up()
            loops.heartbeat.beat()
            loops.model_sync.load_champions()
            return
        except Unavailable as error:
            logger.warning("waiting for the database", error=str(error).splitlines()[0])
            time.sleep(1.0)


async def forget_copies(state: ServiceState) -> None:
    """Delete this machine's copies of files that a remote store no longer has, periodically until
    cancelled. Errors are logged.
    """
    while True:
        await asyncio.sleep(COPY_SECONDS)
        try:
            await asyncio.to_thread(copies.purge, state.database, state.segments, state.artifacts)
        except Exception as error:  # the database may be away: retried after COPY_SECONDS
            logger.warning("copies of the store were not checked", error=type(error).__name__)


def retire(state: ServiceState) -> None:
    """Seal and register the open journals, then stop every part.

    Where that fails, the next process in this slot recovers the journals.
    """
    try:
        for model_id in state.recorder.open_rows():
            state.log_shipper.seal(model_id)
        with state.database.write() as connection:
            replicas.sign_off(connection, state.settings.replica)
    except Exception as error:
        logger.warning("open journals are left to the next process", error=type(error).__name__)
    state.recorder.close()
    state.batcher.close()
    state.planner.close()
    state.keyring.close()
    state.notifier.close()
    state.database.close()


def _recover_journals(state: ServiceState) -> None:
    folder = state.settings.journals
    folder.mkdir(parents=True, exist_ok=True)
    for model_folder in sorted(path for path in folder.iterdir() if path.is_dir()):
        with state.database.read() as connection:
            deleted = deletion.was_deleted(connection, model_folder.name)
        if deleted:
            shutil.rmtree(model_folder)
            continue
        recovery = journal.recover(model_folder)
        for sealed in recovery.sealed:
            state.log_shipper.take(model_folder.name, sealed)
        for damaged in recovery.quarantined:
            state.metrics.quarantined.inc()
            logger.error(
                "part of a journal is damaged and was quarantined",
                model=model_folder.name,
                file=damaged.name,
            )


class Server(uvicorn.Server):
    """Signals a stop to the replies that wait for something, so that they do not delay it."""

    def __init__(self, app: FastAPI, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._app = app

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        state: ServiceState | None = getattr(self._app.state, "service", None)
        if state is not None:
            state.stopping.set()
        super().handle_exit(sig, frame)


def main() -> None:
    """Run one API process until it is stopped."""
    parser = argparse.ArgumentParser(prog="acclimate serve", description=__doc__)
    parser.add_argument(
        "--fd",
        type=int,
        help="a listening socket inherited from the supervisor, shared by the replicas",
    )
    arguments = parser.parse_args()
    settings = server_settings()
    configure(settings.log_level, process=settings.replica)
    torch.set_num_threads(1)
    app = build(settings)
    if settings.metrics_port is not None:
        serve_openly(app, settings.host, settings.metrics_port)
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        access_log=False,
        log_config=None,
        server_header=False,
        timeout_graceful_shutdown=20,
        timeout_keep_alive=30,
    )
    sockets = [socket.socket(fileno=arguments.fd)] if arguments.fd is not None else None
    Server(app, config).run(sockets=sockets)


if __name__ == "__main__":
    main()
