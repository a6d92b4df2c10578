"""Answers (N, C) of an imagined version, drawn so that confidence and classes are as wanted."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from acclimate.learning.data import Floats


def drawn(
    n: int,
    shares: NDArray[np.float64] | list[float],
    *,
    confidence: float = 0.9,
    rng: np.random.Generator,
) -> Floats:
    """Classes by their shares; the winner's probability varies by about 0.1 around `confidence`,
    the rest is even.
    """
    classes = len(shares)
    winner = rng.choice(classes, size=n, p=shares)
    sure = np.clip(confidence + 0.1 * rng.standard_normal(n), 1.05 / classes, 0.999)
    answers = np.repeat(((1 - sure) / (classes - 1))[:, None], classes, axis=1)
    answers[np.arange(n), winner] = sure
    return answers.astype(np.float32)


def even(classes: int) -> NDArray[np.float64]:
    return np.full(classes, 1 / classes)
