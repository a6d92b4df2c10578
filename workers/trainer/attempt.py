"""One attempt at one run: one turn of the loop, stage by stage, and its publication."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import structlog
import torch

from acclimate.learning import stage_results
from acclimate.learning.data import UNLABELLED, SeedSet, Snapshot, Window
from acclimate.learning.evaluation.simulation_report import Simulation
from acclimate.learning.models import bundle as bundles
from acclimate.learning.models import bundle_format
from acclimate.learning.models.bundle import Bundle
from acclimate.learning.models.networks import BundleError
from acclimate.learning.outcomes import FirstVersion, Judged, Outcome, Trained
from acclimate.learning.pipeline import begin, run, run_seed, stage_rng
from acclimate.learning.run_inputs import RunInputs
from acclimate.learning.spec import ModelSpec
from acclimate.learning.stage_results import StageResult
from acclimate.learning.training.student import NonFiniteLoss
from acclimate.settings import Settings
from acclimate.storage.database import Database
from acclimate.storage.log import catalog, window_rows
from acclimate.storage.log.logged_rows import LoggedRows
from acclimate.storage.log.segments import SegmentDamaged, Segments
from acclimate.storage.registry import models, revisions, versions
from acclimate.storage.registry.artifacts import ArtifactError, Artifacts
from acclimate.storage.runs import label_snapshot, pseudo_labels, runs
from acclimate.storage.runs.runs import Claim, RunCancelled
from acclimate.storage.store import Store, StoreError
from workers import pseudo_label_checks
from workers.trainer import outcome, serving_standing, shared_weights, window_estimates
from workers.trainer.heartbeat import Heartbeat
from workers.trainer.outcome import Published, Task
from workers.trainer.stage_store import Packed, StageStore

log = structlog.get_logger()
FAILURES = (NonFiniteLoss, BundleError, ArtifactError, SegmentDamaged, StoreError)
"""Errors that end the run as failed: another attempt would meet the same."""


class Trainer:
    """One attempt at one run."""

    def __init__(self, settings: Settings, claim: Claim) -> None:
        self.settings = settings
        self.database = Database(settings.database_address)
        store = Store(settings.store_address, settings.cache)
        self.artifacts, self.segments = Artifacts(store), Segments(store)
        with self.database.read() as connection:
            run = runs.get(connection, claim.run_id)
            model = models.get(connection, run["model_id"])
            _, policy = revisions.policy(connection, model["id"], run["policy_revision"])
            _, gates = revisions.gates(connection, model["id"], run["gates_revision"])
            proved = versions.proved(connection, model["id"])
        spec = ModelSpec.from_json(model["spec"])
        self.task = Task(
            claim=claim,
            run=run,
            model=model,
            spec=spec,
            policy=policy,
            gates=gates,
            proved=proved,
        )
        self.seed = run_seed(policy, run["windows"])
        self.stages = StageStore(self.database, self.artifacts, claim)
        self.heartbeat = Heartbeat(
            self.database,
            claim,
            lease_seconds=settings.lease_seconds,
            drills=settings.drills,
        )

    def work(self) -> None:
        """Work on the run until it has ended. Raises `LeaseLost`."""
        try:
            try:
                found = self.begin() if self.task.first else self.learn()
                self.heartbeat.enter("publish")
                self.publish(found)
            except FAILURES as error:
                log.exception("run failed")
                self.end("failed", f"{type(error).__name__}: {error}")
        except RunCancelled:
            self.end("cancelled", runs.CANCELLED)

    def begin(self) -> FirstVersion:
        """Make version 1 from the seed set alone."""
        self.heartbeat.enter("snapshot")
        digest, seed = self.task.model["weights_digest"], self.read_seed()
        weights = self.artifacts.read(digest)[1] if digest else None
        return begin(
            self.task.spec, seed, step=self.step, allowlist=self.settings.allowlist, weights=weights
        )

    def learn(self) -> Outcome:
        """One turn of the loop over the run's windows."""
        task = self.task
        with self.database.read() as connection:
            document = versions.get(connection, task.model["id"], 1)["rehearsal"]
            standing = serving_standing.of_run(connection, task.run, task.proved)
        champion, anchor = self.version(task.run["parent_version"]), self.version(1)
        known = {1: anchor, task.run["parent_version"]: champion}
        inputs = RunInputs(
            seed=self.read_seed(),
            window=self.read_window(),
            champion=champion,
            anchor=anchor,
            proved=known.get(task.proved) or self.version(task.proved),
            standing=standing,
            policy=task.policy,
            gates=task.gates,
            simulation=None if document is None else Simulation.from_json(document),
        )
        return run(inputs, self.step)

    def step(self, stage: str, verb: Callable[..., Any], /, *args: Any) -> Any:
        """The result of the stage: the stored one, else that of `verb`, stored before use.

        `verb` is called with `args`, the stage's own random state `rng`, and `tick`. Raises
        `RunCancelled` and `LeaseLost`.
        """
        self.heartbeat.enter(stage)
        started = time.monotonic()
        result = self.load(stage)
        if result is None:
            # Layers and users' modules draw from torch's global generator. It is seeded for each
            # stage, so that attempts are equal.
            torch.manual_seed(int(stage_rng(self.seed, stage).integers(2**31)))
            rng, tick = stage_rng(self.seed, stage), self.heartbeat.ticker(stage)
            result = self.save(stage, verb(*args, rng=rng, tick=tick))
        log.info("stage done", stage=stage, seconds=round(time.monotonic() - started, 3))
        return result

    def load(self, stage: str) -> StageResult | None:
        """The result that an earlier attempt stored; None where the stage has to be computed."""
        packed = self.stages.load(stage)
        return None if packed is None else self.unpack(packed)

    def save(self, stage: str, result: StageResult) -> StageResult:
        """Store the result and return it as read back: in every attempt, later stages use that."""
        packed = stage_results.pack(result)
        self.stages.save(stage, packed)
        stored = self.unpack(packed)
        assert stored is not None, "this release reads what it stores"
        return stored

    def unpack(self, packed: Packed) -> StageResult | None:
        return stage_results.unpack(*packed, allowlist=self.settings.allowlist)

    def read_seed(self) -> SeedSet:
        return SeedSet.of(self.artifacts.read(self.task.model["seed_digest"])[1])

    def read_window(self) -> Window:
        """The rows of the run's windows, with the labels accepted before the run was requested.

        The first copy of each row counts. Sets `learnt`, the numbers of the rows to learn from.
        """
        self.heartbeat.enter("snapshot")
        with self.database.read() as connection:
            lines = catalog.segments_of(connection, self.task.model["id"], self.task.run["windows"])
        if not lines:
            raise StoreError(
                "the rows of this window are no longer kept: the bounds of the log deleted them"
            )
        found = window_rows.assemble(
            self.segments,
            lines,
            self.snapshot_of,
            rng=stage_rng(self.seed, "snapshot"),
            tick=self.heartbeat.ticker("snapshot"),
        )
        labels, taught = found.snapshot.labels, found.snapshot.taught
        results = runs.RunResults(
            rows=len(found.rows),
            rows_labelled=int((labels != UNLABELLED).sum()),
            rows_taught=len(taught or ()),
        )
        with self.database.write() as connection:
            runs.note(connection, self.task.claim, results)
        numbers = pseudo_label_checks.numbers(self.task.model["id"], found.rows)
        self.learnt = numbers[found.learnt]
        return found.window

    def snapshot_of(self, rows: LoggedRows) -> Snapshot:
        """The label snapshot of these rows: the stored one, else a new one, stored before use.

        Labels and the states of other windows change while the run works; every attempt uses the
        same snapshot.
        """
        snapshot = self.load("snapshot") or self.save("snapshot", self.new_snapshot(rows))
        assert isinstance(snapshot, Snapshot)
        return snapshot

    def new_snapshot(self, rows: LoggedRows) -> Snapshot:
        with self.database.read() as connection:
            inputs = label_snapshot.inputs_of_run(connection, self.task.run)
        return label_snapshot.snapshot(self.segments, inputs, rows)

    def version(self, number: int) -> Bundle:
        """The bundle of this version of the model."""
        with self.database.read() as connection:
            digest = versions.get(connection, self.task.model["id"], number)["digest"]
        manifest, arrays = self.artifacts.read(digest)
        return bundle_format.build(manifest, arrays, allowlist=self.settings.allowlist)

    def publish(self, found: Outcome | FirstVersion) -> None:
        """Write the artifact, then commit version, verdict, epoch and the run's end at once.

        Raises `LeaseLost` where the claim's token is not the newest; nothing is published then.
        """
        published = self.write_student(found)
        estimates = window_estimates.of_run(self.database, self.segments, self.task, found)
        accepted = self.write_accepted(found)
        with self.database.write() as connection:
            if accepted is not None:
                pseudo_labels.set_artifact(connection, self.task.claim, accepted)
            state, results = outcome.publish(
                connection, self.task, found, published=published, estimates=estimates
            )
        log.info("run ended", state=state, version=results.version, detail=results.detail)

    def write_student(self, found: Outcome | FirstVersion) -> Published:
        """The artifact of the student, where there is one whose weights are finite."""
        if not isinstance(found, Trained) or bundles.non_finite_weights(found.student):
            return Published(digest=None)
        manifest, arrays = bundle_format.pack(found.student)
        manifest |= {
            "run": self.task.run["id"],
            "parent": self.task.run["parent_version"],
            "config": self.task.config_digest,
        }
        shared = shared_weights.find(self.database, self.artifacts, self.task, arrays)
        digest = self.artifacts.write(manifest, arrays, lender=shared)
        return Published(digest=digest, weights_digest=shared)

    def write_accepted(self, found: Outcome | FirstVersion) -> str | None:
        """The artifact of the pseudo-labels that the student learnt from, where there is one."""
        if not isinstance(found, Judged) or found.labels is None:
            return None
        digest = pseudo_label_checks.write(
            self.artifacts, self.task.run["id"], self.learnt, found.labels
        )
        # As a stage's result it is deleted when the run ends, unless the run's row names it.
        self.stages.finish("publish", digest)
        return digest

    def end(self, state: str, detail: str) -> None:
        """End the run without a version."""
        results = runs.RunResults(detail=detail[:2000], config_digest=self.task.config_digest)
        with self.database.write() as connection:
            runs.finish(connection, self.task.claim, state=state, results=results)
        log.info("run ended", state=state, detail=detail[:2000])
