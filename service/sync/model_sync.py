"""Keeps this replica's models, policies and champions equal to the database, and reports what it
serves.

A new champion is loaded beside the old one and replaces it after its digest and its self-test
passed and it was warmed up. On any failure the old champion keeps serving, the failure is counted
and reported, and the load is retried. A replica that serves no version yet falls back to the newest
earlier champion that it can load, except those that were rolled back from.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import structlog

from acclimate.learning.spec import ModelSpec, Policy
from acclimate.storage.database import Database
from acclimate.storage.log import windows
from acclimate.storage.registry import models, promotions, replicas, revisions, versions
from service.inference.model_slot import Model, ModelSlots, Served
from service.inference.running_state import RunningState, States
from service.metrics import ServingMetrics

if TYPE_CHECKING:
    from sqlalchemy import RowMapping

log = structlog.get_logger()

RETRY_SECONDS = 5.0
"""Pause between two attempts to load the same champion."""
REPORT_SECONDS = 1.0
"""Pause between two reports of a champion whose promotion does not yet count as served."""
MOST_FALLBACKS = 3
"""How many earlier champions a replica without a version tries."""


class ModelSync:
    """`refresh_models` and `load_champions` may run in different threads, each in one."""

    def __init__(
        self,
        *,
        replica: str,
        database: Database,
        slots: ModelSlots,
        states: States,
        metrics: ServingMetrics,
    ) -> None:
        self._replica = replica
        self._database = database
        self._slots = slots
        self._states = states
        self._metrics = metrics
        self._reported: dict[str, int] = {}
        self._failed: dict[str, tuple[int, float]] = {}
        self._reported_again_at: dict[str, float] = {}

    def refresh_models(self) -> dict[str, int]:
        """Read models, policies and alarms from the database into the slots.

        Returns the requested seal number of each model by model id. Raises `Unavailable`.
        """
        with self._database.read() as connection:
            found = models.list_all(connection)
            policies = revisions.policies(connection)
            alarms = windows.alarms(connection)
        # A model may be deleted between the two queries.
        rows = [row for row in found if row["id"] in policies]
        known = [_model(row, policies[row["id"]], alarms.get(row["id"])) for row in rows]
        self._set_models(known)
        return {row["id"]: row["seal"] for row in rows}

    def load_champions(self) -> None:
        """Load and serve every champion with a newer epoch than the served one.

        Raises `Unavailable`.
        """
        for model in list(self._slots.models.values()):
            with self._database.read() as connection:
                promotion = promotions.champion(connection, model.id)
            if promotion is None:
                continue
            served = model.served
            if served is None or served.epoch < promotion.epoch:
                self._load(model, promotion.epoch, promotion.to_version)
            elif self._reported.get(model.id) != served.epoch or (
                promotion.served_at is None and self._report_is_due(model.id)
            ):
                self._report(served)

    def _set_models(self, known: Sequence[Model]) -> None:
        for model in known:
            # The counter starts at zero: an alert on an increase would otherwise miss the first
            # failure.
            self._metrics.load_failures.labels(model.name)
        for gone in self._slots.set_models(known):
            if gone.served is None:
                continue
            served = gone.served
            self._metrics.model_info.labels(gone.name, str(served.version), served.digest).set(0)
            self._clear_state_metrics(gone)

    def _load(self, model: Model, epoch: int, version: int) -> None:
        failed_epoch, failed_at = self._failed.get(model.id, (0, 0.0))
        if failed_epoch == epoch and time.monotonic() - failed_at < RETRY_SECONDS:
            return
        problem = self._swap(model, epoch, version)
        if problem is None:
            self._failed.pop(model.id, None)
            return
        self._metrics.load_failures.labels(model.name).inc()
        log.error(
            "champion not loaded, the old one keeps serving",
            model=model.name,
            version=version,
            error=problem,
        )
        if model.served is None:
            self._fall_back(model, version)
        with self._database.write() as connection:
            replicas.report_problem(
                connection, self._replica, model.id, f"version {version}: {problem}"
            )
        self._failed[model.id] = (epoch, time.monotonic())

    def _swap(self, model: Model, epoch: int, version: int) -> str | None:
        """Serve the version from now on; returns the reason when it cannot be loaded."""
        started = time.monotonic()
        with self._database.read() as connection:
            digest = versions.get(connection, model.id, version)["digest"]
        try:
            # A version in memory needs no store: a rollback is fast, and works without the store.
            served = self._slots.held(model.id, version)
            if served is None:
                served = self._slots.load(model.id, version, digest)
            running = self._running_state(model, served)
            served = replace(served, epoch=epoch, running=running)
        except Exception as error:  # a user's network or a broken store may raise anything
            return f"{type(error).__name__}: {error}"
        old = model.served
        self._slots.swap(served)
        self._metrics.swaps.labels(model.name).observe(time.monotonic() - started)
        if old is not None and old.version != version:
            self._metrics.model_info.labels(model.name, str(old.version), old.digest).set(0)
        self._metrics.model_info.labels(model.name, str(version), digest).set(1)
        log.info("champion swapped in", model=model.name, version=version, epoch=epoch)
        self._report(served)
        return None

    def _running_state(self, model: Model, served: Served) -> RunningState | None:
        """New running state for the version; None in plain mode.

        It begins at the version's own starting state, also when the version was served before.
        """
        if served.bundle.mode.start is None:
            self._clear_state_metrics(model)
            return None
        return RunningState(
            model=model.name,
            model_id=model.id,
            version=served.version,
            mode=served.bundle.mode,
            states=self._states,
            metrics=self._metrics,
        )

    def _clear_state_metrics(self, model: Model) -> None:
        if model.served is not None and model.served.running is not None:
            self._metrics.set_running_state(model.name, 0.0, rows=0)

    def _fall_back(self, model: Model, failed: int) -> None:
        """Serve the newest earlier champion that loads and was not rolled back from."""
        with self._database.read() as connection:
            history = promotions.list_all(connection, model.id)
        unwanted = {failed, *(row["from_version"] for row in history if row["kind"] == "rollback")}
        earlier = {
            row["to_version"]: row["epoch"] for row in history if row["to_version"] not in unwanted
        }
        newest_first = sorted(earlier.items(), key=lambda entry: -entry[1])
        for version, epoch in newest_first[:MOST_FALLBACKS]:
            if self._swap(model, epoch, version) is None:
                return

    def _report_is_due(self, model_id: str) -> bool:
        """Whether to report again a champion whose promotion does not yet count as served.

        The replica that had not reported may have died since; then this report completes the
        promotion.
        """
        now = time.monotonic()
        if now - self._reported_again_at.get(model_id, 0.0) < REPORT_SECONDS:
            return False
        self._reported_again_at[model_id] = now
        return True

    def _report(self, served: Served) -> None:
        with self._database.write() as connection:
            replicas.report_loaded(
                connection,
                self._replica,
                served.model_id,
                version=served.version,
                epoch=served.epoch,
            )
        self._reported[served.model_id] = served.epoch


def _model(row: RowMapping, policy: Policy, alarm: str | None) -> Model:
    """The model with the spec that it was created from, its newest policy, and its alarm."""
    spec = replace(ModelSpec.from_json(row["spec"]), policy=policy)
    return Model(id=row["id"], name=row["name"], spec=spec, alarm=alarm)
