"""What chance alone shows: levels of repeated tests, quantiles, bounds of shares. numpy only."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from acclimate.learning.thresholds import DEFAULT, Thresholds

Doubles = NDArray[np.float64]


def level_of_window(number: int, limits: Thresholds = DEFAULT) -> float:
    """What the `number`-th window (from 1) may spend of the error of the whole series.

    1 / (k (k + 1)) of it: the levels of a series, however long, sum to `series_error` at most.
    """
    return limits.series_error / (number * (number + 1))


def level_of_peek(peeks: int, limits: Thresholds = DEFAULT) -> float:
    """What this test may spend when challengers of so many earlier runs used the same labels.

    All sum to `audit_error`. Right for challengers that are made without a view to these labels,
    in any number, until somebody stops.
    """
    share = limits.audit_first_share
    return limits.audit_error * share * (1.0 - share) ** peeks


def standard_errors(level: float, *, tails: int = 1) -> float:
    """Standard errors of a normal that chance exceeds with this probability, over so many tails."""
    return NormalDist().inv_cdf(1 - level / tails)


def total_variation(a: NDArray[Any], b: NDArray[Any]) -> float:
    """Half of the summed absolute differences of two distributions (C,)."""
    return float(np.abs(a - b).sum() / 2)


def chance_of_shares(
    before: float, rows_before: float, now: float, rows: float, errors: float
) -> float:
    """How much two shares of so many rows may differ by chance, within so many standard errors."""
    pooled = (before * rows_before + now * rows) / (rows_before + rows)
    variance = max(pooled * (1 - pooled), 0.0) * (1 / rows_before + 1 / rows)
    return errors * math.sqrt(variance)


def wilson_bound(share: Doubles, n: int, errors: float) -> Doubles:
    """So many standard errors above frequencies seen on n rows (Wilson 1927); below if negative."""
    z = errors
    error = np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    return np.asarray((share + z**2 / (2 * n) + z * error) / (1 + z**2 / n))


def wilson_interval(share: float, n: int, errors: float) -> tuple[float, float]:
    """Bounds of a share seen on n rows, so many standard errors apart on each side."""
    upper, missing = (
        float(wilson_bound(np.array(value), n, errors)) for value in (share, 1.0 - share)
    )
    return max(0.0, 1.0 - missing), min(1.0, upper)


def paired_lower_bound(difference: Doubles, errors: float = DEFAULT.gate_errors) -> float:
    """Lower bound of the mean of paired differences (N,), by the normal approximation."""
    deviation = float(difference.std(ddof=1)) if len(difference) > 1 else math.inf
    return float(difference.mean()) - errors * deviation / math.sqrt(len(difference))


def gamma_quantile(draws: Doubles, level: float) -> float:
    """What a gamma fitted to the draws exceeds with this probability (Wilson, Hilferty 1931)."""
    mean, variance = float(draws.mean()), max(float(draws.var(ddof=1)), 1e-18)
    shape, scale = mean**2 / variance, variance / mean if mean > 0 else 0.0
    z = standard_errors(level)
    return shape * scale * (1 - 1 / (9 * shape) + z / (3 * math.sqrt(shape))) ** 3


def chi_squared_quantile(freedom: int, level: float) -> float:
    """What chance exceeds with this probability (Wilson and Hilferty 1931, within 0.1)."""
    spread = 2 / (9 * freedom)
    return float(freedom * (1 - spread + standard_errors(level) * math.sqrt(spread)) ** 3)


def effective_rows(contents: Iterable[bytes | str], rows: int) -> float:
    """As many distinct rows would say as much about a mean as these do (Kish 1965)."""
    counts = Counter(contents)
    return rows**2 / max(1, sum(count**2 for count in counts.values()))
