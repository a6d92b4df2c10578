"""`python -m benchmarks.streams.fingerprint`: one digest for each of six short plays of the loop.

`bits` covers every answer, every trained weight and every number of a verdict. It is the same for
the same learning on the same machine. `verdicts` covers what was decided: outcomes, kinds of drift
and which gates passed. It stays the same where only the last bits of a number differ.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import multiprocessing
import platform
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from acclimate.learning.data import (
    NONE_OF_THE_CLASSES,
    UNLABELLED,
    Integers,
    Rows,
    Senders,
    Window,
)
from acclimate.learning.models import bundle as bundles
from acclimate.learning.models import bundle_format
from acclimate.learning.outcomes import Judged, Outcome, Quarantined
from benchmarks.streams import events, gradual, prior, starts, stream
from benchmarks.streams.play import Ours
from benchmarks.streams.starts import Task
from benchmarks.streams.stream import Shown, Stream

SEED = 3
KEYS = 4
"""Clients that send the rows of a play with clients; the last one is the attacker of `classes`."""
LABELS = 25


@dataclass(frozen=True, kw_only=True)
class Play:
    """A few windows of a stream, and what is known beside the rows: who sent them, labels."""

    build: Callable[[int], Stream]
    windows: tuple[int, ...]
    file: str | None = None
    labels: int = 0
    unknown: bool = False
    """Whether people give none of the classes to the labelled rows of the last window."""
    clients: bool = False
    policy: tuple[tuple[str, Any], ...] = ()


PLAYS = {
    "digits": Play(build=gradual.digits, windows=(1, 4, 7)),
    "gas": Play(build=gradual.gas, windows=(0, 1, 2, 3, 4), file="gasdrift_8of10", labels=LABELS),
    "typing": Play(build=gradual.keystroke, windows=(0, 2, 4), file="keystroke", labels=LABELS),
    "classes": Play(
        build=gradual.synthetic,
        windows=(0, 2, 4, 6, 8),
        clients=True,
        policy=(("client_share", 0.5), ("learnable", "yes")),
    ),
    "swings": Play(build=prior.prior_vector, windows=(0, 1, 2, 3, 4, 5), clients=True),
    "jump": Play(build=events.jump_vector, windows=(1, 2, 3, 4), labels=60, unknown=True),
}


class Fingerprinted(Ours):
    """The product's loop, with a digest over all it answers, makes and decides."""

    def __init__(self, play: Play, task: Task, windows: int) -> None:
        self.play = play
        self.audit = play.labels
        self.last = False
        self.bits, self.verdicts = hashlib.sha256(), hashlib.sha256()
        super().__init__(task, windows)
        self._take_bundle(self.anchor)
        simulation = self.begun.simulation
        self._take(simulation and simulation.as_json()["expected_gain"])

    def labels(self, x: Rows, y: Integers, number: int) -> Integers:
        labels = super().labels(x, y, number)
        if self.play.unknown and self.last:
            labels[labels != UNLABELLED] = NONE_OF_THE_CLASSES
        return labels

    def senders(self, x: Rows, number: int) -> Senders | None:
        if not self.play.clients:
            return None
        rng = np.random.default_rng([number, 26])
        names = tuple(f"key-{key}" for key in range(KEYS))
        return Senders(client=_senders(x, rng), names=names)

    def run(self, window: Window, number: int) -> Outcome:
        outcome = super().run(window, number)
        drift = outcome.diagnosis.drift
        self._take(drift.amount, drift.agreement, drift.priors)
        self.verdicts.update(drift.kind.encode())
        if not isinstance(outcome, Quarantined) and outcome.labels is not None:
            labels = outcome.labels
            for array in (labels.label, labels.confidence, labels.votes, labels.accepted):
                self.bits.update(np.ascontiguousarray(array).tobytes())
            self._take(sorted(labels.refused.values()))
        if isinstance(outcome, Judged):
            self._take_bundle(outcome.student)
            for gate in outcome.verdict.gates:
                self._take(gate.value, gate.limit, gate.n)
                self.verdicts.update(f"{gate.gate} {gate.verdict} {gate.binds};".encode())
        return outcome

    def show(self, window: Shown) -> str:
        """The outcome of one window, answered and then learnt from."""
        answers = self.answers(window.x)
        self.bits.update(np.ascontiguousarray(answers).tobytes())
        learnt = self.learn(window.x, window.y, answers)
        estimate = learnt.told.get("estimate") or {}
        self._take([estimate.get(name) for name in ("value", "lower", "upper")])
        self.verdicts.update(f"{learnt.outcome}{estimate.get('value') is None}".encode())
        return learnt.outcome

    def _take(self, *numbers: Any) -> None:
        self.bits.update(json.dumps(numbers, default=float).encode())

    def _take_bundle(self, bundle: bundles.Bundle) -> None:
        _, arrays = bundle_format.pack(bundle)
        self._take(bundle.temperature, bundle.strength)
        self.verdicts.update(bundle.serving_mode.encode())
        for name in sorted(arrays):
            array = arrays[name]
            content = str(array.tolist()) if array.dtype == object else array.tobytes()
            self.bits.update(content.encode() if isinstance(content, str) else content)


def _senders(x: Any, rng: np.random.Generator) -> Integers:
    """Who sent each row: three clients send everything; the fourth only rows of one corner."""
    client = rng.integers(KEYS - 1, size=len(x))
    flat = np.asarray(x, dtype=np.float64).reshape(len(x), -1)
    corner = np.argsort(-flat[:, 0])[: len(x) // 4]
    client[corner] = KEYS - 1
    return np.asarray(client, dtype=np.int64)


def fingerprint(name: str) -> dict[str, Any]:
    """The digests of one play: `bits`, `verdicts`, the letters of the outcomes and the seconds."""
    torch.set_num_threads(1)
    started = time.monotonic()
    play = PLAYS[name]
    whole = play.build(SEED)
    task = Task.of(f"fingerprint-{name}", SEED, whole)
    policy = replace(task.spec.policy, **dict(play.policy))
    task = replace(task, spec=replace(task.spec, policy=policy))
    outcomes = ""
    with tempfile.TemporaryDirectory() as folder:
        starts.KEPT = Path(folder)  # version 1 is trained anew: its training is under test too
        learner = Fingerprinted(play, task, len(play.windows))
        for number in play.windows:
            learner.last = number == play.windows[-1]
            outcomes += learner.show(whole.windows[number])
    return {
        "bits": learner.bits.hexdigest()[:16],
        "verdicts": learner.verdicts.hexdigest()[:16],
        "outcomes": outcomes,
        "seconds": round(time.monotonic() - started, 1),
    }


def absent(name: str) -> Path | None:
    """The stream file that a play lacks, if it lacks one."""
    file = PLAYS[name].file
    path = stream.source(file) if file is not None else None
    return path if path is not None and not path.is_file() else None


def machine() -> str:
    """What the bits of a float depend on: the processor's instruction set and the libraries."""
    capability = torch.backends.cpu.get_cpu_capability()
    versions = f"torch {torch.__version__.partition('+')[0]} numpy {np.__version__}"
    return f"{platform.machine()} {_processor()} {capability} {versions}"


def _processor() -> str:
    path = Path("/proc/cpuinfo")
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor())


def all_fingerprints(names: tuple[str, ...] = tuple(PLAYS), *, jobs: int = 2) -> dict[str, Any]:
    """The digests of the plays whose files are there, by name, in the order of `PLAYS`."""
    here = [name for name in names if absent(name) is None]
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, mp_context=context) as pool:
        return dict(zip(here, pool.map(fingerprint, here), strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.streams.fingerprint", description=__doc__)
    parser.add_argument("--only", default=",".join(PLAYS), help="plays by commas [all]")
    parser.add_argument("--jobs", type=int, default=2, help="processes [2]")
    parser.add_argument("--write", help="a JSON file that is to hold the digests from now on")
    asked = parser.parse_args()
    names = tuple(asked.only.split(","))
    for name in names:
        if (path := absent(name)) is not None:
            print(f"skipped {name}: {path} is not there (ACCLIMATE_STREAMS)")
    found = all_fingerprints(names, jobs=asked.jobs)
    for name, told in found.items():
        print(
            f"{name:8s} bits {told['bits']} verdicts {told['verdicts']} {told['outcomes']} "
            f"{told['seconds']} s"
        )
    if asked.write:
        kept = {
            name: {key: told[key] for key in ("bits", "verdicts", "outcomes")}
            for name, told in found.items()
        }
        document = {"machine": machine(), "plays": kept}
        Path(asked.write).write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
