"""The label-shift residual: what of a window no change of the class priors explains. numpy only.

If only the priors change, the mean of any features of the rows is a mixture of the classes' own
means (Lipton, Wang and Smola 2018). What the best such mixture leaves over is drift of the inputs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from acclimate.learning.data import Floats, Integers
from acclimate.learning.stats.random_features import Doubles, fourier
from acclimate.learning.stats.significance import (
    gamma_quantile,
    level_of_window,
    standard_errors,
    total_variation,
)
from acclimate.learning.thresholds import DEFAULT, Thresholds

DRAWS = 60
FIT_STEPS = 60
COMPARED_ROWS = 2000
BOOTSTRAPS = 48
"""Each is two products of matrices and a fit: a small part of what the draws for the limit cost."""


@dataclass(frozen=True, kw_only=True)
class Residual:
    """The residual over its limit, and the priors that explain most of the window.

    `ratio`: what no priors explain, over the most that chance shows in the whole series of windows.
    `single`: the ratio that chance exceeds at the level of one window; at most 1.
    `priors` (C,): those that explain most.
    `moved`: their total variation from the held-out rows' priors; `moved_by_chance` of it is
    chance. The intervals bound both without what chance adds, in the whole series of windows.
    """

    ratio: float
    single: float
    priors: Doubles
    moved: float
    moved_by_chance: float
    n: int
    ratio_within: tuple[float, float]
    moved_within: tuple[float, float]


def label_shift_residual(
    held_out: Floats,
    y: Integers,
    window: Floats,
    *,
    classes: int,
    number: int,
    rng: np.random.Generator,
    limits: Thresholds = DEFAULT,
) -> Residual:
    """Compares features of a window (N, F) with those of labelled rows (K, F).

    The anchor was not trained on the labelled rows. `number` counts the windows so far: each test
    may err with `level_of_window`, so that in the whole series, however long, chance takes `ratio`
    above 1 with at most `series_error`. The limit is the quantile of a gamma fitted to draws from
    the labelled rows.
    """
    window = window[rng.permutation(len(window))[:COMPARED_ROWS]]
    source, seen = fourier(held_out, window, rng)
    members = [np.flatnonzero(y == label) for label in range(classes)]
    counts = np.array([len(rows) for rows in members])
    means = _class_means(source, members)
    prior = counts / counts.sum()
    priors = _mixture(means, seen.mean(axis=0), prior)
    value = _distance(means, seen.mean(axis=0), priors)
    # A generator of its own: the draws from `rng` stay the same with and without intervals.
    distances, moves = _bootstrap(source, members, seen, prior, rng.spawn(1)[0])
    null, null_moves = _null(source, members, len(seen), priors, rng)
    level, moved = level_of_window(number, limits), total_variation(priors, prior)
    limit = max(gamma_quantile(null, level), 1e-12)
    single = gamma_quantile(null, limits.single_peek_error) / limit
    low, high = _interval(value, distances, level)
    return Residual(
        ratio=value / limit,
        single=min(1.0, single),
        priors=priors,
        moved=moved,
        moved_by_chance=gamma_quantile(null_moves, level),
        n=len(window),
        ratio_within=(low / limit, high / limit),
        moved_within=_interval(moved, moves, level),
    )


def _null(
    source: Doubles, members: list[Integers], rows: int, priors: Doubles, rng: np.random.Generator
) -> tuple[Doubles, Doubles]:
    """Distance and shift of the priors in windows drawn from the labelled rows at these priors."""
    distances, moves = [], []
    for _ in range(DRAWS):
        redrawn = [
            own[rng.integers(len(own), size=len(own))] if len(own) else own for own in members
        ]
        labels = rng.choice(len(members), size=rows, p=priors)
        drawn = []
        for label in np.unique(labels):
            size = int((labels == label).sum())
            drawn.append(members[label][rng.integers(len(members[label]), size=size)])
        means = _class_means(source, redrawn)
        mean = source[np.concatenate(drawn)].mean(axis=0)
        fitted = _mixture(means, mean, priors)
        distances.append(_distance(means, mean, fitted))
        moves.append(total_variation(fitted, priors))
    return np.array(distances), np.array(moves)


def _bootstrap(
    source: Doubles,
    members: list[Integers],
    seen: Doubles,
    prior: Doubles,
    rng: np.random.Generator,
) -> tuple[Doubles, Doubles]:
    """Distance and shift of the priors with the rows of window and classes drawn again."""
    means_BCF = np.repeat(_class_means(source, members)[None], BOOTSTRAPS, axis=0)
    for label, rows in enumerate(members):
        if len(rows):
            means_BCF[:, label] = _weights(len(rows), rng) @ source[rows]
    mean_BF = _weights(len(seen), rng) @ seen
    distances, moves = np.empty(BOOTSTRAPS), np.empty(BOOTSTRAPS)
    for draw, (means, mean) in enumerate(zip(means_BCF, mean_BF, strict=True)):
        fitted = _mixture(means, mean, prior)
        distances[draw] = _distance(means, mean, fitted)
        moves[draw] = total_variation(fitted, prior)
    return distances, moves


def _weights(rows: int, rng: np.random.Generator) -> Doubles:
    """How often each row is drawn (BOOTSTRAPS, rows), over their number."""
    return rng.multinomial(rows, np.full(rows, 1 / rows), size=BOOTSTRAPS) / rows


def _interval(value: float, again: Doubles, level: float) -> tuple[float, float]:
    """Of a distance that is 0 at least; drawing again adds what the first draw added (Efron 1979).

    It holds the measured value too, which is the larger by what chance added.
    """
    errors = standard_errors(level, tails=2)
    middle, error = 2 * value - float(again.mean()), errors * float(again.std(ddof=1))
    return max(0.0, min(value, middle - error)), max(value, middle + error)


def _class_means(features: Doubles, members: list[Integers]) -> Doubles:
    """The mean (C, F) of each class; of all rows where it has none."""
    return np.stack(
        [features[rows].mean(axis=0) if len(rows) else features.mean(axis=0) for rows in members]
    )


def _mixture(means: Doubles, mean: Doubles, start: Doubles) -> Doubles:
    """The priors whose mixture of class means is nearest: accelerated projected gradient."""
    gram, target = means @ means.T, means @ mean
    rate = 1 / max(float(np.linalg.eigvalsh(gram)[-1]), 1e-12)
    priors = ahead = start
    pace = 1.0
    for _ in range(FIT_STEPS):
        new = _onto_simplex(ahead - rate * (gram @ ahead - target))
        pace, past = (1 + math.sqrt(1 + 4 * pace**2)) / 2, pace
        ahead, priors = new + (past - 1) / pace * (new - priors), new
    return priors


def _onto_simplex(x: Doubles) -> Doubles:
    """The nearest distribution (Duchi et al. 2008)."""
    ordered = np.sort(x)[::-1]
    excess = (np.cumsum(ordered) - 1) / np.arange(1, len(x) + 1)
    kept = int(np.flatnonzero(ordered > excess)[-1])
    return np.asarray(np.maximum(x - excess[kept], 0))


def _distance(means: Doubles, mean: Doubles, priors: Doubles) -> float:
    return float(((priors @ means - mean) ** 2).sum())
