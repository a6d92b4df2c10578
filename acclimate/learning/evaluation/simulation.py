"""Simulates before any traffic what version 1 could learn by itself.

Synthetic drift of the seed's held-out rows is learnt without their labels; the labels score it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from acclimate.learning.data import Integers, Part, Rows, SeedSet, Window
from acclimate.learning.evaluation import synthetic_drift
from acclimate.learning.evaluation.simulation_report import Act, DriftName, Simulation
from acclimate.learning.evaluation.synthetic_drift import Warp
from acclimate.learning.models.bundle import Bundle
from acclimate.learning.thresholds import DEFAULT, Thresholds
from acclimate.learning.training.calibration import calibrate
from acclimate.learning.training.pseudo_labels import Candidates, relabeller, select
from acclimate.learning.training.recipes import Recipe
from acclimate.learning.training.self_training import self_train

DRIFTS = 2
"""Synthetic drifts, each played once with the seed's priors and once with priors that swing."""
WINDOWS = 3
STEPS = 80
STRENGTHS = (0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.65, 0.8, 1.0, 1.25, 1.5, 2.0)
RARE = 0.25
"""How much rarer the classes become that a swing leaves out."""

Tick = Callable[[int, int], None]


def simulate(
    anchor: Bundle,
    seed: SeedSet,
    recipe: Recipe,
    *,
    rng: np.random.Generator,
    tick: Tick,
    limits: Thresholds = DEFAULT,
) -> Simulation:
    """Plays the loop's own training through windows of growing synthetic drift.

    Rows are those that the anchor was not trained on. The schedule is shorter than that of a run.
    """
    held = seed.held_out
    short = replace(recipe, steps=STEPS, rounds=1)
    acts: list[Act] = []
    for _ in range(DRIFTS):
        drift = synthetic_drift.draw(anchor.encoding, rng)
        strength = _strength(anchor, held, drift, limits)
        order = rng.permutation(len(anchor.input_spec.classes))
        for swing in (None, order):
            windows = []
            for number in range(1, WINDOWS + 1):
                rows = _rows(held.y, swing, number, rng)
                part = strength * number / WINDOWS
                windows.append(Part(x=drift(held.x[rows], part), y=held.y[rows]))
            windows.append(Part(x=drift(held.x, strength), y=held.y))
            name: DriftName = "inputs" if swing is None else "inputs and class shares"
            played = _play(anchor, seed, windows, name, short, rng=rng, tick=tick, limits=limits)
            acts.append(played)
    return Simulation(acts=tuple(acts))


def _play(
    anchor: Bundle,
    seed: SeedSet,
    windows: list[Part],
    name: DriftName,
    recipe: Recipe,
    *,
    rng: np.random.Generator,
    tick: Tick,
    limits: Thresholds,
) -> Act:
    """Each window is answered before it is trained on; the first does not count."""
    champion, frozen, served = anchor, [], []
    for number, part in enumerate(windows):
        if number:
            frozen.append(_accuracy(anchor, part.x, part.y))
            served.append(_accuracy(champion, part.x, part.y))
        if number + 1 == len(windows):
            break
        window = Window(x=part.x, held_out=part.x[:0], held_out_labels=part.y[:0])
        candidates = Candidates.of(window, seed.train, limits=limits)
        labels = select(window, champion, seed.train, candidates, rng=rng, tick=tick, limits=limits)
        if not labels.too_few:
            relabel = relabeller(window, seed.train, candidates, labels, limits)
            student = self_train(
                champion, window, labels, seed, recipe, relabel, rng=rng, tick=tick
            )
            champion = calibrate(student, seed.calibration, rng=rng, tick=tick)
    return Act(drift=name, frozen=float(np.mean(frozen)), served=float(np.mean(served)))


def _strength(anchor: Bundle, held: Part, drift: Warp, limits: Thresholds) -> float:
    """The least of `STRENGTHS` that costs the anchor `simulated_loss`; the largest if none does."""
    chance = 1 / len(anchor.input_spec.classes)
    plain = _accuracy(anchor, held.x, held.y)
    wanted = plain - limits.simulated_loss * (plain - chance)
    for strength in STRENGTHS:
        if _accuracy(anchor, drift(held.x, strength), held.y) <= wanted:
            return strength
    return STRENGTHS[-1]


def _rows(y: Integers, swing: Integers | None, number: int, rng: np.random.Generator) -> Integers:
    """All rows, or a window in which half of the classes are rare: a new half each time."""
    if swing is None:
        return rng.permutation(len(y))
    often = np.roll(swing, number * max(1, len(swing) // 3))[: max(1, len(swing) // 2)]
    kept = rng.random(len(y)) < np.where(np.isin(y, often), 1.0, RARE)
    return rng.permutation(np.flatnonzero(kept))


def _accuracy(bundle: Bundle, x: Rows, y: Integers) -> float:
    return float((bundle.network_probabilities(x).argmax(axis=1) == y).mean())
