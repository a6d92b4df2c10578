"""Rehearses before any traffic what version 1 could learn by itself: made-up drift of the seed's
held-out rows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Literal

import numpy as np

from acclimate.learning.data import Integers, Part, Rows, SeedSet, Window
from acclimate.learning.evaluation import synthetic_drift
from acclimate.learning.evaluation.simulation_report import Act, Rehearsal
from acclimate.learning.evaluation.synthetic_drift import Warp
from acclimate.learning.models.network import Bundle
from acclimate.learning.training.calibration import calibrate
from acclimate.learning.training.pseudo_labels import choose
from acclimate.learning.training.recipes import Recipe
from acclimate.learning.training.self_training import learn

DRIFTS = 2
"""Made-up drifts, each played once with the seed's class shares and once with shares that swing."""
WINDOWS = 3
STEPS = 80
LOST_MARGIN = 0.30
"""Of version 1's margin over chance: what a made-up drift costs it in the end."""
STRENGTHS = (0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.65, 0.8, 1.0, 1.25, 1.5, 2.0)
RARE = 0.25
"""How much rarer the classes become that a swing leaves out."""

Tick = Callable[[int, int], None]


def rehearse(
    anchor: Bundle, seed: SeedSet, recipe: Recipe, *, rng: np.random.Generator, tick: Tick
) -> Rehearsal:
    """Plays the loop's own learning through windows of growing made-up drift, and reads the gain
    with the seed's labels.

    The rows are those that the anchor did not learn, and their labels are only read. A shorter
    schedule than that of a run.
    """
    held = seed.held_out
    short = replace(recipe, steps=STEPS, rounds=1)
    acts: list[Act] = []
    for _ in range(DRIFTS):
        drift = synthetic_drift.draw(anchor.encoding, rng)
        strength = _strength(anchor, held, drift)
        order = rng.permutation(len(anchor.input_spec.classes))
        for swing in (None, order):
            windows = [
                (drift(held.x[rows], strength * number / WINDOWS), held.y[rows])
                for number in range(1, WINDOWS + 1)
                for rows in [_rows(held.y, swing, number, rng)]
            ]
            windows.append((drift(held.x, strength), held.y))
            name: Literal["inputs", "inputs and class shares"] = (
                "inputs" if swing is None else "inputs and class shares"
            )
            acts.append(_play(anchor, seed, windows, name, short, rng=rng, tick=tick))
    return Rehearsal(acts=tuple(acts))


def _play(
    anchor: Bundle,
    seed: SeedSet,
    windows: list[tuple[Rows, Integers]],
    name: Literal["inputs", "inputs and class shares"],
    recipe: Recipe,
    *,
    rng: np.random.Generator,
    tick: Tick,
) -> Act:
    """Each window is answered before it is learnt from; the first, which nobody has learnt for,
    does not count.
    """
    champion, frozen, served = anchor, [], []
    for number, (x, y) in enumerate(windows):
        if number:
            frozen.append(_accuracy(anchor, x, y))
            served.append(_accuracy(champion, x, y))
        if number + 1 == len(windows):
            break
        window = Window(x=x, held_out=x[:0], held_out_labels=y[:0])
        labels = choose(window, champion, seed.train, rng=rng, tick=tick)
        if not labels.too_few:
            student = learn(champion, window, labels, seed, recipe, rng=rng, tick=tick)
            champion = calibrate(student, seed.calibration, rng=rng, tick=tick)
    return Act(drift=name, frozen=float(np.mean(frozen)), served=float(np.mean(served)))


def _strength(anchor: Bundle, held: Part, drift: Warp) -> float:
    """The least of `STRENGTHS` that costs the anchor `LOST_MARGIN`; the largest where none does."""
    chance = 1 / len(anchor.input_spec.classes)
    plain = _accuracy(anchor, held.x, held.y)
    wanted = plain - LOST_MARGIN * (plain - chance)
    for strength in STRENGTHS:
        if _accuracy(anchor, drift(held.x, strength), held.y) <= wanted:
            return strength
    return STRENGTHS[-1]


def _rows(y: Integers, swing: Integers | None, number: int, rng: np.random.Generator) -> Integers:
    """All rows, or those of a window in which half of the classes are rare: another half in each
    window.
    """
    if swing is None:
        return rng.permutation(len(y))
    often = np.roll(swing, number * max(1, len(swing) // 3))[: max(1, len(swing) // 2)]
    kept = rng.random(len(y)) < np.where(np.isin(y, often), 1.0, RARE)
    return rng.permutation(np.flatnonzero(kept))


def _accuracy(bundle: Bundle, x: Rows, y: Integers) -> float:
    return float((bundle.probabilities(x).argmax(axis=1) == y).mean())
