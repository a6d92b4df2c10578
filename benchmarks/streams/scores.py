"""The arithmetic of a window and of a stream: accuracy, binned confidence, paired tests, means, the
gap closed.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from acclimate.learning.data import Floats, Integers

BINS = 15
LEVEL = 0.05
"""A promotion is harmful where chance alone makes a version of the same worth look this much worse
in fewer cases.
"""
SMALLEST_GAP = 0.02
"""Between oracle and frozen; below it the share of it that was closed is a quotient of noise."""


def accuracy(answers_NC: Floats, y: Integers) -> float | None:
    """The share of right answers among the rows that have one of the classes; None where
    none has.
    """
    known = y >= 0
    return float((answers_NC.argmax(axis=1) == y)[known].mean()) if known.any() else None


def binned(answers_NC: Floats, y: Integers) -> list[list[float]]:
    """For each of 15 equal bins of confidence: rows, sum of confidence, right answers, of rows that
    have a class.
    """
    known = y >= 0
    confidence = answers_NC.max(axis=1)[known].astype(np.float64)
    right = (answers_NC.argmax(axis=1) == y)[known]
    place = np.minimum((confidence * BINS).astype(np.int64), BINS - 1)
    columns = [
        np.bincount(place, weights=weight, minlength=BINS)
        for weight in (np.ones(len(place)), confidence, right)
    ]
    return [[round(float(value), 4) for value in column] for column in columns]


def pooled_bins(bins: Iterable[Sequence[Sequence[float]]]) -> NDArray[np.float64]:
    """The sum (3, 15) of such bins over windows."""
    return np.sum(
        [np.zeros((3, BINS)), *(np.asarray(each, dtype=np.float64) for each in bins)], axis=0
    )


def calibration_error(bins_3B: NDArray[np.float64]) -> float:
    """The expected calibration error of pooled bins; NaN of no rows."""
    rows, confidence, right = bins_3B
    return float(np.abs(confidence - right).sum() / rows.sum()) if rows.sum() else math.nan


def paired(new_NC: Floats, old_NC: Floats, y: Integers) -> dict[str, Any]:
    """Two versions on the same rows: rows that only one had right, and the exact one-sided p of
    "not worse" (McNemar).
    """
    known = y >= 0
    new, old = (new_NC.argmax(axis=1) == y)[known], (old_NC.argmax(axis=1) == y)[known]
    gained, lost = int((new & ~old).sum()), int((old & ~new).sum())
    p = at_least(lost, gained + lost)
    return {
        "rows": int(known.sum()),
        "gained": gained,
        "lost": lost,
        "p": round(p, 6),
        "harmful": p <= LEVEL,
    }


def at_least(successes: int, tosses: int, chance: float = 0.5) -> float:
    """The chance of so many successes or more in so many tosses."""
    if successes <= 0:
        return 1.0
    log, log_not = math.log(chance), math.log1p(-chance)
    terms = (
        math.lgamma(tosses + 1)
        - math.lgamma(k + 1)
        - math.lgamma(tosses - k + 1)
        + k * log
        + (tosses - k) * log_not
        for k in range(successes, tosses + 1)
    )
    return min(1.0, math.fsum(math.exp(term) for term in terms))


def by_group(windows: Sequence[dict[str, Any]], key: str) -> list[float]:
    """The accuracy of each group of windows in order, each the mean of its rows; windows without
    one are left out.
    """
    totals: dict[str, list[float]] = {}
    for number, window in enumerate(windows):
        if window[key] is None or not window["scored"]:
            continue
        right, rows = totals.setdefault(window["group"] or f"window {number + 1}", [0.0, 0.0])
        totals[window["group"] or f"window {number + 1}"] = [
            right + window[key] * window["scored"],
            rows + window["scored"],
        ]
    return [right / rows for right, rows in totals.values()]


def gap_closed(served: float, frozen: float, oracle: float) -> float | None:
    """(served - frozen) / (oracle - frozen), or None where there is no gap worth the name."""
    return (served - frozen) / (oracle - frozen) if oracle - frozen >= SMALLEST_GAP else None


def mean(values: Iterable[float | None]) -> float | None:
    """Of the values that are there."""
    there = [value for value in values if value is not None and math.isfinite(value)]
    return float(np.mean(there)) if there else None


def spread(values: Iterable[float | None]) -> float | None:
    """The standard deviation over seeds; None of fewer than two."""
    there = [value for value in values if value is not None and math.isfinite(value)]
    return float(np.std(there, ddof=1)) if len(there) > 1 else None


def share(hits: int, of: int) -> float | None:
    return hits / of if of else None
