"""How consistently a version labels rows that lie near one another. numpy only.

Classes are mostly the same for near rows, whatever drifted. A version whose boundary runs through
dense regions, or that labels them by noise, gives neighbours different labels more often. This
needs no label, and unlike confidence no calibration (soft neighborhood density, Saito et al.,
ICCV 2021).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from acclimate.learning.data import Floats, Integers
from acclimate.learning.stats.distances import squared_distances

NEIGHBOURS = 5
"""Neighbours of each row; 3 and 10 decide the same (docs/decisions/0017)."""
MOST_ROWS = 800
"""Rows of a window that are compared, evenly drawn from it: distances grow with their square."""
FEWEST_ROWS = 4 * NEIGHBOURS
SMALLEST_DEVIATION = 0.1
"""In the seed's deviations: a column that hardly moves in the window tells no rows apart."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Neighbourhood:
    """`rows` (S,): numbers of the rows that are compared; `nearest` (S, K): for each the positions
    in `rows` of its nearest others. Without rows where the window is too small.
    """

    rows: Integers
    nearest: Integers

    @staticmethod
    def of(features: Floats) -> Neighbourhood:
        """Of the rows of a window as vectors (N, F), each column in the window's own deviation."""
        count = len(features)
        drawn = np.linspace(0, count - 1, min(count, MOST_ROWS)).round().astype(np.int64)
        if count < FEWEST_ROWS:
            nothing = np.empty((0, NEIGHBOURS), dtype=np.int64)
            return Neighbourhood(rows=drawn[:0], nearest=nothing)
        z = features[drawn].astype(np.float32)
        z = (z - z.mean(axis=0)) / np.maximum(z.std(axis=0), SMALLEST_DEVIATION)
        nearest = np.empty((len(z), NEIGHBOURS), dtype=np.int64)
        for part, squares in squared_distances(z, z):
            squares[np.arange(len(squares)), np.arange(part.start, part.stop)] = np.inf
            nearest[part] = np.argpartition(squares, NEIGHBOURS, axis=1)[:, :NEIGHBOURS]
        return Neighbourhood(rows=drawn, nearest=nearest)

    def agreement(self, labels: Integers) -> Floats | None:
        """What each row (S,) adds to how often near rows have the same label, beyond chance, in
        units of the most that there could be: their mean is Cohen's kappa of a row and a neighbour.

        Their deviation over the root of S is its standard error: a row counts where it is a
        neighbour too, and in the class shares. None where all rows have one label: that says
        nothing.
        """
        here = labels[self.rows]
        if not len(here) or (here == here[0]).all():
            return None
        shares = np.bincount(here) / len(here)
        chance = float(np.square(shares).sum())
        same = here[self.nearest] == here[:, None]
        own = same.mean(axis=1)
        as_neighbour = np.bincount(self.nearest.ravel(), weights=same.ravel(), minlength=len(here))
        both = own + as_neighbour / NEIGHBOURS - 2 * own.mean()
        moves_chance = 2 * (shares[here] - chance)
        kappa = (own.mean() - chance) / (1 - chance)
        influence = (both - (1 - kappa) * moves_chance) / (1 - chance)
        return np.asarray(kappa + influence)
