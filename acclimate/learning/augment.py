"""Changed copies of rows that keep their class, in normalised space, and the opinions that a version has of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from acclimate.learning.values import Floats

if TYPE_CHECKING:
    from acclimate.learning.network import Bundle

WEAK_NOISE = 0.05
"""Standard deviations: too little to change what a row is."""
VIEWS = 3


def strong(z: Floats, *, noise: float, mixed: float, rng: np.random.Generator) -> Floats:
    """Normalised rows (N, *shape) with Gaussian noise, and each feature taken from another row with probability `mixed`.

    The other rows come from the same batch, by one shuffle (a row may meet itself).
    """
    other = z[rng.permutation(len(z))]
    taken = rng.random(z.shape, dtype=np.float32) < mixed
    blended: Floats = np.where(taken, other, z)
    return blended + np.float32(noise) * rng.standard_normal(z.shape, dtype=np.float32)


def opinions(bundle: Bundle, x: Floats, *, rng: np.random.Generator) -> Floats:
    """Calibrated probabilities (V, N, C) whose agreement tells how sure a version is: those of its members.

    A version of one member votes with `VIEWS` weakly noisy views of each row instead.
    """
    if len(bundle.members) > 1:
        return bundle.member_probabilities(x)
    z = bundle.normalisation.apply(x)
    views = [
        z,
        *(z + np.float32(WEAK_NOISE) * rng.standard_normal(z.shape, dtype=np.float32) for _ in range(VIEWS - 1)),
    ]
    return np.concatenate([bundle.member_probabilities(view, normalised=True) for view in views])
