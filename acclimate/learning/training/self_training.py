"""Self-training in rounds: the student learns the teacher's labels, then its own later ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from acclimate.learning.data import PseudoLabels, SeedSet, Window
from acclimate.learning.models.bundle import Bundle
from acclimate.learning.training.calibration import calibrate
from acclimate.learning.training.pseudo_labels import Relabel
from acclimate.learning.training.recipes import Recipe
from acclimate.learning.training.replay import Replay
from acclimate.learning.training.student import train

Tick = Callable[[int, int], None]


def self_train(
    teacher: Bundle,
    window: Window,
    labels: PseudoLabels,
    seed: SeedSet,
    recipe: Recipe,
    relabel: Relabel,
    *,
    rng: np.random.Generator,
    tick: Tick,
) -> Bundle:
    """The student after `recipe.rounds` of training, each on its labels of then; not calibrated.

    Many short rounds follow drift inside one window: rows that the teacher is unsure of are
    labelled better by a student of surer rows. Ends early where too few rows are accepted. Raises
    `student.NonFiniteLoss`.
    """
    replay = Replay.of(seed, window, teacher.network_spec.members)
    student = teacher
    for number in range(recipe.rounds):
        part = _part(tick, number, recipe.rounds)
        short = replace(recipe, steps=recipe.round_steps(int(labels.accepted.sum())))
        student = train(student, window, labels, replay, short, rng=rng, tick=part)
        if number + 1 == recipe.rounds:
            break
        student = calibrate(student, seed.calibration, rng=rng, tick=_silent)
        labels = relabel(student, rng)
        if labels.too_few:
            break
    return student


def _part(tick: Tick, number: int, rounds: int) -> Tick:
    return lambda done, total: tick(number * total + done, rounds * total)


def _silent(done: int, total: int) -> None:
    """Calibration between two rounds is too short to report."""
