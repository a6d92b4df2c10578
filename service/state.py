"""The state of an API process."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

from fastapi import Request

from acclimate.settings import Settings
from acclimate.storage.database import Database
from acclimate.storage.log.segments import Segments
from acclimate.storage.registry.artifacts import Artifacts
from acclimate.storage.runs.run_logs import RunLogs
from service.auth import Keyring
from service.control.label_queue import LabelQueue
from service.control.notifier import RunNotifier
from service.control.planner import Planner
from service.inference.batcher import Batcher
from service.inference.model_slot import ModelSlots
from service.inference.rate_limit import RateLimit
from service.inference.recorder import Recorder
from service.inference.running_state import States
from service.metrics import ServingMetrics
from service.sync.heartbeat import Heartbeat
from service.sync.log_shipping import LogShipper
from service.sync.model_sync import ModelSync


@dataclass(frozen=True, kw_only=True)
class ServiceState:
    """The parts of an API process, built once by `app.build_state` and given to every route."""

    settings: Settings
    database: Database
    segments: Segments
    artifacts: Artifacts
    keyring: Keyring
    slots: ModelSlots
    states: States
    batcher: Batcher
    recorder: Recorder
    heartbeat: Heartbeat
    model_sync: ModelSync
    log_shipper: LogShipper
    notifier: RunNotifier
    label_queue: LabelQueue
    metrics: ServingMetrics
    planner: Planner
    rate_limit: RateLimit
    run_logs: RunLogs
    stopping: threading.Event = field(default_factory=threading.Event)
    """Set when this process stops: replies that wait for something end then."""


def service_state(request: Request) -> ServiceState:
    """A route's dependency: the state of its process."""
    found: ServiceState = request.app.state.service
    return found
