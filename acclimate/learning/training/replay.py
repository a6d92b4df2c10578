"""Trusted rows mixed into training against forgetting."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from acclimate.learning.data import Part


@dataclass(frozen=True, kw_only=True)
class Replay:
    """Draws from trusted rows alone: the seed's training part, never what calibrates or judges, and
    rows that people labelled.

    `taught` are the latter, of earlier windows: they lie nearer to the traffic, and make half of
    each draw.
    """

    trusted: Part
    taught: Part | None = None

    def draw(self, size: int, *, rng: np.random.Generator) -> Part:
        """`size` rows: of the seed each with the same chance, so that a batch has its class shares
        on average; half taught.
        """
        lessons = size // 2 if self.taught is not None and len(self.taught) else 0
        rows = rng.integers(len(self.trusted), size=size - lessons)
        drawn = Part(x=self.trusted.x[rows], y=self.trusted.y[rows])
        if not lessons or self.taught is None:
            return drawn
        rows = rng.integers(len(self.taught), size=lessons)
        return Part(
            x=np.concatenate([drawn.x, self.taught.x[rows]]),
            y=np.concatenate([drawn.y, self.taught.y[rows]]),
        )
