"""A student of one window in rounds: it learns from the champion's labels, then from its own better
ones.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from acclimate.learning.data import PseudoLabels, SeedSet, Window
from acclimate.learning.models.network import Bundle
from acclimate.learning.training.calibration import calibrate
from acclimate.learning.training.pseudo_labels import choose
from acclimate.learning.training.recipes import Recipe
from acclimate.learning.training.replay import Replay
from acclimate.learning.training.student import train

Tick = Callable[[int, int], None]


def learn(
    champion: Bundle,
    window: Window,
    labels: PseudoLabels,
    seed: SeedSet,
    recipe: Recipe,
    client_share: float = 1.0,
    *,
    rng: np.random.Generator,
    tick: Tick,
) -> Bundle:
    """The student after `recipe.rounds` of training, each on the labels that it gives by then; not
    yet calibrated.

    Many short rounds follow a drift inside one window: what the champion is unsure of, the student
    of surer rows labels better (docs/decisions/0022). It ends early where too little is trusted.
    `client_share` holds in each round, of its own rows. Raises `student.NonFiniteLoss`.
    """
    short = replace(recipe, steps=recipe.steps // recipe.rounds)
    replay = Replay(trusted=seed.train, taught=window.taught)
    student = champion
    isolated, unvouched = labels.refusal == "isolated", labels.refusal == "unvouched"
    for number in range(recipe.rounds):
        student = train(
            student, window, labels, replay, short, rng=rng, tick=_part(tick, number, recipe.rounds)
        )
        if number + 1 < recipe.rounds:
            student = calibrate(student, seed.calibration, rng=rng, tick=_unheard)
            labels = choose(
                window,
                student,
                seed.train,
                client_share,
                unvouched=unvouched,
                isolated=isolated,
                rng=rng,
                tick=_unheard,
            )
            if labels.too_few:
                break
    return student


def _part(tick: Tick, number: int, rounds: int) -> Tick:
    return lambda done, total: tick(number * total + done, rounds * total)


def _unheard(done: int, total: int) -> None:
    """The steps between two rounds are too short to report."""
