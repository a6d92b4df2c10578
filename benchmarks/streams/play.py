"""Ours: the product's own loop, played in memory. The one place of this benchmark that calls it.

A window is learnt from as the service does it when `acclimate play` asks for a run after each. Too
few rows wait for the next window. Held-out rows and stages draw from the run's own random states. A
version answers in its mode and carries its own running state. A label judges once and then teaches.
The serving guard decides who answers; learning goes on from the learner. Policy and gates are the
defaults.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from acclimate.learning import pipeline
from acclimate.learning.data import (
    LOOKED_ANEW,
    UNLABELLED,
    Floats,
    Integers,
    Json,
    Part,
    Past,
    Rows,
    Senders,
    Snapshot,
    Window,
)
from acclimate.learning.evaluation import serving_guard, shadowing
from acclimate.learning.evaluation.accuracy_estimate import estimate
from acclimate.learning.evaluation.behaviour import Behaviour
from acclimate.learning.models.bundle import Bundle
from acclimate.learning.models.running import Running
from acclimate.learning.outcomes import Judged, NothingToLearn, Outcome, Quarantined
from acclimate.learning.run_inputs import RunInputs
from acclimate.learning.thresholds import DEFAULT, Thresholds
from benchmarks.streams.learner import Learnt
from benchmarks.streams.starts import Task, run_number, step

AUDITED, FEW = 25, 10
TAUGHT_WINDOWS = 8
"""Labels of so many earlier windows teach, as in the service
(`acclimate.storage.runs.label_snapshot`, which speaks SQL).
"""


@dataclass(kw_only=True, eq=False)
class Held:
    """A version with its running state, and how it answered when it was judged."""

    version: int
    bundle: Bundle
    expected: Behaviour | None
    running: Running = field(init=False)

    def __post_init__(self) -> None:
        self.running = Running(self.bundle)


class Ours:
    """The loop without labels, under `limits`."""

    audit = 0

    def __init__(self, task: Task, windows: int, limits: Thresholds = DEFAULT) -> None:
        self.task, self.number, self.limits = task, 0, limits
        self.diagnosed: dict[int, tuple[Json, bool]] = {}
        self.waiting: list[tuple[Rows, Integers, Floats]] = []
        self.labelled: list[Part] = []
        walk = step(task, run_number(task.seed, 0))
        begun = pipeline.begin(task.spec, task.parts, step=walk, limits=limits)
        self.begun, self.anchor = begun, begun.student
        first = Held(version=1, bundle=begun.student, expected=begun.expected.get("student"))
        self.first = self.learner = self.proved = first
        self.standing = serving_guard.STARTING
        self.versions = 1

    @property
    def serving(self) -> Held:
        """The version that answers."""
        return self.learner if self.standing.serves == "learner" else self.proved

    def answers(self, x: Rows) -> Floats:
        """What is served to the rows; every `watch_rows` of them the versions are compared."""
        size = self.task.spec.policy.watch_rows or len(x)
        parts = []
        for start in range(0, max(1, len(x)), size):
            part = x[start : start + size]
            parts.append(self.serving.running.answer(part))
            if len(part) == self.task.spec.policy.watch_rows:
                self.watch(part)
        return np.concatenate(parts)

    def watch(self, x: Rows) -> None:
        """The learner answers no longer where it fell behind on these rows."""
        if self.serving is self.proved or not self.limits.on("serving_guard"):
            return
        nothing = np.full(len(x), UNLABELLED, dtype=np.int64)
        found = shadowing.compare(
            self.learner.bundle, self.proved.bundle, x, nothing, limits=self.limits
        )
        allowed = self.task.spec.policy.max_unproved
        decided = serving_guard.decide(
            self.standing, found, at_once=True, max_unproved=allowed, limits=self.limits
        )
        if decided.standing.serves == "proved":
            self.standing = replace(self.standing, serves="proved")

    def learn(self, x: Rows, y: Integers, answers: Floats) -> Learnt:
        self.waiting.append((x, y, answers))
        x, y, answers = (np.concatenate(parts) for parts in zip(*self.waiting, strict=True))
        if len(x) < self.task.spec.policy.min_window_rows:
            return Learnt(outcome="w")
        self.waiting = []
        self.number += 1
        number = run_number(self.task.seed, self.number)
        labels = self.labels(x, y, number)
        window = Window.split(
            x,
            self.snapshot(labels),
            rng=pipeline.stage_rng(number, "snapshot"),
            senders=self.senders(x, number),
        )
        outcome = self.run(window, number)
        self.labelled.append(Part(x=x[labels >= 0], y=labels[labels >= 0]))
        told = {**_told(outcome), "estimate": self.estimated(outcome, y, answers)}
        drift = outcome.diagnosis.drift
        answered = isinstance(outcome, Judged) and outcome.answered
        self.diagnosed[self.number] = drift.document, answered or not drift.alarms
        before = self.serving
        self.decide(outcome)
        return Learnt(
            outcome=letter(outcome),
            detail=outcome.detail or "",
            replaced=None if self.serving is before else before.running.answer,
            told={**told, "mode": self.serving.bundle.serving_mode},
        )

    def run(self, window: Window, number: int) -> Outcome:
        spec = self.task.spec
        inputs = RunInputs(
            window=window,
            seed=self.task.parts,
            champion=self.learner.bundle,
            anchor=self.anchor,
            proved=self.proved.bundle,
            standing=self.standing,
            policy=spec.policy,
            gates=spec.gates,
            simulation=self.begun.simulation,
            limits=self.limits,
        )
        return pipeline.run(inputs, step(self.task, number))

    def decide(self, outcome: Outcome) -> None:
        """Takes up what the guard says of the version compared, and the student where promoted."""
        if outcome.serving is not None:
            self.standing = outcome.serving.standing
            if outcome.serving.withdraws:
                self.proved = self.first
            if outcome.serving.proves:
                self.proved = self.learner
        if isinstance(outcome, Judged) and outcome.promoted:
            self.versions += 1
            self.learner = Held(
                version=self.versions,
                bundle=outcome.student,
                expected=outcome.expected.get("student"),
            )

    def snapshot(self, labels: Integers) -> Snapshot:
        """What a run knows of its rows' labels and of earlier windows."""
        taught = [part for part in self.labelled[-TAUGHT_WINDOWS:] if len(part)][::-1]
        good = [number for number, (_, good) in self.diagnosed.items() if good]
        past = None
        newest = max(self.diagnosed, default=0)
        alarmed = newest - max(good, default=0)
        if alarmed >= LOOKED_ANEW:
            past = Past.of(self.diagnosed[newest][0], anew=True)
        elif good:
            past = Past.of(self.diagnosed[max(good)][0], standing=alarmed > 0)
        return Snapshot(
            labels=labels,
            number=self.number,
            past=past,
            taught=Part.joined(*taught) if taught else None,
        )

    def senders(self, x: Rows, number: int) -> Senders | None:
        """Who sent the rows; None where nobody knows."""
        return None

    def labels(self, x: Rows, y: Integers, number: int) -> Integers:
        """The labels of a window, as the label queue asks for `audit` of them.

        Half of them where learner and proved version differ, the others uniformly.
        """
        rng = np.random.default_rng([number, 25])
        labels = np.full(len(y), UNLABELLED, dtype=np.int64)
        if not self.audit:
            return labels
        order = rng.permutation(len(y))
        ours, theirs = (
            Running(held.bundle).answer(x).argmax(axis=1) for held in (self.learner, self.proved)
        )
        judge = order[(ours != theirs)[order]][: self.audit // 2]
        teach = order[~np.isin(order, judge)][: self.audit - len(judge)]
        rows = np.concatenate([judge, teach])
        labels[rows] = y[rows]
        return labels

    def estimated(self, outcome: Outcome, y: Integers, answers: Floats) -> Json:
        """What the run estimates of the answers of its window, beside the truth."""
        told = estimate(
            Behaviour.of(answers),
            expected=self.serving.expected,
            drift=outcome.diagnosis.drift,
            frozen=self.serving.version == 1,
            second=outcome.opinion,
            limits=self.limits,
        ).as_json()
        truth = float((answers.argmax(axis=1) == y).mean())
        held = None if told["value"] is None else bool(told["lower"] <= truth <= told["upper"])
        return {**told, "truth": truth, "held": held}


class OursAudited(Ours):
    """The loop with 25 labels in each window."""

    audit = AUDITED


class OursFew(Ours):
    """The loop with ten labels in each window."""

    audit = FEW


def letter(outcome: Outcome) -> str:
    """The outcome as one of `learner.OUTCOMES`."""
    match outcome:
        case Judged():
            return "P" if outcome.promoted else "A" if outcome.diagnosis.drift.alarms else "g"
        case Quarantined():
            return "A"
        case NothingToLearn():
            return "l" if outcome.labels is not None else "n"


def _told(outcome: Outcome) -> Json:
    """What the run reports: drift, refusals, the gates that did not pass."""
    told: dict[str, Any] = {"drift": outcome.diagnosis.drift.document}
    if not isinstance(outcome, Quarantined) and outcome.labels is not None:
        told["accepted"] = int(outcome.labels.accepted.sum())
        told["refused"] = outcome.labels.refused
    if outcome.serving is not None:
        told["serving"] = outcome.serving.document
    if isinstance(outcome, Judged):
        told["evidence"] = outcome.verdict.evidence
        told["failed"] = [
            gate.gate for gate in outcome.verdict.gates if gate.binds and gate.verdict != "pass"
        ]
    return told
