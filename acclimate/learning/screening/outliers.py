"""Rows without neighbours, neither in their window nor among trusted rows. numpy only.

How far apart ordinary rows lie differs between data sets by more than ordinary and stray rows do.
So the trusted rows themselves set the limit: the largest distance to a neighbour among them, in
units of their median distance.
"""

from __future__ import annotations

import numpy as np

from acclimate.learning.data import Flags, Floats
from acclimate.learning.stats.distances import distance_to_neighbour
from acclimate.learning.thresholds import DEFAULT, Thresholds

NEIGHBOUR = 5
COMPARED_ROWS = 500
"""At most so many rows of the window, and as many trusted ones, can be neighbours."""


def outliers(
    window: Floats,
    trusted: Floats,
    *,
    rng: np.random.Generator,
    limits: Thresholds = DEFAULT,
) -> Flags:
    """Which rows (N, F) have their fifth neighbour farther away than any trusted row (K, F) has.

    Distances are in units of the median distance among their own, so that a window that drifted as
    a whole has no outliers. Where the window lies closer together than the trusted rows do (few
    classes), theirs is the unit. With fewer than `outlier_rows` of either no row is an outlier.
    """
    trusted = trusted[rng.permutation(len(trusted))[:COMPARED_ROWS]]
    drawn = rng.permutation(len(window))[:COMPARED_ROWS]
    if min(len(trusted), len(window)) < limits.outlier_rows:
        return np.zeros(len(window), dtype=bool)
    itself = np.arange(len(trusted))
    usual = distance_to_neighbour(trusted, trusted, itself, neighbour=NEIGHBOUR)
    others = np.concatenate([window[drawn], trusted])
    found = distance_to_neighbour(window, others, drawn, neighbour=NEIGHBOUR)
    median = float(np.median(usual))
    unit = max(float(np.median(found)), median)
    limit = float(usual.max()) / max(median, 1e-12)
    return np.asarray(found > limit * unit)
