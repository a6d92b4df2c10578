"""Bounds from labels by betting, valid at any peek. No torch here.

Each audited row is a gain (the challenger is right and the champion is not), a loss, or neither:
+1, -1, 0. A bettor stakes that their mean is above some value. While it is not, the wealth does not
grow in expectation, and ever exceeds 1/alpha with probability alpha at most (Ville 1939;
Waudby-Smith and Ramdas, Estimating means of bounded random variables by betting, JRSS B 2024). The
wealth is spread over fixed bets, so the order of the rows does not matter.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

BETS = np.array([0.25, 0.55, 0.90])
"""Shares of the largest bet that cannot ruin. Most of the money is on bold ones: few rows decide,
and most of them are ties.
"""
MONEY = np.array([0.15, 0.25, 0.60])
SHARE_BETS = np.array([0.02, 0.05, 0.10, 0.20, 0.40, 0.70])
"""The same on a share of rows: cautious bets prove a small excess on many rows, bold ones a large
one on few.
"""
SHARE_MONEY = np.array([0.05, 0.10, 0.25, 0.35, 0.20, 0.05])
ERRORS_BET = 2.0
"""An e-value of 800 takes a mean 4.3 standard errors above 0 at once, or two of 2.7 together."""
HALVINGS = 50
PASSES, TRIED = 5, 50


def log_evidence(gains: int, losses: int, n: int, *, mean: float) -> float:
    """Log e-value against "the mean of gains and losses over rows like these n is at most `mean`",
    which is in -1 < mean < 1.

    The evidence suffices for alpha where this is at least log(1 / alpha).
    """
    gain = np.log1p(BETS * (1.0 - mean) / (1.0 + mean))
    tie = np.log1p(-BETS * mean / (1.0 + mean))
    loss = np.log1p(-BETS)
    wealth = np.log(MONEY) + gains * gain + (n - gains - losses) * tie + losses * loss
    return float(np.logaddexp.reduce(wealth))


def log_evidence_of(values: NDArray[np.float64], *, mean: float) -> float:
    """The same of paired differences (N,) in -1..1 that are not only gains, losses and ties."""
    if not len(values):
        return 0.0
    stakes = (values - mean) / (1.0 + mean)
    wealth = np.log(MONEY) + np.log1p(BETS[:, None] * stakes).sum(axis=1)
    return float(np.logaddexp.reduce(wealth))


def log_evidence_of_errors(errors: float) -> float:
    """Log e-value against "the mean is at most 0" of a mean that many standard errors above it.

    A bet that the mean is `ERRORS_BET` errors above: the likelihood ratio of two normals. Those of
    later samples add up.
    """
    return ERRORS_BET * errors - ERRORS_BET**2 / 2


def lower_bound(gains: int, losses: int, n: int, *, alpha: float) -> float:
    """The mean of gains and losses over rows like these n is above this, but for a probability of
    alpha.
    """
    needed = math.log(1.0 / alpha)
    low, high = -1.0, 1.0
    # The evidence against a mean falls as that mean rises.
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        if log_evidence(gains, losses, n, mean=middle) >= needed:
            low = middle
        else:
            high = middle
    return low


def upper_bound(gains: int, losses: int, n: int, *, alpha: float) -> float:
    """The same from above."""
    return -lower_bound(losses, gains, n, alpha=alpha)


def least_share(hits: int, n: int, *, alpha: float) -> float:
    """The mean probability of a hit over n rows is above this, but for a probability of alpha; 0
    where nothing is proved.

    The rows need not be alike: bets against the mean of their probabilities gain no more than bets
    against each (AM-GM).
    """
    needed = math.log(1.0 / alpha)
    kept = np.log(SHARE_MONEY) + (n - hits) * np.log1p(-SHARE_BETS)
    low, high = 0.0, 1.0
    # Each pass leaves the one gap between the shares tried in which the evidence falls below what
    # is needed.
    for _ in range(PASSES):
        share = np.linspace(low, high, TRIED)[1:-1]
        hit = np.log1p(SHARE_BETS[:, None] * (1.0 - share) / share)
        proved = int((np.logaddexp.reduce(kept[:, None] + hits * hit, axis=0) >= needed).sum())
        low, high = (
            (share[proved - 1] if proved else low),
            (share[proved] if proved < len(share) else high),
        )
    return float(low)


def most_share(hits: int, n: int, *, alpha: float) -> float:
    """The same from above."""
    return 1.0 - least_share(n - hits, n, alpha=alpha)
