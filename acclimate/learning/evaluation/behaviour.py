"""How a version answered rows, without a label: mean confidence and the share of each class. No
torch here.

N rows, C classes. What a watch, the drift trigger and the estimate compare.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from acclimate.learning.data import Json

SURE = 3.0
"""Standard errors beyond which chance is not believed, since looks are many."""
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


def confidence_fall(before: Behaviour, now: Behaviour) -> tuple[float, float]:
    """How far the mean confidence fell, and how far chance alone lets it fall between so
    many rows.
    """
    error = math.sqrt(before.deviation**2 / before.rows + now.deviation**2 / now.rows)
    return before.confidence - now.confidence, SURE * error


def share_shift(before: Behaviour, now: Behaviour) -> tuple[float, float]:
    """Total variation between the shares of the classes, and how much of it is nothing new.

    That is what chance alone shows between so many rows, or what bursts of traffic did, whichever
    is more.
    """
    a, b = np.array(before.shares), np.array(now.shares)
    limit = max(_chance(a, before.rows, b, now.rows), before.unrest, now.unrest)
    return float(np.abs(a - b).sum()) / 2, limit


def _shares(labels: NDArray[np.integer[Any]], classes: int) -> NDArray[np.float64]:
    return np.bincount(labels, minlength=classes) / len(labels)


def _unrest(labels: NDArray[np.integer[Any]], shares: NDArray[np.float64]) -> float:
    if len(labels) < 2 * BLOCK_ROWS:
        return 0.0
    moves = [0.0]
    for start in range(0, len(labels) - BLOCK_ROWS + 1, BLOCK_ROWS):
        block = _shares(labels[start : start + BLOCK_ROWS], len(shares))
        moved = float(np.abs(block - shares).sum()) / 2
        moves.append(moved if moved > _chance(block, BLOCK_ROWS, shares, len(labels)) else 0.0)
    return max(moves)


def _chance(a: NDArray[np.float64], rows_a: int, b: NDArray[np.float64], rows_b: int) -> float:
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
    return max(mean + SURE * deviation, SURE * math.sqrt(float(variance.max())))


def _effective_number(weights: NDArray[np.float64]) -> float:
    """How many equal weights would be spread as these are; 1 where all are nothing."""
    squares = float((weights**2).sum())
    return float(weights.sum()) ** 2 / squares if squares > 0 else 1.0
