"""How a version answered rows, without a label: mean confidence and the share of each class. No torch here.

N rows, C classes. What a watch, the drift trigger and the estimate compare.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from acclimate.learning.values import Json

SURE = 3.0
"""Standard errors beyond which chance is not believed, since looks are many."""


@dataclass(frozen=True, kw_only=True)
class Behaviour:
    """Of `rows` answers: mean and standard deviation of the confidence, and each class's share of the answers (C)."""

    rows: int
    confidence: float
    deviation: float
    shares: tuple[float, ...]

    @staticmethod
    def of(probabilities: NDArray[Any]) -> Behaviour:
        """Of answers (N, C), at least one. Answers that are not numbers give a confidence that is not finite."""
        confidence = probabilities.max(axis=1).astype(np.float64)
        counts = np.bincount(probabilities.argmax(axis=1), minlength=probabilities.shape[1])
        return Behaviour(
            rows=len(confidence),
            confidence=float(confidence.mean()),
            deviation=float(confidence.std()),
            shares=tuple((counts / len(confidence)).tolist()),
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
        confidence, deviation = (math.nan if data[key] is None else data[key] for key in ("confidence", "deviation"))
        return Behaviour(rows=data["rows"], confidence=confidence, deviation=deviation, shares=tuple(data["shares"]))


def confidence_fall(before: Behaviour, now: Behaviour) -> tuple[float, float]:
    """How far the mean confidence fell, and how far chance alone lets it fall between so many rows."""
    error = math.sqrt(before.deviation**2 / before.rows + now.deviation**2 / now.rows)
    return before.confidence - now.confidence, SURE * error


def share_shift(before: Behaviour, now: Behaviour) -> tuple[float, float]:
    """Total variation between the shares of the classes, and how much of it chance alone shows between so many rows.

    Each class's difference is about normal, so the sum of their absolute values has the mean of as many half-normals. They
    hang together, since the differences add up to nothing: fully where only two classes vary, hardly where many do.
    """
    a, b = np.array(before.shares), np.array(now.shares)
    pooled = (a * before.rows + b * now.rows) / (before.rows + now.rows)
    variance = pooled * (1 - pooled) * (1 / before.rows + 1 / now.rows)
    total, varying = float(variance.sum()), _effective_number(variance)
    mean = math.sqrt(2 / math.pi) * float(np.sqrt(variance).sum()) / 2
    deviation = math.sqrt((1 - 2 / math.pi) * total * varying / max(varying - 1, 1)) / 2
    limit = max(mean + SURE * deviation, SURE * math.sqrt(float(variance.max())))
    return float(np.abs(a - b).sum()) / 2, limit


def _effective_number(weights: NDArray[np.float64]) -> float:
    """How many equal weights would be spread as these are; 1 where all are nothing."""
    squares = float((weights**2).sum())
    return float(weights.sum()) ** 2 / squares if squares > 0 else 1.0
