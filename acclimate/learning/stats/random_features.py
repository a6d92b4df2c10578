"""Random Fourier features: an inner product of two rows approximates a Gaussian kernel.
numpy only.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from acclimate.learning.data import Floats

FREQUENCIES = 128
"""Random Fourier features (Rahimi and Recht 2007), a cosine and a sine each."""

Doubles = NDArray[np.float64]


def fourier(held_out: Floats, window: Floats, rng: np.random.Generator) -> tuple[Doubles, Doubles]:
    """Random features of both: their inner products are near to a Gaussian kernel, as wide as
    held-out rows lie apart.
    """
    center, deviation = held_out.mean(axis=0), held_out.std(axis=0)
    varying = deviation > 1e-6
    a, b = ((x[:, varying] - center[varying]) / deviation[varying] for x in (held_out, window))
    a, b = np.clip(a, -10, 10).astype(np.float64), np.clip(b, -10, 10).astype(np.float64)
    some = a[rng.permutation(len(a))[:300]]
    squares = (
        ((some[:, None] - some[None]) ** 2).sum(axis=2) if some.shape[1] < 64 else _squares(some)
    )
    width = math.sqrt(float(np.median(squares[squares > 1e-9]))) if (squares > 1e-9).any() else 1.0
    directions = rng.standard_normal((a.shape[1], FREQUENCIES)) / width
    return tuple(
        np.concatenate([np.cos(x @ directions), np.sin(x @ directions)], axis=1) for x in (a, b)
    )  # type: ignore[return-value]


def _squares(x: Doubles) -> Doubles:
    norms = (x**2).sum(axis=1)
    return np.asarray(np.maximum(norms[:, None] + norms[None] - 2 * x @ x.T, 0))
