"""What a version comes of: the trusted rows that held it against forgetting, and how far it went
from the anchor.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from acclimate.learning.data import Json, Part, SeedSet
from acclimate.learning.models import weights
from acclimate.learning.models.network import Bundle


@dataclass(frozen=True, kw_only=True)
class Lineage:
    """`replay_rows` (C,): of each class, how many trusted rows held it: the seed's training part,
    and what people taught.

    `anchor_distance`: how far the weights are from the anchor's, in the length of those; 0 for the
    anchor in any mode.
    """

    replay_rows: tuple[int, ...]
    anchor_distance: float

    def as_json(self, classes: tuple[str, ...]) -> Json:
        return {
            "replay_rows": dict(zip(classes, self.replay_rows, strict=True)),
            "anchor_distance": self.anchor_distance,
        }


def trace(bundle: Bundle, anchor: Bundle, seed: SeedSet, taught: Part | None = None) -> Lineage:
    """The lineage of a version that learnt with the seed's training part and with rows `taught` by
    people.
    """
    trusted = seed.train.y if taught is None else np.concatenate([seed.train.y, taught.y])
    counts = np.bincount(trusted, minlength=len(bundle.input_spec.classes))
    return Lineage(
        replay_rows=tuple(counts.tolist()), anchor_distance=weights.distance(bundle, anchor)
    )
