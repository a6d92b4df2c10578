"""How a student learns: named settings. No torch here."""

from __future__ import annotations

import math
from dataclasses import dataclass

PASSES = 30
"""Over the rows that train: as many for a student as for version 1."""


class UnknownRecipe(ValueError):
    """No recipe has this name; the message lists those there are."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """One way to train the members of a version, each from its own draws.

    At most `steps` of each member in all, in so many `rounds`, and at most so many `passes` over
    the pseudo-labelled rows: few rows that are drawn often are learnt by heart. Before each round
    but the first the student labels the rows anew. A batch is `window_rows` pseudo-labelled rows,
    `replay_rows` of the seed set and `taught_rows` that people labelled, where there are any; all
    augmented as strongly as the version's rows stand.
    """

    name: str
    steps: int
    rounds: int = 1
    passes: int = PASSES
    window_rows: int = 64
    replay_rows: int = 32
    taught_rows: int = 16
    learning_rate: float = 1e-3
    weight_decay: float = 1e-2

    def round_steps(self, rows: int) -> int:
        """The steps of one round over so many pseudo-labelled rows."""
        enough = math.ceil(self.passes * rows / (self.rounds * self.window_rows))
        return min(self.steps // self.rounds, max(1, enough))


RECIPES = {recipe.name: recipe for recipe in (Recipe(name="self_training", steps=240, rounds=6),)}

ANCHOR_STEPS = (800, 6000)
"""Fewest and most; between them about `PASSES` over the seed's training part."""


def named(name: str) -> Recipe:
    """The recipe of this name. Raises `UnknownRecipe`."""
    if name not in RECIPES:
        raise UnknownRecipe(f"unknown recipe {name!r}; known: {', '.join(RECIPES)}")
    return RECIPES[name]


def anchor(rows: int) -> Recipe:
    """How version 1 learns from so many rows of the seed's training part, and from nothing else."""
    low, high = ANCHOR_STEPS
    return Recipe(
        name="anchor", steps=min(max(low, PASSES * rows // 64), high), window_rows=0, replay_rows=64
    )
