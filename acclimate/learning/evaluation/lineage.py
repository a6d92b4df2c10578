"""What a version was held to by trusted rows, and how far it went from the anchor."""

from __future__ import annotations

import numpy as np

from acclimate.learning.data import Part, SeedSet
from acclimate.learning.models import weights
from acclimate.learning.models.bundle import Bundle
from acclimate.learning.results import Lineage


def trace(bundle: Bundle, anchor: Bundle, seed: SeedSet, taught: Part | None = None) -> Lineage:
    """The lineage of a version trained with the seed's training part and labelled rows `taught`."""
    trusted = seed.train.y if taught is None else np.concatenate([seed.train.y, taught.y])
    counts = np.bincount(trusted, minlength=len(bundle.input_spec.classes))
    distance = weights.distance(bundle, anchor)
    return Lineage(replay_rows=tuple(counts.tolist()), anchor_distance=distance)
