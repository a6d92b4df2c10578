"""How much of a window may be the seed's own traffic, untouched, and which rows are too many for
it. numpy only.

Whoever sends less than half of a window cannot take the others' rows out of it: where these have
not drifted, every set of rows that is frequent in the seed set is more than half as frequent in the
window. Drift of the inputs empties such sets. The least ratio of the two frequencies bounds the
share of the seed's traffic in the window (mixture proportion estimation: Blanchard, Lee and Scott,
Semi-Supervised Novelty Detection, JMLR 2010). The sets are rows that a linear function of random
features finds to be most like the seed's and least like the window's, each row said by a function
that other rows were fitted to.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from acclimate.learning.data import Floats, Integers
from acclimate.learning.stats.random_features import Doubles, fourier

FOLDS = 2
RIDGE = 0.25
"""In units of the features' mean eigenvalue."""
SURE = 2.0
"""Standard errors that each frequency is given, to the side that says less."""
SETS = np.arange(0.05, 1.0, 0.05)
"""Shares of the seed's rows that are in each set."""
CROWDED = 2.0
"""So many times as frequent as in the seed set are rows where the window is crowded."""

Flags = NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True, eq=False)
class Untouched:
    """`share`: at most so much of the window is drawn as the seed's rows are.

    `crowd` (N,) and `seed_crowd` (K,): the rows of window and seed set that lie where the window
    has more than `CROWDED` times as many as the seed set, beyond chance.
    """

    share: float
    crowd: Flags
    seed_crowd: Flags


def look(seed: Floats, window: Floats) -> Untouched:
    """Compares features of the window (N, F) with those of rows of the seed set (K, F) that nothing
    was fitted to.

    The same rows always give the same answer. With too few of either nothing speaks against the
    whole window.
    """
    if min(len(seed), len(window)) < 2 * FOLDS:
        return Untouched(
            share=1.0,
            crowd=np.zeros(len(window), dtype=bool),
            seed_crowd=np.zeros(len(seed), dtype=bool),
        )
    usual, found = _likeness(*fourier(seed, window, np.random.default_rng(0)))
    limits = np.quantile(usual, 1 - SETS)
    usually, often = (_share(-values, -limits) for values in (usual, found))
    ratios = _bound(often, len(found), SURE) / np.maximum(_bound(usually, len(usual), -SURE), 1e-12)
    limit = _crowd_limit(usual, found)
    return Untouched(
        share=min(1.0, float(ratios.min())), crowd=found <= limit, seed_crowd=usual <= limit
    )


def _crowd_limit(usual: Doubles, found: Doubles) -> float:
    """The largest likeness up to which the window has too many rows in all; below all where there
    is none.

    A limit that the rows next to it alone must keep would leave the fringe of a heap outside, which
    moves the boundary as well.
    """
    limits = np.sort(found)
    often, usually = _share(found, limits), _share(usual, limits)
    crowded = _bound(often, len(found), -SURE) > CROWDED * _bound(usually, len(usual), SURE)
    return float(limits[crowded].max(initial=-math.inf))


def _share(values: Doubles, limits: Doubles) -> Doubles:
    """Of the values, those up to each limit."""
    return np.asarray(np.searchsorted(np.sort(values), limits, side="right") / len(values))


def _likeness(seed: Doubles, window: Doubles) -> tuple[Doubles, Doubles]:
    """How much like the seed's and unlike the window's each row of both is, as a rank in its fold;
    said by the other folds.
    """
    rng = np.random.default_rng(0)
    folds: list[Integers] = [rng.permutation(len(rows)) % FOLDS for rows in (seed, window)]
    out = np.empty(len(seed)), np.empty(len(window))
    for fold in range(FOLDS):
        a, b = (rows[number != fold] for rows, number in zip((seed, window), folds, strict=True))
        middle = (a.mean(axis=0) + b.mean(axis=0)) / 2
        spread = sum((rows - middle).T @ (rows - middle) / (2 * len(rows)) for rows in (a, b))
        ridge = RIDGE * np.trace(spread) / len(spread) * np.eye(len(spread))
        direction = np.linalg.solve(spread + ridge, a.mean(axis=0) - middle)
        said = [
            rows[number == fold] @ direction
            for rows, number in zip((seed, window), folds, strict=True)
        ]
        ranks = np.concatenate(said).argsort().argsort() / (len(said[0]) + len(said[1]))
        for values, number, ranked in zip(out, folds, np.split(ranks, [len(said[0])]), strict=True):
            values[number == fold] = ranked
    return out


def _bound(share: Doubles, n: int, z: float) -> Doubles:
    """Of frequencies seen on n rows, z standard errors above them (Wilson 1927); below them where z
    is negative.
    """
    error = np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    return np.asarray((share + z**2 / (2 * n) + z * error) / (1 + z**2 / n))
