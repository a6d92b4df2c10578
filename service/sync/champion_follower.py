"""Follows the database: says that this replica lives, loads each new champion beside the old one,
seals when a run asks.

A champion is swapped in only after its digest and its self-test held and it was warmed up; whatever
goes wrong, the old one keeps serving, the failure is counted and told, and the replica tries again
until it succeeds. A replica that has just started has no old one: it serves the newest earlier
champion that it can load, but none that somebody rolled back from.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import structlog

from acclimate.learning.spec import ModelSpec, Policy
from acclimate.storage.database import Database, Unavailable
from acclimate.storage.registry import deletion, models, promotions, replicas, revisions, versions
from service.inference.model_slot import Model, ModelSlots, Served
from service.inference.recorder import Recorder
from service.inference.running_state import RunningState, States
from service.metrics import ServingMetrics
from service.sync.log_shipping import Shipper

if TYPE_CHECKING:
    from sqlalchemy import RowMapping

log = structlog.get_logger()

POLL_SECONDS = 0.2
HEARTBEAT_SECONDS = 1.0
SILENT_SECONDS = 4.0
RETRY_SECONDS = 5.0
"""How long a champion that could not be loaded is left alone."""
MOST_FALLBACKS = 3
"""How many earlier champions a replica without any tries."""


class ChampionFollower:
    """One task of the event loop; what blocks happens in threads; of heartbeat, loading and sealing
    none waits for the others.
    """

    def __init__(
        self,
        *,
        replica: str,
        database: Database,
        slots: ModelSlots,
        recorder: Recorder,
        shipper: Shipper,
        states: States,
        metrics: ServingMetrics,
    ) -> None:
        self._replica = replica
        self._database = database
        self._slots = slots
        self._recorder = recorder
        self._shipper = shipper
        self._states = states
        self._metrics = metrics
        self._acknowledged: dict[str, int] = {}
        self._reported: dict[str, int] = {}
        self._failed: dict[str, tuple[int, float]] = {}
        self._asked_at: dict[str, float] = {}
        self._known: set[str] = set()
        self._answered_at = time.monotonic()
        self.live_replicas = 1
        # Its own: requests that load versions by number may fill the loop's threads, and a
        # heartbeat must not wait for them.
        self._threads = ThreadPoolExecutor(3, thread_name_prefix="following")

    @property
    def silent(self) -> bool:
        """The database has not answered for some seconds: the replica serves what it has, and logs
        on its own disk.
        """
        return time.monotonic() - self._answered_at > SILENT_SECONDS

    async def follow(self) -> None:
        """Poll until cancelled. Never ends by an error."""
        beside = [
            asyncio.create_task(self._every(HEARTBEAT_SECONDS, self.beat)),
            asyncio.create_task(self._every(POLL_SECONDS, self.load_new_champions)),
        ]
        try:
            await self._every(POLL_SECONDS, self.keep_up)
        finally:
            for task in beside:
                task.cancel()

    def beat(self) -> None:
        """Give a sign of life, and count the replicas that do."""
        with self._database.write() as connection:
            self.live_replicas = replicas.heartbeat(
                connection, self._replica, self._recorder.open_rows()
            )
        self._answered_at = time.monotonic()

    def keep_up(self) -> None:
        """Learn of new models and policies, seal what is asked for or due, move to the store what
        waits.
        """
        with self._database.read() as connection:
            standing, policies = models.list_all(connection), revisions.policies(connection)
        rows = [
            row for row in standing if row["id"] in policies
        ]  # less one that was deleted between the two
        self._know(_model(row, policies[row["id"]]) for row in rows)
        self._drop_deleted({row["id"] for row in rows})
        self._shipper.ship_waiting()
        due = set(self._recorder.due())
        for row in rows:
            if row["seal"] > self._acknowledged.get(row["id"], 0):
                if self._shipper.seal(row["id"], acknowledge=row["seal"]):
                    self._acknowledged[row["id"]] = row["seal"]
            elif row["id"] in due:
                self._shipper.seal(row["id"])

    def load_new_champions(self) -> None:
        """Swap in every champion whose epoch is newer than the one served."""
        for model in list(self._slots.models.values()):
            with self._database.read() as connection:
                promotion = promotions.champion(connection, model.id)
            if promotion is None:
                continue
            if model.served is None or model.served.epoch < promotion.epoch:
                self._follow(model, promotion.epoch, promotion.to_version)
            elif self._reported.get(model.id) != model.served.epoch or self._still_waited_for(
                promotion
            ):
                self._report(model.served)

    def _drop_deleted(self, standing: set[str]) -> None:
        for model_id in self._known - standing:
            with self._database.read() as connection:
                deleted = deletion.was_deleted(connection, model_id)
            if deleted:
                self._shipper.drop(model_id)
                self._known.discard(model_id)
                log.info("model deleted, its journal is dropped", model=model_id)
        self._known |= standing

    def _know(self, models: Iterable[Model]) -> None:
        models = list(models)
        for model in models:
            # Zero from the beginning: an alert on an increase would miss the first failure
            # otherwise.
            self._metrics.load_failures.labels(model.name)
        for gone in self._slots.know(models):
            if gone.served is not None:
                self._metrics.model_info.labels(
                    gone.name, str(gone.served.version), gone.served.digest
                ).set(0)
                self._forget_state(gone)

    def _follow(self, model: Model, epoch: int, version: int) -> None:
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
        """Serve the version from now on; else say why that cannot be."""
        started = time.monotonic()
        with self._database.read() as connection:
            digest = versions.get(connection, model.id, version)["digest"]
        try:
            # What is in memory needs no store: a rollback is quick, and works while the store does
            # not.
            held = self._slots.held(model.id, version)
            served = (
                replace(held, epoch=epoch)
                if held
                else self._slots.load(model.id, version, digest, epoch=epoch)
            )
            served = replace(served, running=self._begin(model, served))
        except Exception as error:  # a brought network or a broken store may raise anything
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

    def _begin(self, model: Model, served: Served) -> RunningState | None:
        """What the version follows from now on, whatever it followed when it served before; nothing
        in plain mode.
        """
        mode, this = served.bundle.mode, {"states": self._states, "metrics": self._metrics}
        if mode.start is None:
            self._forget_state(model)
            return None
        return RunningState(
            model=model.name, model_id=model.id, version=served.version, mode=mode, **this
        )

    def _forget_state(self, model: Model) -> None:
        """What the model's version followed until now is followed no more."""
        if model.served is not None and model.served.running is not None:
            self._metrics.follow(model.name, 0.0, rows=0)

    def _fall_back(self, model: Model, failed: int) -> None:
        with self._database.read() as connection:
            history = promotions.list_all(connection, model.id)
        unwanted = {failed, *(row["from_version"] for row in history if row["kind"] == "rollback")}
        earlier = {
            row["to_version"]: row["epoch"] for row in history if row["to_version"] not in unwanted
        }
        for version, epoch in sorted(earlier.items(), key=lambda entry: -entry[1])[:MOST_FALLBACKS]:
            if self._swap(model, epoch, version) is None:
                return

    def _still_waited_for(self, promotion: Any) -> bool:
        """Once a second while a promotion counts as not served: the replica that was waited for may
        have died since.
        """
        now = time.monotonic()
        if (
            promotion.served_at is not None
            or now - self._asked_at.get(promotion.model_id, 0.0) < HEARTBEAT_SECONDS
        ):
            return False
        self._asked_at[promotion.model_id] = now
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

    async def _every(self, seconds: float, act: Callable[[], None]) -> None:
        while True:
            try:
                await asyncio.get_running_loop().run_in_executor(self._threads, act)
            except Unavailable as error:
                log.warning("the database does not answer", error=str(error).splitlines()[0])
            except Exception:
                log.exception("following failed; going on")
            await asyncio.sleep(seconds)


def _model(row: RowMapping, policy: Policy) -> Model:
    """The model as it stands now: its spec is the one it was created by, but for the policy."""
    spec = ModelSpec.from_json(row["spec"])
    return Model(id=row["id"], name=row["name"], spec=replace(spec, policy=policy))
