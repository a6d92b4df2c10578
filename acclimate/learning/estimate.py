"""How many answers of a window were right, said before any label of it, or why that cannot be known. No torch here."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

from acclimate.learning.behaviour import Behaviour, confidence_fall
from acclimate.learning.diagnosis import Drift
from acclimate.learning.values import Json

ESTIMATOR = "mean_confidence"
LEAST_ROWS = 50
TOO_HIGH, TOO_HIGH_AT_REST, TOO_LOW = 0.18, 0.11, 0.10
"""Model error: how far above accuracy confidence was found, under drift and without it, and below (decision 0014)."""
NEW_FALL = 0.10
"""A fall of confidence below what the version showed when it was judged that tells of drift it has never met."""
BEYOND = ("abrupt", "junk", "new_class", "unknown")
FALLS = ("anchor_confidence", "anchor_agreement")
TWO_SIDED_95 = 1.96


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """Accuracy in 0..1 with an interval that holds sampling and model error; `value` is None where `refused` says why."""

    value: float | None = None
    lower: float | None = None
    upper: float | None = None
    estimator: str = ESTIMATOR
    refused: str | None = None

    def as_json(self) -> Json:
        return asdict(self)


def estimate(answers: Behaviour, *, expected: Behaviour | None, drift: Drift, frozen: bool) -> Estimate:
    """The mean confidence of a window's answers, as far as it deserves belief.

    `answers` are those of the version that served the window, `expected` how it answered when it was judged (None: not
    known), `frozen` whether it learnt from the seed set alone. Nothing of a label enters. The interval is wider below than
    above, since confidence is too high more often than too low: sampling error at 95 % plus the model error named above.
    """
    refused = _refusal(answers, expected, drift, frozen)
    if refused is not None:
        return Estimate(refused=refused)
    value = answers.confidence
    # Right answers among rows of confidence c are a sum of coins: its variance is the mean of c (1 - c).
    variance = max(0.0, value * (1 - value) - answers.deviation**2)
    sampling = TWO_SIDED_95 * math.sqrt(variance / answers.rows)
    below = TOO_HIGH_AT_REST if drift.kind == "none" else TOO_HIGH
    return Estimate(value=value, lower=max(0.0, value - sampling - below), upper=min(1.0, value + sampling + TOO_LOW))


def _refusal(answers: Behaviour, expected: Behaviour | None, drift: Drift, frozen: bool) -> str | None:
    if answers.rows < LEAST_ROWS:
        return f"{answers.rows} rows are too few, at least {LEAST_ROWS} are needed"
    if not answers.finite:
        return "there are answers that are not numbers"
    if drift.alarms or drift.kind in BEYOND:
        return f"the window looks {drift.kind}: after a jump a version can be sure and wrong ({drift.detail})"
    falls = [drift.effects[name].value for name in FALLS if name in drift.effects]
    if frozen and max(falls, default=0.0) >= NEW_FALL:
        return "full drift, and the version learnt from the seed set alone: its confidence is too high by an unknown amount"
    if expected is not None and expected.finite:
        fall, chance = confidence_fall(expected, answers)
        if fall > chance + NEW_FALL:
            return (
                f"mean confidence fell by {fall:.2f} below what the version showed when it was judged "
                f"(limit {chance + NEW_FALL:.2f}): drift that it does not track"
            )
    return None
