"""Ours: the product's own loop, played in memory. The one place of this benchmark that calls it.

A window is learnt from as the service does it: too few rows wait for the next window, held-out rows and stages draw from the
run's own random states, the agreement remembered is that of the last window without an alarm, policy and gates are the defaults.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from acclimate.learning import loop
from acclimate.learning.behaviour import Behaviour
from acclimate.learning.estimate import estimate
from acclimate.learning.loop import Turn
from acclimate.learning.network import Bundle
from acclimate.learning.values import UNLABELLED, Floats, Integers, Json, Part, Rows, Window
from benchmarks.streams.learner import Learnt
from benchmarks.streams.starts import Task, run_number, step

AUDITED = 25
LESSONS = 8


class Ours:
    """The loop without labels."""

    audit = 0

    def __init__(self, task: Task, windows: int) -> None:
        self.task, self.number, self.version = task, 0, 1
        self.past_agreement: float | None = None
        self.waiting: list[tuple[Rows, Integers, Floats]] = []
        self.taught: list[Part] = []
        begun = loop.begin(task.spec, task.parts, step=step(task, run_number(task.seed, 0)))
        assert begun.student is not None
        self.anchor: Bundle = begun.student
        self.champion: Bundle = begun.student
        self.expected = begun.expected.get("student")

    def answers(self, x: Rows) -> Floats:
        return self.champion.probabilities(x)

    def learn(self, x: Rows, y: Integers, answers: Floats) -> Learnt:
        self.waiting.append((x, y, answers))
        x, y, answers = (np.concatenate(parts) for parts in zip(*self.waiting, strict=True))
        policy, gates = self.task.spec.policy, self.task.spec.gates
        if len(x) < policy.min_window_rows:
            return Learnt(outcome="w")
        self.waiting = []
        self.number += 1
        run = run_number(self.task.seed, self.number)
        labels = self.labels(y, run)
        known = {"past_agreement": self.past_agreement, "taught": self.lessons()}
        window = Window.split(x, labels, rng=loop.stage_rng(run, "snapshot"), **known)
        if self.audit:
            self.taught.insert(0, Part(x=x[labels != UNLABELLED], y=labels[labels != UNLABELLED]))
        turn = loop.turn(window, self.task.parts, self.champion, self.anchor, policy, gates, step=step(self.task, run))
        told = {**_told(turn), "estimate": self.estimated(turn, y, answers)}
        if turn.drift is not None and not turn.drift.alarms:
            self.past_agreement = turn.drift.agreement
        replaced = None
        if turn.promoted:
            assert turn.student is not None
            replaced = self.champion.probabilities
            self.champion, self.version = turn.student, self.version + 1
            self.expected = turn.expected.get("student")
        return Learnt(outcome=_outcome(turn), detail=turn.detail or "", replaced=replaced, told=told)

    def lessons(self) -> Part | None:
        """The labelled rows of the last eight windows, which have judged and now teach, newest first."""
        if not self.taught:
            return None
        parts = self.taught[:LESSONS]
        return Part(x=np.concatenate([part.x for part in parts]), y=np.concatenate([part.y for part in parts]))

    def labels(self, y: Integers, run: int) -> Integers:
        """The audit labels of a window: of so many rows drawn uniformly, whatever they are."""
        labels = np.full(len(y), UNLABELLED, dtype=np.int64)
        rows = np.random.default_rng([run, 25]).permutation(len(y))[: self.audit]
        labels[rows] = y[rows]
        return labels

    def estimated(self, turn: Turn, y: Integers, answers: Floats) -> Json | None:
        """What the run says of the answers of its window, beside the truth that it did not know."""
        if turn.drift is None:
            return None
        told = estimate(
            Behaviour.of(answers), expected=self.expected, drift=turn.drift, frozen=self.version == 1
        ).as_json()
        truth = float((answers.argmax(axis=1) == y).mean())
        held = None if told["value"] is None else bool(told["lower"] <= truth <= told["upper"])
        return {**told, "truth": truth, "held": held}


class OursAudited(Ours):
    """The loop with 25 audit labels in each window."""

    audit = AUDITED


def _outcome(turn: Turn) -> str:
    if turn.promoted:
        return "P"
    if turn.drift is not None and turn.drift.alarms:
        return "A"
    if turn.verdict is not None:
        return "g"
    return "l" if turn.labels is not None else "n"


def _told(turn: Turn) -> Json:
    """What the run would tell: drift, refusals, the gates that did not pass."""
    told: dict[str, Any] = {"drift": turn.drift.document if turn.drift is not None else None}
    if turn.labels is not None:
        told["accepted"] = int(turn.labels.accepted.sum())
        told["refused"] = turn.labels.refused
    if turn.verdict is not None:
        told["evidence"] = turn.verdict.evidence
        told["failed"] = [gate.gate for gate in turn.verdict.gates if gate.binds and gate.verdict != "pass"]
    return told
