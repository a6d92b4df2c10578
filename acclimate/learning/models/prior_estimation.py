"""The class priors of rows, estimated from calibrated answers by EM. numpy only.

Saerens, Latinne and Decaestecker, Neural Computation 14, 2002.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from acclimate.learning.data import Floats, Integers

PSEUDO_ROWS = 10.0
"""The seed's own class priors count as so many answers, so that no class can vanish."""
MOST_ROUNDS = 100
TOLERANCE = 1e-6
"""EM stops when no prior moved by more than this in a round, or after `MOST_ROUNDS`."""


def class_priors(y: Integers, classes: int) -> Floats:
    """The share (C,) of each class among trusted labels; one that is absent counts half a row."""
    counts = np.maximum(np.bincount(y, minlength=classes), 0.5)
    return np.asarray(counts / counts.sum(), dtype=np.float32)


def estimated_prior(
    raw: Floats,
    source: Floats,
    *,
    pseudo_rows: float = PSEUDO_ROWS,
    guess: Floats | None = None,
) -> NDArray[np.float64]:
    """The class priors (C,) of rows to which calibrated networks answered raw (N, C).

    The networks learnt with the priors source (C,). Maximum likelihood by EM from a guess on, with
    `pseudo_rows` rows of the source beside: there is one maximum, whatever the guess. Right where
    nothing but the priors has changed.
    """
    base = distribution(np.asarray(source))
    ratio = raw.astype(np.float64) / base
    found = base if guess is None else distribution(np.asarray(guess))
    for _ in range(MOST_ROUNDS):
        # The sum of each class's posteriors, without the matrix: this runs between two answers.
        posterior = found * (ratio.T @ (1 / np.maximum(ratio @ found, 1e-300)))
        following = (posterior + pseudo_rows * base) / (len(raw) + pseudo_rows)
        moved, found = float(np.abs(following - found).max()), following / following.sum()
        if moved <= TOLERANCE:
            break
    return np.asarray(found)


def distribution(values: NDArray[Any]) -> NDArray[np.float64]:
    """The values as shares that sum to 1. Raises ValueError unless all are positive."""
    if values.ndim != 1 or not (np.isfinite(values).all() and (values > 0).all()):
        raise ValueError("class priors must be one positive number a class")
    numbers = values.astype(np.float64)
    return np.asarray(numbers / numbers.sum())
