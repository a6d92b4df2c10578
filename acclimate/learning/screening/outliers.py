"""Rows where almost nothing else lies: neither rows of their window nor trusted ones. numpy only.

How far apart ordinary rows lie differs by the data more than ordinary and stray rows do: the
trusted rows themselves tell how far the most distant of them lies from its neighbours, in units of
the median one.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from acclimate.learning.data import Floats

NEIGHBOUR = 5
COMPARED_ROWS = 500
"""At most so many rows of the window, and as many trusted ones, are what rows can lie near to."""
FEWEST_ROWS = 100
"""Of fewer trusted rows the most distant one does not tell how distant ordinary rows may be."""
CHUNK = 2048

Distances = NDArray[np.float64]


def isolated(window: Floats, trusted: Floats, *, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Which rows (N, F) have their fifth neighbour, of window and trusted rows (K, F), farther away
    than any trusted row's is.

    Both in units of the median distance among their own, so that a window which drifted as a whole
    is not isolated; where the window lies closer together than the trusted rows do (few classes),
    theirs is the unit. With fewer than `FEWEST_ROWS` of either no row is.
    """
    trusted = trusted[rng.permutation(len(trusted))[:COMPARED_ROWS]]
    drawn = rng.permutation(len(window))[:COMPARED_ROWS]
    if min(len(trusted), len(window)) < FEWEST_ROWS:
        return np.zeros(len(window), dtype=bool)
    usual = _to_neighbour(trusted, trusted, np.arange(len(trusted)))
    found = _to_neighbour(window, np.concatenate([window[drawn], trusted]), drawn)
    unit = max(float(np.median(found)), float(np.median(usual)))
    limit = float(usual.max()) / max(float(np.median(usual)), 1e-12)
    return np.asarray(found > limit * unit)


def _to_neighbour(rows: Floats, others: Floats, same: NDArray[np.integer]) -> Distances:
    """Distance (N,) from each row to its `NEIGHBOUR`-th among the others, of which the i-th is row
    same[i] itself.
    """
    place = np.full(len(rows), -1)
    place[same] = np.arange(len(same))
    norms = (others**2).sum(axis=1)
    out = np.empty(len(rows))
    for start in range(0, len(rows), CHUNK):
        part = rows[start : start + CHUNK]
        squares = (part**2).sum(axis=1)[:, None] + norms - 2 * part @ others.T
        own = np.flatnonzero(place[start : start + CHUNK] >= 0)
        squares[own, place[start + own]] = np.inf
        out[start : start + CHUNK] = np.partition(squares, NEIGHBOUR - 1, axis=1)[:, NEIGHBOUR - 1]
    return np.sqrt(np.maximum(out, 0))
