"""Trusted rows mixed into training: of the seed set against forgetting, and labelled traffic."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from acclimate.learning.data import Integers, Part, SeedSet, Window

HALF_LIFE = 50
"""Labelled rows after which an older one is drawn half as often: two windows of 25."""


def fold(rows: int, members: int) -> Integers:
    """For each of so many labelled rows (N,) the member that does not learn from it."""
    return np.arange(rows, dtype=np.int64) % members


@dataclass(frozen=True, kw_only=True)
class Replay:
    """Draws from trusted rows alone: the seed's training part, never what calibrates or judges, and
    rows that people labelled.

    `taught` are the latter, newest first: they lie nearer to the traffic, and older ones fade. Of
    the first `fresh` every member leaves out one of `folds`: on these it can be judged.
    """

    trusted: Part
    taught: Part | None = None
    fresh: int = 0
    folds: int = 1

    @staticmethod
    def of(seed: SeedSet, window: Window, members: int) -> Replay:
        """Of the seed set and the labelled rows that teach with this window."""
        return Replay(trusted=seed.train, taught=window.taught, fresh=window.fresh, folds=members)

    def draw(self, size: int, *, rng: np.random.Generator) -> Part:
        """`size` rows of the seed, each with the same chance, so that a batch has its class shares
        on average.
        """
        rows = rng.integers(len(self.trusted), size=size)
        return Part(x=self.trusted.x[rows], y=self.trusted.y[rows])

    def draw_taught(self, size: int, member: int, *, rng: np.random.Generator) -> Part | None:
        """`size` labelled rows for this member; None where there are none."""
        if self.taught is None:
            return None
        weight = 0.5 ** (np.arange(len(self.taught)) / HALF_LIFE)
        if self.folds > 1:
            left_out = fold(self.fresh, self.folds) == member
            weight[: self.fresh][left_out] = 0.0
        if not weight.any():
            return None
        rows = rng.choice(len(self.taught), size=size, p=weight / weight.sum())
        return Part(x=self.taught.x[rows], y=self.taught.y[rows])
