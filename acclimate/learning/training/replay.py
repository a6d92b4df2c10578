"""Trusted rows mixed into training: of the seed set against forgetting, and labelled traffic."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from acclimate.learning.data import Part

HALF_LIFE = 50
"""Labelled rows after which an older one is drawn half as often: two windows of 25."""


@dataclass(frozen=True, kw_only=True)
class Replay:
    """Draws from trusted rows alone: the seed's training part, never what calibrates or judges, and
    rows that people labelled.

    `taught` are the latter, newest first: they lie nearer to the traffic, and older ones fade.
    """

    trusted: Part
    taught: Part | None = None

    def draw(self, size: int, *, rng: np.random.Generator) -> Part:
        """`size` rows of the seed, each with the same chance, so that a batch has its class shares
        on average.
        """
        rows = rng.integers(len(self.trusted), size=size)
        return Part(x=self.trusted.x[rows], y=self.trusted.y[rows])

    def draw_taught(self, size: int, *, rng: np.random.Generator) -> Part | None:
        """`size` labelled rows; None where there are none."""
        if self.taught is None or not len(self.taught):
            return None
        weight = 0.5 ** (np.arange(len(self.taught)) / HALF_LIFE)
        rows = rng.choice(len(self.taught), size=size, p=weight / weight.sum())
        return Part(x=self.taught.x[rows], y=self.taught.y[rows])
