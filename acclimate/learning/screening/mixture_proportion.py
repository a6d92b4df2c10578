"""How much of a window may be drawn as the seed set is, and which rows are too many. numpy only.

A minority of the traffic cannot take the others' rows out of a window. Where these have not
drifted, every set of rows that is frequent in the seed set is more than half as frequent in the
window. Drift of the inputs empties such sets. The least ratio of the two frequencies bounds the
share of the seed's traffic in the window (mixture proportion estimation: Blanchard, Lee and Scott,
Semi-Supervised Novelty Detection, JMLR 2010). The sets are rows that a linear function of random
features ranks most like the seed's; each row is ranked by a function fitted to other rows.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from acclimate.learning.data import Flags, Floats, Integers
from acclimate.learning.stats.random_features import Doubles, fourier
from acclimate.learning.stats.significance import wilson_bound
from acclimate.learning.thresholds import DEFAULT, Thresholds

FOLDS = 2
RIDGE = 0.25
"""In units of the features' mean eigenvalue."""
SETS = np.arange(0.05, 1.0, 0.05)
"""Shares of the seed's rows that are in each set."""


@dataclass(frozen=True, kw_only=True, eq=False)
class MixtureProportion:
    """`seed_share`: at most so much of the window is drawn as the seed's rows are.

    `dense` (N,) and `seed_dense` (K,): rows of window and seed set where the window has more than
    `contamination_ratio` times as many as the seed set, beyond chance.
    """

    seed_share: float
    dense: Flags
    seed_dense: Flags


def mixture_proportion(
    seed: Floats, window: Floats, limits: Thresholds = DEFAULT
) -> MixtureProportion:
    """Compares features of the window (N, F) with those of seed rows (K, F) nothing was fitted to.

    Deterministic. With too few rows of either, the whole window may be the seed's.
    """
    if min(len(seed), len(window)) < 2 * FOLDS:
        nothing = (np.zeros(len(rows), dtype=bool) for rows in (window, seed))
        dense, seed_dense = nothing
        return MixtureProportion(seed_share=1.0, dense=dense, seed_dense=seed_dense)
    usual, found = _likeness(*fourier(seed, window, np.random.default_rng(0)))
    cuts = np.quantile(usual, 1 - SETS)
    usually, often = (_share(-values, -cuts) for values in (usual, found))
    errors = limits.contamination_errors
    most = wilson_bound(often, len(found), errors)
    least = np.maximum(wilson_bound(usually, len(usual), -errors), 1e-12)
    cut = _density_cut(usual, found, limits)
    return MixtureProportion(
        seed_share=min(1.0, float((most / least).min())),
        dense=found <= cut,
        seed_dense=usual <= cut,
    )


def _density_cut(usual: Doubles, found: Doubles, limits: Thresholds) -> float:
    """The largest likeness up to which the window has too many rows in all; -inf if there is none.

    A cut that only the rows next to it must keep would leave the fringe of a heap outside.
    """
    cuts, errors = np.sort(found), limits.contamination_errors
    often, usually = _share(found, cuts), _share(usual, cuts)
    least = wilson_bound(often, len(found), -errors)
    dense = least > limits.contamination_ratio * wilson_bound(usually, len(usual), errors)
    return float(cuts[dense].max(initial=-math.inf))


def _share(values: Doubles, cuts: Doubles) -> Doubles:
    """Of the values, those up to each cut."""
    return np.asarray(np.searchsorted(np.sort(values), cuts, side="right") / len(values))


def _likeness(seed: Doubles, window: Doubles) -> tuple[Doubles, Doubles]:
    """How much like the seed's each row of both is, as a rank in its fold; by the other folds."""
    rng = np.random.default_rng(0)
    folds: list[Integers] = [rng.permutation(len(rows)) % FOLDS for rows in (seed, window)]
    out = np.empty(len(seed)), np.empty(len(window))
    for fold in range(FOLDS):
        a, b = (rows[number != fold] for rows, number in zip((seed, window), folds, strict=True))
        middle = (a.mean(axis=0) + b.mean(axis=0)) / 2
        spread = sum((rows - middle).T @ (rows - middle) / (2 * len(rows)) for rows in (a, b))
        ridge = RIDGE * np.trace(spread) / len(spread) * np.eye(len(spread))
        direction = np.linalg.solve(spread + ridge, a.mean(axis=0) - middle)
        scores = [
            rows[number == fold] @ direction
            for rows, number in zip((seed, window), folds, strict=True)
        ]
        rows = len(scores[0]) + len(scores[1])
        ranks = np.concatenate(scores).argsort().argsort() / rows
        parts = np.split(ranks, [len(scores[0])])
        for values, number, ranked in zip(out, folds, parts, strict=True):
            values[number == fold] = ranked
    return out
