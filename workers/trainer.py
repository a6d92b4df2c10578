"""The trainer: a process of its own for one attempt at one run, `python -m workers.trainer RUN TOKEN ATTEMPT`.

It walks one turn of the loop and publishes its outcome in one transaction under the run's fencing token. It exits 0 when the run
has ended, or is no longer its own; anything else means that another attempt may follow.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import time
from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np
import structlog
import torch

from acclimate.learning import network
from acclimate.learning.loop import Turn, begin, stage_rng, turn
from acclimate.learning.network import Bundle, BundleError
from acclimate.learning.student import NonFiniteLoss
from acclimate.learning.values import NONE_OF_THE_CLASSES, UNLABELLED, Drift, ModelSpec, Part, SeedSet, Verdict, Window
from acclimate.logs import configure
from acclimate.parenthood import die_with_parent
from acclimate.settings import Settings, server_settings
from acclimate.storage import audit, catalog, registry, runs
from acclimate.storage.artifacts import ArtifactError, Artifacts
from acclimate.storage.database import Database
from acclimate.storage.logged_rows import LoggedRows
from acclimate.storage.runs import Claim, LeaseLost
from acclimate.storage.segments import SegmentDamaged, Segments, deduplicate
from acclimate.storage.store import Store, StoreError

if TYPE_CHECKING:
    from sqlalchemy import Connection

log = structlog.get_logger()
BEAT_SECONDS = 0.3
OUR_FAULTS = (NonFiniteLoss, BundleError, ArtifactError, SegmentDamaged, StoreError)
"""What ends a run as failed, in words; another attempt would meet the same."""


class Cancelled(Exception):
    """An operator cancelled the run."""


class Trainer:
    """One attempt at one run, with the memory it works on."""

    def __init__(self, settings: Settings, claim: Claim) -> None:
        self.settings = settings
        self.claim = claim
        self.database = Database(settings.database_address)
        store = Store(settings.store_address, settings.cache)
        self.artifacts, self.segments = Artifacts(store), Segments(store)
        with self.database.read() as connection:
            self.run = runs.get(connection, claim.run_id)
            self.model = registry.model_by_id(connection, self.run["model_id"])
            _, self.policy = registry.policy(connection, self.model["id"], self.run["policy_revision"])
            _, self.gates = registry.gates(connection, self.model["id"], self.run["gates_revision"])
        self.spec = ModelSpec.from_json(self.model["spec"])
        # All randomness of the run follows from this: another attempt draws what this one draws.
        self.seed = self.policy.seed * 1_000_003 + max(self.run["windows"], default=0)

    def work(self) -> None:
        """Bring the run to its end. Raises `LeaseLost` when it is somebody else's by now."""
        try:
            outcome = self.begin() if self.run["parent_version"] is None else self.learn()
            self.beat("publish", None)
            self.publish(outcome)
        except Cancelled:
            self.end("cancelled", "cancelled by an operator")
        except OUR_FAULTS as error:
            log.exception("run failed")
            self.end("failed", f"{type(error).__name__}: {error}")

    def begin(self) -> Turn:
        """Version 1, from the seed set alone."""
        seed = self.step("snapshot", self.read_seed)
        return begin(self.spec, seed, step=self.step, allowlist=self.settings.allowlist)

    def learn(self) -> Turn:
        """One turn of the loop over the run's windows."""
        seed, window = self.step("snapshot", self.read_seed), self.step("snapshot", self.read_window)
        champion, anchor = self.version(self.run["parent_version"]), self.version(1)
        return turn(window, seed, champion, anchor, self.policy, self.gates, step=self.step)

    def step(self, stage: str, verb: Callable[..., Any], /, *args: Any) -> Any:
        """Run one stage with its own random state, giving signs of life; raises when the run was cancelled or lost."""
        self.beat(stage, None)
        started, last = time.monotonic(), time.monotonic()

        def tick(done: int, total: int) -> None:
            nonlocal last
            now = time.monotonic()
            if now - last >= BEAT_SECONDS:
                last = now
                eta = (now - started) / done * (total - done) if done else None
                self.beat(stage, {"done": done, "total": total, "unit": "steps", "eta_seconds": eta})

        # Layers and users' modules draw from torch's global generator: seeded here, per stage, so that attempts are equal.
        torch.manual_seed(int(stage_rng(self.seed, stage).integers(2**31)))
        result = verb(*args, rng=stage_rng(self.seed, stage), tick=tick)
        log.info("stage done", stage=stage, seconds=round(time.monotonic() - started, 3))
        return result

    def beat(self, stage: str, progress: dict[str, Any] | None) -> None:
        with self.database.write() as connection:
            state = runs.beat(
                connection, self.claim, stage=stage, progress=progress, lease_seconds=self.settings.lease_seconds
            )
        if state == "cancelling":
            raise Cancelled

    def read_seed(self, *, rng: np.random.Generator, tick: Callable[[int, int], None]) -> SeedSet:
        _, arrays = self.artifacts.read(self.model["seed_digest"])
        train, calibration, judging = (
            Part(x=arrays[f"{part}.x"], y=arrays[f"{part}.y"]) for part in ("train", "calibration", "judging")
        )
        return SeedSet(train=train, calibration=calibration, judging=judging)

    def read_window(self, *, rng: np.random.Generator, tick: Callable[[int, int], None]) -> Window:
        """The rows of the run's windows, the first copy of each, with the labels that came before the run was asked for."""
        with self.database.read() as connection:
            lines = catalog.segments_of(connection, self.model["id"], self.run["windows"])
            labels = catalog.labels_of(connection, self.model["id"], before=self.run["created_at"])
            agreement = catalog.past_agreement(connection, self.model["id"])
        if not lines:
            raise StoreError("the rows of this window are no longer kept: the bounds of the log deleted them")
        parts = []
        for done, line in enumerate(lines):
            parts.append(self.segments.read(line["key"], line["digest"]))
            tick(done + 1, len(lines))
        rows = deduplicate(LoggedRows.concatenate(parts))
        known = np.full(len(rows), UNLABELLED, dtype=np.int64)
        for place, address in enumerate(zip(rows.prediction_id, rows.row.tolist(), strict=True)):
            if address in labels:
                label = labels[address]
                known[place] = NONE_OF_THE_CLASSES if label is None else label
        with self.database.write() as connection:
            runs.note(connection, self.claim, rows=len(rows), rows_labelled=int((known != UNLABELLED).sum()))
        return Window.split(rows.x, known, rng=rng, past_agreement=agreement)

    def version(self, number: int) -> Bundle:
        with self.database.read() as connection:
            digest = registry.version(connection, self.model["id"], number)["digest"]
        manifest, arrays = self.artifacts.read(digest)
        return network.build(manifest, arrays, allowlist=self.settings.allowlist)

    def publish(self, outcome: Turn) -> None:
        """The artifact first, then one commit: version, verdict, epoch and the run's end, if the token is still the newest."""
        digest = None
        if outcome.student is not None and not network.non_finite_weights(outcome.student):
            manifest, arrays = network.pack(outcome.student)
            manifest |= {"run": self.run["id"], "parent": self.run["parent_version"], "config": self.config_digest()}
            digest = self.artifacts.write(manifest, arrays)
        with self.database.write() as connection:
            registry.lock(connection, self.model["id"])
            self.note_window(connection, outcome)
            results = self.results(outcome)
            promoted = outcome.promoted and digest is not None
            if promoted and not self.parent_still_serves(connection):
                promoted, results["detail"] = False, "another version was promoted while this run worked"
            if digest is not None and outcome.verdict is not None:
                results["version"] = self.add_version(connection, outcome.verdict, digest, promoted)
            state = "succeeded" if promoted else "failed" if self.run["parent_version"] is None else "rejected"
            runs.finish(connection, self.claim, state=state, promoted=promoted, **results)
        log.info("run ended", state=state, version=results.get("version"), detail=results["detail"])

    def parent_still_serves(self, connection: Connection) -> bool:
        champion = registry.champion(connection, self.model["id"])
        return (champion.to_version if champion else None) == self.run["parent_version"]

    def add_version(self, connection: Connection, verdict: Verdict, digest: str, promoted: bool) -> int:
        first = self.run["parent_version"] is None
        number = registry.add_version(
            connection,
            self.model["id"],
            digest=digest,
            promoted=promoted,
            parent=self.run["parent_version"],
            run_id=self.run["id"],
            gates=[asdict(gate) for gate in verdict.gates],
            evidence=verdict.evidence,
        )
        if promoted:
            kind, evidence = ("first", None) if first else ("promote", verdict.evidence)
            epoch = registry.promote(
                connection,
                self.model["id"],
                number,
                kind=kind,
                actor="loop",
                reason=self.run["reason"],
                run_id=self.run["id"],
                evidence=evidence,
            )
            content = {"version": number, "epoch": epoch, "run": self.run["id"]}
            audit.write(connection, actor="loop", action="version.promote", target=self.model["name"], **content)
        return number

    def note_window(self, connection: Connection, outcome: Turn) -> None:
        """What the run found, written beside the window it learnt from; an alarm quarantines the window."""
        if outcome.drift is None:
            return
        labels = outcome.labels
        found = {
            "drift": _drift(outcome.drift),
            "rows_pseudo_labelled": int(labels.accepted.sum()) if labels else 0,
            "rows_refused": sum(labels.refused.values()) if labels else 0,
            "rows_labelled": runs.get(connection, self.run["id"])["rows_labelled"] or 0,
        }
        if outcome.drift.alarms:
            found["state"] = "quarantined"
        for number in self.run["windows"]:
            catalog.note_window(connection, self.model["id"], number, **found)

    def results(self, outcome: Turn) -> dict[str, Any]:
        labels, verdict = outcome.labels, outcome.verdict
        return {
            "detail": outcome.detail,
            "drift": _drift(outcome.drift) if outcome.drift else None,
            "gates": [asdict(gate) for gate in verdict.gates] if verdict else None,
            "evidence": verdict.evidence if verdict and self.run["parent_version"] is not None else None,
            "rows_pseudo_labelled": int(labels.accepted.sum()) if labels else None,
            "refused": labels.refused if labels else None,
            "config_digest": self.config_digest(),
        }

    def config_digest(self) -> str:
        """One digest over all settings that this run obeyed."""
        settings = {"spec": self.spec.as_json(), "policy": asdict(self.policy), "gates": asdict(self.gates)}
        return "sha256:" + hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()

    def end(self, state: str, detail: str) -> None:
        with self.database.write() as connection:
            runs.finish(connection, self.claim, state=state, detail=detail[:2000], config_digest=self.config_digest())


def _drift(drift: Drift) -> dict[str, Any]:
    effects = {name: {**asdict(effect), "detected": effect.detected} for name, effect in drift.effects.items()}
    return {
        "kind": drift.kind,
        "amount": drift.amount,
        "agreement": drift.agreement,
        "effects": effects,
        "detail": drift.detail,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run")
    parser.add_argument("token", type=int)
    parser.add_argument("attempt", type=int)
    arguments = parser.parse_args()
    die_with_parent()
    settings = server_settings()
    configure(settings.log_level, process="trainer", run=arguments.run)
    torch.set_num_threads(max(1, (os.cpu_count() or 2) - 1))
    torch.use_deterministic_algorithms(True, warn_only=True)
    claim = Claim(run_id=arguments.run, token=arguments.token, attempt=arguments.attempt)
    try:
        Trainer(settings, claim).work()
    except LeaseLost:
        log.warning("the run is somebody else's by now; nothing was published")


if __name__ == "__main__":
    main()
