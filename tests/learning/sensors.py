"""Sensors that age: columns of positive numbers with long tails, which gains and offsets of their
logarithms move.
"""

from __future__ import annotations

import numpy as np

from acclimate.learning.data import Floats, Integers
from acclimate.learning.spec import InputSpec

SENSORS = InputSpec(kind="vector", shape=(16,), classes=("a", "b", "c", "d"))


def read_out(rows: int, *, draw: int, aged: bool = False) -> tuple[Floats, Integers]:
    """So many readings x (N, 16) with their classes y (N,); aged ones are stretched and shifted,
    each column in its own way.
    """
    rng, fixed = np.random.default_rng([7, draw]), np.random.default_rng(8)
    y = rng.permutation(np.arange(rows) % 4)
    z = fixed.normal(size=(4, 16))[y] + 1.1 * rng.normal(size=(rows, 16))
    if aged:
        z = z * fixed.uniform(0.8, 1.25, size=16) + fixed.uniform(-2.2, 2.2, size=16)
    return np.exp(3 + z).astype(np.float32), y.astype(np.int64)
