"""What of a window no change of the class shares explains: the label-shift residual in the anchor's
features. numpy only.

If only the shares of the classes change, the mean of any features of the rows is a mixture of the
classes' own means (Lipton, Wang and Smola 2018). What the best such mixture leaves over is drift of
the inputs themselves.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from acclimate.learning.data import Floats, Integers
from acclimate.learning.stats.betting import level_of_look
from acclimate.learning.stats.random_features import Doubles, fourier

DRAWS = 60
FIT_STEPS = 60
COMPARED_ROWS = 2000
SINGLE_LOOK = 0.05
BOOTSTRAPS = 48
"""Each is two products of matrices and a fit: together a small part of what the draws for the limit
cost.
"""


@dataclass(frozen=True, kw_only=True)
class Residual:
    """`ratio`: what no class shares explain, over the most that chance would show; `shares` (C,):
    those that explain most.

    `single` is the ratio that chance exceeds in one look of twenty: less than 1, which it exceeds
    in one series of twenty.

    `moved`: how far these are from the held-out rows' (total variation), beside what chance would
    show. The intervals hold the size of both without what chance adds, in the whole series of
    looks.
    """

    ratio: float
    single: float
    shares: Doubles
    moved: float
    moved_by_chance: float
    n: int
    ratio_within: tuple[float, float]
    moved_within: tuple[float, float]


def measure(
    held_out: Floats,
    y: Integers,
    window: Floats,
    *,
    classes: int,
    looks: int,
    rng: np.random.Generator,
) -> Residual:
    """Compares features of a window (N, F) with those of labeled rows (K, F) that the anchor did
    not learn.

    `looks` numbers the windows looked at: each look may err with `evidence.level_of_look`, so that
    in the whole series, however long, chance alone takes `ratio` above 1 with at most 5 %. The
    limit is the quantile of a gamma (Wilson and Hilferty 1931) fitted to draws from the labeled
    rows themselves.
    """
    window = window[rng.permutation(len(window))[:COMPARED_ROWS]]
    source, seen = fourier(held_out, window, rng)
    members = [np.flatnonzero(y == label) for label in range(classes)]
    counts = np.array([len(rows) for rows in members])
    means = _class_means(source, members)
    prior = counts / counts.sum()
    shares = _mixture(means, seen.mean(axis=0), prior)
    value = _distance(means, seen.mean(axis=0), shares)
    # Of their own generator: what is drawn from `rng` decides, and is the same whether somebody
    # asks for intervals or not.
    again, moved_again = _bootstrap(source, members, seen, prior, rng.spawn(1)[0])
    null, moves = [], []
    for _ in range(DRAWS):
        drawn = [
            rows[rng.integers(len(rows), size=len(rows))] if len(rows) else rows for rows in members
        ]
        labels = rng.choice(classes, size=len(seen), p=shares)
        rows = np.concatenate(
            [
                members[label][rng.integers(len(members[label]), size=int((labels == label).sum()))]
                for label in np.unique(labels)
            ]
        )
        redrawn = _class_means(source, drawn)
        mean = source[rows].mean(axis=0)
        fitted = _mixture(redrawn, mean, shares)
        null.append(_distance(redrawn, mean, fitted))
        moves.append(_variation(fitted, shares))
    level, moved = level_of_look(looks), _variation(shares, prior)
    limit = max(_gamma_quantile(np.array(null), level), 1e-12)
    low, high = _within(value, again, level)
    return Residual(
        ratio=value / limit,
        single=min(1.0, _gamma_quantile(np.array(null), SINGLE_LOOK) / limit),
        shares=shares,
        moved=moved,
        moved_by_chance=_gamma_quantile(np.array(moves), level),
        n=len(window),
        ratio_within=(low / limit, high / limit),
        moved_within=_within(moved, moved_again, level),
    )


def _bootstrap(
    source: Doubles,
    members: list[Integers],
    seen: Doubles,
    prior: Doubles,
    rng: np.random.Generator,
) -> tuple[Doubles, Doubles]:
    """Distance and shift of the shares once more, where the rows of the window and of each class
    are drawn again.
    """
    means_BCF = np.repeat(_class_means(source, members)[None], BOOTSTRAPS, axis=0)
    for label, rows in enumerate(members):
        if len(rows):
            means_BCF[:, label] = _weights(len(rows), rng) @ source[rows]
    mean_BF = _weights(len(seen), rng) @ seen
    distances, moves = np.empty(BOOTSTRAPS), np.empty(BOOTSTRAPS)
    for draw, (means, mean) in enumerate(zip(means_BCF, mean_BF, strict=True)):
        fitted = _mixture(means, mean, prior)
        distances[draw], moves[draw] = _distance(means, mean, fitted), _variation(fitted, prior)
    return distances, moves


def _weights(rows: int, rng: np.random.Generator) -> Doubles:
    """How often each row is drawn (BOOTSTRAPS, rows), over their number."""
    return rng.multinomial(rows, np.full(rows, 1 / rows), size=BOOTSTRAPS) / rows


def _within(value: float, again: Doubles, level: float) -> tuple[float, float]:
    """An interval of a distance that is 0 at least. Drawing again adds to it what the first draw
    had added (Efron 1979).

    It holds the measured value too, which is the larger by what chance added.
    """
    z = NormalDist().inv_cdf(1 - level / 2)
    middle, doubt = 2 * value - float(again.mean()), z * float(again.std(ddof=1))
    return max(0.0, min(value, middle - doubt)), max(value, middle + doubt)


def _variation(shares: Doubles, others: Doubles) -> float:
    """Total variation."""
    return float(np.abs(shares - others).sum() / 2)


def _class_means(features: Doubles, members: list[Integers]) -> Doubles:
    return np.stack(
        [features[rows].mean(axis=0) if len(rows) else features.mean(axis=0) for rows in members]
    )


def _mixture(means: Doubles, mean: Doubles, start: Doubles) -> Doubles:
    """The shares whose mixture of the classes' means comes nearest to the mean: accelerated
    projected gradient.
    """
    gram, target = means @ means.T, means @ mean
    rate = 1 / max(float(np.linalg.eigvalsh(gram)[-1]), 1e-12)
    shares = ahead = start
    pace = 1.0
    for _ in range(FIT_STEPS):
        new = _onto_simplex(ahead - rate * (gram @ ahead - target))
        pace, past = (1 + math.sqrt(1 + 4 * pace**2)) / 2, pace
        ahead, shares = new + (past - 1) / pace * (new - shares), new
    return shares


def _onto_simplex(x: Doubles) -> Doubles:
    """The nearest shares (Duchi et al. 2008)."""
    ordered = np.sort(x)[::-1]
    excess = (np.cumsum(ordered) - 1) / np.arange(1, len(x) + 1)
    kept = int(np.flatnonzero(ordered > excess)[-1])
    return np.asarray(np.maximum(x - excess[kept], 0))


def _distance(means: Doubles, mean: Doubles, shares: Doubles) -> float:
    return float(((shares @ means - mean) ** 2).sum())


def _gamma_quantile(draws: Doubles, level: float) -> float:
    mean, variance = float(draws.mean()), max(float(draws.var(ddof=1)), 1e-18)
    shape, scale = mean**2 / variance, variance / mean if mean > 0 else 0.0
    z = NormalDist().inv_cdf(1 - level)
    return shape * scale * (1 - 1 / (9 * shape) + z / (3 * math.sqrt(shape))) ** 3
