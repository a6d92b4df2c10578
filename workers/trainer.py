"""The trainer: a process of its own for one attempt at one run, `python -m workers.trainer RUN
TOKEN ATTEMPT`.

It walks one turn of the loop, keeps the result of each stage so that another attempt goes on from
there, and publishes the outcome in one transaction under the run's fencing token. It exits 0 when
the run has ended, or is no longer its own; anything else means that another attempt may follow.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable
from typing import Any

import structlog
import torch

from acclimate.learning import stage_results
from acclimate.learning.data import UNLABELLED, SeedSet, Snapshot, Window
from acclimate.learning.evaluation.simulation_report import Rehearsal
from acclimate.learning.models import network
from acclimate.learning.models.network import Bundle, BundleError
from acclimate.learning.pipeline import Turn, begin, run_seed, stage_rng, turn
from acclimate.learning.spec import ModelSpec
from acclimate.learning.stage_results import StageResult
from acclimate.learning.training.student import NonFiniteLoss
from acclimate.logs import configure
from acclimate.parent_death import die_with_parent
from acclimate.settings import Settings, server_settings
from acclimate.storage.database import Database
from acclimate.storage.log import catalog, window_rows
from acclimate.storage.log.logged_rows import LoggedRows
from acclimate.storage.log.segments import SegmentDamaged, Segments
from acclimate.storage.registry import models, revisions, versions
from acclimate.storage.registry.artifacts import ArtifactError, Artifacts
from acclimate.storage.runs import label_snapshot, pseudo_labels, runs, stages
from acclimate.storage.runs.runs import Claim, LeaseLost, RunCancelled
from acclimate.storage.store import Store, StoreError
from workers import outcome, pseudo_label_checks, window_estimates
from workers.outcome import Published, Task

log = structlog.get_logger()
BEAT_SECONDS = 0.3
OUR_FAULTS = (NonFiniteLoss, BundleError, ArtifactError, SegmentDamaged, StoreError)
"""What ends a run as failed, in words; another attempt would meet the same."""

Tick = Callable[[int, int], None]


class Trainer:
    """One attempt at one run, with the memory it works on."""

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
            self.finished = stages.finished(connection, claim.run_id)
        spec = ModelSpec.from_json(model["spec"])
        self.task = Task(claim=claim, run=run, model=model, spec=spec, policy=policy, gates=gates)
        self.seed = run_seed(policy, run["windows"])

    def work(self) -> None:
        """Bring the run to its end. Raises `LeaseLost` when it is somebody else's by now."""
        try:
            try:
                found = self.begin() if self.task.first else self.learn()
                self.enter("publish")
                self.publish(found)
            except OUR_FAULTS as error:
                log.exception("run failed")
                self.end("failed", f"{type(error).__name__}: {error}")
        except RunCancelled:
            self.end("cancelled", runs.CANCELLED)

    def begin(self) -> Turn:
        """Version 1, from the seed set alone."""
        self.enter("snapshot")
        digest, seed = self.task.model["weights_digest"], self.read_seed()
        weights = self.artifacts.read(digest)[1] if digest else None
        return begin(
            self.task.spec, seed, step=self.step, allowlist=self.settings.allowlist, weights=weights
        )

    def learn(self) -> Turn:
        """One turn of the loop over the run's windows."""
        task = self.task
        seed, window = self.read_seed(), self.read_window()
        champion, anchor = self.version(task.run["parent_version"]), self.version(1)
        with self.database.read() as connection:
            told = versions.get(connection, task.model["id"], 1)["rehearsal"]
        rehearsal = Rehearsal.from_json(told) if told is not None else None
        return turn(
            window,
            seed,
            champion,
            anchor,
            task.policy,
            task.gates,
            step=self.step,
            rehearsal=rehearsal,
        )

    def step(self, stage: str, verb: Callable[..., Any], /, *args: Any) -> Any:
        """The result of the stage: the one that an earlier attempt kept, else that of the verb,
        kept for the next.

        The verb gets the stage's own random state and gives signs of life. Raises `RunCancelled`
        and `LeaseLost`.
        """
        self.enter(stage)
        started = time.monotonic()
        result = self.kept(stage)
        if result is None:
            # Layers and users' modules draw from torch's global generator: seeded per stage, so
            # that attempts are equal.
            torch.manual_seed(int(stage_rng(self.seed, stage).integers(2**31)))
            result = self.keep(
                stage, verb(*args, rng=stage_rng(self.seed, stage), tick=self.ticker(stage))
            )
        log.info("stage done", stage=stage, seconds=round(time.monotonic() - started, 3))
        return result

    def enter(self, stage: str) -> None:
        """Say that the run begins this stage. Where a drill holds the stage, this returns when the
        drill is over.
        """
        with self.database.write() as connection:
            state = runs.enter_stage(
                connection, self.task.claim, stage, lease_seconds=self.settings.lease_seconds
            )
        if state == "cancelling":
            raise RunCancelled(self.task.run["id"])
        drill = self.settings.drills / stage if self.settings.drills is not None else None
        while drill is not None and drill.exists():
            self.beat(stage, None)
            time.sleep(BEAT_SECONDS)

    def beat(self, stage: str, progress: dict[str, Any] | None) -> None:
        """A sign of life. Raises `RunCancelled` and `LeaseLost`."""
        seconds = self.settings.lease_seconds
        with self.database.write() as connection:
            state = runs.heartbeat(
                connection, self.task.claim, stage=stage, progress=progress, lease_seconds=seconds
            )
        if state == "cancelling":
            raise RunCancelled(self.task.run["id"])

    def ticker(self, stage: str) -> Tick:
        """What a verb calls to say how far it is: a sign of life, at most one each
        `BEAT_SECONDS`.
        """
        started = last = time.monotonic()

        def tick(done: int, total: int) -> None:
            nonlocal last
            now = time.monotonic()
            if now - last >= BEAT_SECONDS:
                last = now
                eta = (now - started) / done * (total - done) if done else None
                self.beat(
                    stage, {"done": done, "total": total, "unit": "steps", "eta_seconds": eta}
                )

        return tick

    def kept(self, stage: str) -> StageResult | None:
        """What an earlier attempt kept of this stage; None where it has to be done (again)."""
        digest = self.finished.get(stage)
        if digest is None:
            return None
        try:
            manifest, arrays = self.artifacts.read(digest)
        except ArtifactError as error:
            log.warning(
                "the kept result is lost, the stage is done again", stage=stage, error=str(error)
            )
            return None
        log.info("going on from the kept result", stage=stage)
        return stage_results.unpack(manifest["content"], arrays, allowlist=self.settings.allowlist)

    def keep(self, stage: str, result: StageResult) -> StageResult:
        """The result as it was kept: later stages work on that in every attempt, whether or not it
        was read back.
        """
        content, arrays = stage_results.pack(result)
        # The run's own, by its name in the manifest: no other artifact can have this digest, so it
        # is deleted with the run's end.
        digest = self.artifacts.write(
            {"run": self.task.run["id"], "stage": stage, "content": content}, arrays
        )
        with self.database.write() as connection:
            stages.finish(connection, self.task.claim, stage, digest)
        return stage_results.unpack(content, arrays, allowlist=self.settings.allowlist)

    def read_seed(self) -> SeedSet:
        return SeedSet.of(self.artifacts.read(self.task.model["seed_digest"])[1])

    def read_window(self) -> Window:
        """The rows of the run's windows, the first copy of each, with the labels that came before
        the run was asked for.
        """
        self.enter("snapshot")
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
            tick=self.ticker("snapshot"),
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
        snapshot = self.kept("snapshot") or self.keep("snapshot", self.new_snapshot(rows))
        assert isinstance(snapshot, Snapshot)
        return snapshot

    def new_snapshot(self, rows: LoggedRows) -> Snapshot:
        with self.database.read() as connection:
            words = label_snapshot.inputs_of_run(connection, self.task.run)
        return label_snapshot.snapshot(self.segments, words, rows)

    def version(self, number: int) -> Bundle:
        with self.database.read() as connection:
            digest = versions.get(connection, self.task.model["id"], number)["digest"]
        manifest, arrays = self.artifacts.read(digest)
        return network.build(manifest, arrays, allowlist=self.settings.allowlist)

    def publish(self, found: Turn) -> None:
        """The artifact first, then one commit: version, verdict, epoch and the run's end, if the
        token is still the newest.
        """
        task, digest, lender = self.task, None, None
        if found.student is not None and not network.non_finite_weights(found.student):
            manifest, arrays = network.pack(found.student)
            manifest |= {
                "run": task.run["id"],
                "parent": task.run["parent_version"],
                "config": task.config_digest,
            }
            lender = self.lender(arrays)
            digest = self.artifacts.write(manifest, arrays, lender=lender)
        estimates = window_estimates.of_run(self.database, self.segments, task, found)
        accepted = self.accepted(found)
        with self.database.write() as connection:
            if accepted is not None:
                pseudo_labels.set_artifact(connection, task.claim, accepted)
            state, results = outcome.publish(
                connection,
                task,
                found,
                published=Published(digest=digest, weights_digest=lender),
                estimates=estimates,
            )
        log.info("run ended", state=state, version=results.version, detail=results.detail)

    def accepted(self, found: Turn) -> str | None:
        """The artifact of the pseudo-labels that the student learnt from, where there is one."""
        if found.student is None or found.labels is None:
            return None
        digest = pseudo_label_checks.write(
            self.artifacts, self.task.run["id"], self.learnt, found.labels
        )
        with self.database.write() as connection:
            # As a stage's result it goes with the run's end, unless the run comes to name it.
            stages.finish(connection, self.task.claim, "publish", digest)
        return digest

    def lender(self, arrays: dict[str, Any]) -> str | None:
        """The artifact of anchor or parent that holds these weights already, where a new version
        differs in its mode alone.
        """
        weights = {
            name: array.tobytes() for name, array in arrays.items() if name.startswith("member.")
        }
        for number in [] if self.task.first else sorted({1, self.task.run["parent_version"]}):
            with self.database.read() as connection:
                row = versions.get(connection, self.task.model["id"], number)
            held = self.artifacts.read(row["digest"])[1]
            if all(
                name in held and held[name].tobytes() == content
                for name, content in weights.items()
            ):
                return str(row["weights_digest"] or row["digest"])
        return None

    def end(self, state: str, detail: str) -> None:
        """End the run without a version."""
        results = runs.RunResults(detail=detail[:2000], config_digest=self.task.config_digest)
        with self.database.write() as connection:
            runs.finish(connection, self.task.claim, state=state, results=results)
        log.info("run ended", state=state, detail=detail[:2000])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run")
    parser.add_argument("token", type=int)
    parser.add_argument("attempt", type=int)
    arguments = parser.parse_args()
    die_with_parent()
    settings = server_settings()
    configure(settings.log_level, process="trainer", run=arguments.run, attempt=arguments.attempt)
    torch.set_num_threads(max(1, (os.cpu_count() or 2) - 1))
    torch.use_deterministic_algorithms(True, warn_only=True)
    claim = Claim(run_id=arguments.run, token=arguments.token, attempt=arguments.attempt)
    try:
        Trainer(settings, claim).work()
    except LeaseLost:
        log.warning("the run is somebody else's by now; nothing was published")
    except Exception:
        log.exception("the attempt broke down")
        sys.exit(1)


if __name__ == "__main__":
    main()
