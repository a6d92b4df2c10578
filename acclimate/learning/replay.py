"""Trusted rows mixed into training against forgetting."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from acclimate.learning.values import Part


@dataclass(frozen=True, kw_only=True)
class Replay:
    """Draws from trusted rows alone: the seed's training part, never what calibrates or judges."""

    trusted: Part

    def draw(self, size: int, *, rng: np.random.Generator) -> Part:
        """`size` rows, each drawn with the same chance, so that a batch has the seed's class shares on average."""
        rows = rng.integers(len(self.trusted), size=size)
        return Part(x=self.trusted.x[rows], y=self.trusted.y[rows])
