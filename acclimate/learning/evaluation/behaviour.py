"""How a version answered rows, without labels: confidence and predicted classes. No torch here.

N rows, C classes. Compared by the rollback monitor, the drift trigger and the accuracy estimate.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from acclimate.learning.data import Json
from acclimate.learning.stats.significance import total_variation
from acclimate.learning.thresholds import DEFAULT, Thresholds

BLOCK_ROWS = 100
"""Traffic comes in bursts: how far the classes of so many consecutive answers stray from those of
all.
"""


@dataclass(frozen=True, kw_only=True)
class Behaviour:
    """Of `rows` answers: mean and standard deviation of the confidence, and each class's share of
    the answers (C).

    `unrest` is the farthest that the shares of a block of 100 consecutive answers were from those
    of all (total variation); 0 where that is no more than chance.
    """

    rows: int
    confidence: float
    deviation: float
    shares: tuple[float, ...]
    unrest: float = 0.0

    @staticmethod
    def of(probabilities: NDArray[Any]) -> Behaviour:
        """Of answers (N, C) in the order they were given, at least one.

        Answers that are not numbers give a confidence that is not finite.
        """
        confidence, labels = (
            probabilities.max(axis=1).astype(np.float64),
            probabilities.argmax(axis=1),
        )
        shares = _shares(labels, probabilities.shape[1])
        return Behaviour(
            rows=len(confidence),
            confidence=float(confidence.mean()),
            deviation=float(confidence.std()),
            shares=tuple(shares.tolist()),
            unrest=_unrest(labels, shares),
        )

    @property
    def finite(self) -> bool:
        return math.isfinite(self.confidence)

    def as_json(self) -> Json:
        """Plain values; JSON knows no NaN, so what is not finite is None."""
        plain = asdict(self) | {"shares": list(self.shares)}
        return plain if self.finite else plain | {"confidence": None, "deviation": None}

    @staticmethod
    def from_json(data: Json) -> Behaviour:
        """The inverse of `as_json`."""
        confidence, deviation = (
            math.nan if data[key] is None else data[key] for key in ("confidence", "deviation")
        )
        plain = {"rows": data["rows"], "shares": tuple(data["shares"]), "unrest": data["unrest"]}
        return Behaviour(confidence=confidence, deviation=deviation, **plain)


def confidence_fall(
    before: Behaviour, now: Behaviour, limits: Thresholds = DEFAULT
) -> tuple[float, float]:
    """How far the mean confidence fell, and how far chance lets it fall between so many rows."""
    error = math.sqrt(before.deviation**2 / before.rows + now.deviation**2 / now.rows)
    return before.confidence - now.confidence, limits.behaviour_errors * error


def class_shift(
    before: Behaviour, now: Behaviour, limits: Thresholds = DEFAULT
) -> tuple[float, float]:
    """Total variation between the predicted classes, and how much of it is nothing new.

    That is what chance shows between so many rows, or what bursts of traffic did, whichever is
    more.
    """
    a, b = np.array(before.shares), np.array(now.shares)
    chance = _chance(a, before.rows, b, now.rows, limits.behaviour_errors)
    return total_variation(a, b), max(chance, before.unrest, now.unrest)


def _shares(labels: NDArray[np.integer[Any]], classes: int) -> NDArray[np.float64]:
    return np.bincount(labels, minlength=classes) / len(labels)


def _unrest(labels: NDArray[np.integer[Any]], shares: NDArray[np.float64]) -> float:
    if len(labels) < 2 * BLOCK_ROWS:
        return 0.0
    moves = [0.0]
    for start in range(0, len(labels) - BLOCK_ROWS + 1, BLOCK_ROWS):
        block = _shares(labels[start : start + BLOCK_ROWS], len(shares))
        moved = total_variation(block, shares)
        chance = _chance(block, BLOCK_ROWS, shares, len(labels), DEFAULT.behaviour_errors)
        moves.append(moved if moved > chance else 0.0)
    return max(moves)


def _chance(
    a: NDArray[np.float64],
    rows_a: int,
    b: NDArray[np.float64],
    rows_b: int,
    errors: float,
) -> float:
    """How far the shares of so many rows each may be apart (total variation) though nothing
    changed.

    Each class's difference is about normal, so the sum of their absolute values has the mean of as
    many half-normals. They hang together, since the differences add up to nothing: fully where only
    two classes vary, hardly where many do.
    """
    pooled = (a * rows_a + b * rows_b) / (rows_a + rows_b)
    variance = pooled * (1 - pooled) * (1 / rows_a + 1 / rows_b)
    total, varying = float(variance.sum()), _effective_number(variance)
    mean = math.sqrt(2 / math.pi) * float(np.sqrt(variance).sum()) / 2
    deviation = math.sqrt((1 - 2 / math.pi) * total * varying / max(varying - 1, 1)) / 2
    return max(mean + errors * deviation, errors * math.sqrt(float(variance.max())))


def _effective_number(weights: NDArray[np.float64]) -> float:
    """How many equal weights would be spread as these are; 1 where all are nothing."""
    squares = float((weights**2).sum())
    return float(weights.sum()) ** 2 / squares if squares > 0 else 1.0
