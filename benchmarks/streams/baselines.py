"""What others do: nothing, one round of self-training, a naive loop, gradual self-training; and
what labels would give.

Self-training baselines start from one member of version 1 of the same spec, so from the same
augmentation; their own training is as it is usually written down: no augmentation, no replay, no
gates, a student warm started from its teacher.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from acclimate.learning.data import Floats, Integers, Rows
from acclimate.learning.models.bundle import Bundle
from acclimate.learning.training import recipes
from acclimate.learning.training.recipes import Recipe
from benchmarks.streams.learner import Learnt
from benchmarks.streams.starts import Task, anchor, run_number, student

SURE = 0.9
"""The confidence that a naive loop asks of a row."""
DROPPED = 0.1
"""The share of least confident rows that Kumar et al. (2020) leave out."""
EPOCHS = 10
LEAST_ROWS = 8
FIRST_SHARE = 0.25
"""Of a stream's windows: what one-shot self-training waits for."""


class Frozen:
    """Version 1, for ever."""

    def __init__(self, task: Task, windows: int) -> None:
        self.anchor = anchor(task)

    def answers(self, x: Rows) -> Floats:
        return self.anchor.network_probabilities(x)

    def learn(self, x: Rows, y: Integers, answers: Floats) -> Learnt:
        return Learnt(outcome="n")


class _Single:
    """One member of version 1, which becomes its own student."""

    def __init__(self, task: Task, windows: int) -> None:
        self.task, self.windows, self.seen = task, windows, 0
        self.anchor = anchor(task)
        network = replace(self.anchor.network_spec, members=1)
        self.model: Bundle = replace(
            self.anchor, network_spec=network, members=self.anchor.members[:1], strength=0.0
        )

    def answers(self, x: Rows) -> Floats:
        return self.model.network_probabilities(x)

    def become(self, x: Rows, label: Integers) -> Learnt:
        """Self-training on these rows alone: ten passes over them, and no fewer steps than the
        product's recipe takes.
        """
        if len(x) < LEAST_ROWS:
            return Learnt(outcome="l")
        ours = recipes.named(self.task.spec.policy.recipe)
        steps = max(ours.steps, math.ceil(EPOCHS * len(x) / ours.window_rows))
        alone: Recipe = replace(ours, steps=steps, replay_rows=0)
        old = self.model
        self.model = student(
            self.task, old, x, label, run=run_number(self.task.seed, self.seen), recipe=alone
        )
        return Learnt(outcome="P", replaced=old.network_probabilities)


class Naive(_Single):
    """Each window, every row of confidence 0.9 teaches."""

    def learn(self, x: Rows, y: Integers, answers: Floats) -> Learnt:
        self.seen += 1
        sure = answers.max(axis=1) >= SURE
        return self.become(x[sure], answers.argmax(axis=1)[sure])


class Kumar(_Single):
    """Gradual self-training (Kumar, Ma and Liang, ICML 2020): each window, all but the 10 % least
    confident rows teach.
    """

    def learn(self, x: Rows, y: Integers, answers: Floats) -> Learnt:
        self.seen += 1
        return self.become(*_surest(x, answers))


class OneShot(_Single):
    """Self-training once, as Kumar's, on the rows of the first quarter of the windows;
    never again.
    """

    def __init__(self, task: Task, windows: int) -> None:
        super().__init__(task, windows)
        self.kept: list[Rows] = []

    def learn(self, x: Rows, y: Integers, answers: Floats) -> Learnt:
        self.seen += 1
        last = math.ceil(FIRST_SHARE * self.windows)
        if self.seen > last:
            return Learnt(outcome="n")
        self.kept.append(x)
        if self.seen < last:
            return Learnt(outcome="w")
        rows = np.concatenate(self.kept)
        return self.become(*_surest(rows, self.model.network_probabilities(rows)))


class Oracle:
    """The same student as ours, trained on the true labels of every row of each past window, never
    judged.
    """

    def __init__(self, task: Task, windows: int) -> None:
        self.task, self.seen = task, 0
        self.anchor = self.model = anchor(task)

    def answers(self, x: Rows) -> Floats:
        return self.model.network_probabilities(x)

    def learn(self, x: Rows, y: Integers, answers: Floats) -> Learnt:
        self.seen += 1
        known = y >= 0
        if known.sum() < LEAST_ROWS:
            return Learnt(outcome="l")
        old = self.model
        self.model = student(
            self.task, old, x[known], y[known], run=run_number(self.task.seed, self.seen)
        )
        return Learnt(outcome="P", replaced=old.network_probabilities)


def _surest(x: Rows, answers: Floats) -> tuple[Rows, Integers]:
    order = np.argsort(-answers.max(axis=1), kind="stable")
    rows = np.sort(order[: math.ceil((1 - DROPPED) * len(order))])
    return x[rows], answers.argmax(axis=1)[rows]
