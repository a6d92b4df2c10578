"""Ours: the product's own loop, played in memory. The one place of this benchmark that calls it.

A window is learnt from as the service does it when `acclimate play` asks for a run after each: too
few rows wait for the next window, held-out rows and stages draw from the run's own random states, a
version answers in its mode and carries its own running state, a label judges once and then teaches,
a watch over the answers of a new version may take it back, the agreement remembered is that of the
last window that is not quarantined. Policy and gates are the defaults.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from acclimate.learning import pipeline
from acclimate.learning.data import UNLABELLED, Floats, Integers, Json, Part, Past, Rows, Window
from acclimate.learning.evaluation import rollback_monitor
from acclimate.learning.evaluation.accuracy_estimate import estimate
from acclimate.learning.evaluation.behaviour import Behaviour
from acclimate.learning.models.answers import Running
from acclimate.learning.models.network import Bundle
from acclimate.learning.pipeline import Turn
from benchmarks.streams.learner import Learnt
from benchmarks.streams.starts import Task, run_number, step

AUDITED = 25
TAUGHT_WINDOWS = 8
"""Labels of so many earlier windows teach, as in the service
(`acclimate.storage.runs.label_snapshot`, which speaks SQL).
"""


@dataclass(kw_only=True, eq=False)
class Serving:
    """A version that serves: how it answers, how it was seen to answer when it was judged, and what
    it said since.
    """

    version: int
    bundle: Bundle
    expected: Behaviour | None
    learnt_from: int | None
    running: Running = field(init=False)
    answered: list[Floats] = field(default_factory=list)
    watched: bool = True
    """Whether its watch goes on; that of version 1 never does."""

    def __post_init__(self) -> None:
        self.running = Running(self.bundle)
        self.watched = self.learnt_from is not None

    def worse(self, needed: int) -> str | None:
        """What the watch says against its answers so far, if it says anything."""
        if not self.watched or self.expected is None:
            return None
        live = np.concatenate(self.answered)[:needed] if self.answered else None
        found = rollback_monitor.judge(
            self.expected, None if live is None else Behaviour.of(live), needed=needed
        )
        self.watched = found.state == "watching"
        return found.reason


class Ours:
    """The loop without labels."""

    audit = 0

    def __init__(self, task: Task, windows: int) -> None:
        self.task, self.number = task, 0
        self.diagnosed: dict[int, tuple[Json, bool]] = {}
        self.waiting: list[tuple[Rows, Integers, Floats]] = []
        self.labelled: list[Part] = []
        begun = pipeline.begin(task.spec, task.parts, step=step(task, run_number(task.seed, 0)))
        assert begun.student is not None
        self.begun, self.anchor = begun, begun.student
        self.serving = Serving(
            version=1,
            bundle=begun.student,
            expected=begun.expected.get("student"),
            learnt_from=None,
        )
        self.previous: Serving | None = None
        self.versions = 1

    def answers(self, x: Rows) -> Floats:
        given = self.serving.running.answer(x)
        self.serving.answered.append(given)
        return given

    def learn(self, x: Rows, y: Integers, answers: Floats) -> Learnt:
        undone = self.watch()
        self.waiting.append((x, y, answers))
        x, y, answers = (np.concatenate(parts) for parts in zip(*self.waiting, strict=True))
        if len(x) < self.task.spec.policy.min_window_rows:
            return Learnt(outcome="w", detail=undone, told={"rolled_back": bool(undone)})
        self.waiting = []
        self.number += 1
        run = run_number(self.task.seed, self.number)
        labels = self.labels(y, run)
        window = self.window(x, labels, run, **self.known())
        turn = self.turn(window, run)
        self.labelled.append(Part(x=x[labels >= 0], y=labels[labels >= 0]))
        told = {
            **_told(turn),
            "estimate": self.estimated(turn, y, answers),
            "rolled_back": bool(undone),
        }
        if turn.drift is not None:
            self.diagnosed[self.number] = turn.drift.document, not turn.drift.alarms
        replaced = self.promote(turn) if turn.promoted else None
        detail = "; ".join(part for part in (undone, turn.detail) if part)
        return Learnt(
            outcome=_outcome(turn),
            detail=detail,
            replaced=None if replaced is None else replaced.running.answer,
            told={**told, "mode": self.serving.bundle.mode.name},
        )

    def window(self, x: Rows, labels: Integers, run: int, **known: Any) -> Window:
        return Window.split(x, labels, rng=pipeline.stage_rng(run, "snapshot"), **known)

    def turn(self, window: Window, run: int) -> Turn:
        spec, walk = self.task.spec, step(self.task, run)
        champion = self.serving.bundle
        how = {"step": walk, "rehearsal": self.begun.rehearsal}
        return pipeline.turn(
            window, self.task.parts, champion, self.anchor, spec.policy, spec.gates, **how
        )

    def promote(self, turn: Turn) -> Serving:
        """The turn's student serves from here on; what served before is given back."""
        assert turn.student is not None
        replaced = self.serving
        self.versions += 1
        self.previous = replaced
        self.serving = Serving(
            version=self.versions,
            bundle=turn.student,
            expected=turn.expected.get("student"),
            learnt_from=self.number,
        )
        return replaced

    def watch(self) -> str:
        """Takes a new version back whose answers are not as expected, as the service does; says
        why.
        """
        reason = self.serving.worse(self.task.spec.policy.watch_rows)
        if reason is None or self.previous is None:
            return ""
        undone, self.serving, self.previous = self.serving, self.previous, None
        self.serving.watched = False
        if undone.learnt_from is not None:
            self.diagnosed[undone.learnt_from] = self.diagnosed[undone.learnt_from][0], False
        return f"rolled back: {reason}"

    def known(self) -> dict[str, Any]:
        """What a run knows of earlier windows."""
        taught = [part for part in self.labelled[-TAUGHT_WINDOWS:] if len(part)][::-1]
        newest = max((number for number, (_, good) in self.diagnosed.items() if good), default=None)
        return {
            "number": self.number,
            "past": None
            if newest is None
            else Past.of(
                self.diagnosed[newest][0], standing=not self.diagnosed[max(self.diagnosed)][1]
            ),
            "taught": Part(
                x=np.concatenate([part.x for part in taught]),
                y=np.concatenate([part.y for part in taught]),
            )
            if taught
            else None,
        }

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
            Behaviour.of(answers),
            expected=self.serving.expected,
            drift=turn.drift,
            frozen=self.serving.version == 1,
            second=turn.second,
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
        told["failed"] = [
            gate.gate for gate in turn.verdict.gates if gate.binds and gate.verdict != "pass"
        ]
    return told
