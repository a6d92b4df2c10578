"""How many answers of a window were right, said before any label of it, or why that cannot be
known. No torch here.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

from acclimate.learning.data import Json
from acclimate.learning.evaluation.behaviour import Behaviour, confidence_fall
from acclimate.learning.results import Drift

ESTIMATOR, SEED_RECALL, HINDSIGHT = "mean_confidence", "seed_recall", "hindsight"
"""How it is said; what is asked beside it where inputs are the seed's, and where the next version
learnt from the window.
"""
APART = 0.15
"""How far the second opinion may be from the first, beyond chance, for either to deserve belief."""
LEAST_ROWS = 50
TOO_HIGH, TOO_HIGH_AT_REST, TOO_LOW = 0.18, 0.11, 0.10
"""Model error: how far above accuracy confidence was found, under drift and without it, and below
(decision 0014).
"""
NEW_FALL = 0.10
"""A fall of confidence below what the version showed when it was judged that tells of drift it has
never met.
"""
BEYOND = ("abrupt", "junk", "new_class", "unknown")
FALLS = ("anchor_confidence", "anchor_agreement")
TWO_SIDED_95 = 1.96


@dataclass(frozen=True, kw_only=True)
class Opinion:
    """The accuracy (0..1) of the same answers by another way, on so many `rows` (as many as say as
    much without weights).
    """

    estimator: str
    value: float
    rows: float


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """Accuracy in 0..1 with an interval that holds sampling and model error; `value` is None where
    `refused` says why.

    `others` is what was found by another way, with or without a value.
    """

    value: float | None = None
    lower: float | None = None
    upper: float | None = None
    estimator: str = ESTIMATOR
    refused: str | None = None
    others: tuple[Opinion, ...] = ()

    def as_json(self) -> Json:
        return {**asdict(self), "others": [asdict(opinion) for opinion in self.others]}


def estimate(
    answers: Behaviour,
    *,
    expected: Behaviour | None,
    drift: Drift,
    frozen: bool,
    second: Opinion | None = None,
) -> Estimate:
    """The mean confidence of a window's answers, as far as it deserves belief.

    `answers` are those of the version that served the window, `expected` how it answered when it
    was judged (None: not known), `frozen` whether it learnt from the seed set alone, `second` what
    another way says of them. Nothing of a label of the window enters. The interval is wider below
    than above, since confidence is too high more often than too low: sampling error at 95 %, copies
    of rows counted once, plus the model error named above.
    """
    others = () if second is None else (second,)
    rows = (
        answers.rows if drift.independent is None else min(float(answers.rows), drift.independent)
    )
    refused = _refusal(answers, expected, drift, frozen) or _contradiction(answers, rows, second)
    if refused is not None:
        return Estimate(refused=refused, others=others)
    value = answers.confidence
    sampling = TWO_SIDED_95 * math.sqrt(_variance(answers) / rows)
    below = TOO_HIGH_AT_REST if drift.kind == "none" else TOO_HIGH
    lower, upper = max(0.0, value - sampling - below), min(1.0, value + sampling + TOO_LOW)
    return Estimate(value=value, lower=lower, upper=upper, others=others)


def _variance(answers: Behaviour) -> float:
    """Of one answer being right: those of confidence c are coins, and the mean of their variances
    is that of c (1 - c).
    """
    return max(0.0, answers.confidence * (1 - answers.confidence) - answers.deviation**2)


def _contradiction(answers: Behaviour, rows: float, second: Opinion | None) -> str | None:
    if second is None:
        return None
    variance = _variance(answers) / rows + second.value * (1 - second.value) / max(second.rows, 1.0)
    apart, limit = (
        abs(answers.confidence - second.value),
        APART + TWO_SIDED_95 * math.sqrt(variance),
    )
    if apart <= limit:
        return None
    return (
        f"mean confidence says {answers.confidence:.2f}, {second.estimator.replace('_', ' ')} "
        f"says {second.value:.2f}: "
        f"{apart:.2f} apart (limit {limit:.2f}), neither can be believed"
    )


def _refusal(
    answers: Behaviour, expected: Behaviour | None, drift: Drift, frozen: bool
) -> str | None:
    if answers.rows < LEAST_ROWS:
        return f"{answers.rows} rows are too few, at least {LEAST_ROWS} are needed"
    if not answers.finite:
        return "there are answers that are not numbers"
    if drift.alarms or drift.kind in BEYOND:
        return (
            f"the window looks {drift.kind}: after a jump a version can be sure and wrong "
            f"({drift.detail})"
        )
    falls = [drift.effects[name].value for name in FALLS if name in drift.effects]
    if frozen and max(falls, default=0.0) >= NEW_FALL:
        return (
            "full drift, and the version learnt from the seed set alone: its confidence is "
            "too high by an unknown amount"
        )
    if expected is not None and expected.finite:
        fall, chance = confidence_fall(expected, answers)
        if fall > chance + NEW_FALL:
            return (
                f"mean confidence fell by {fall:.2f} below what the version showed when it was "
                f"judged "
                f"(limit {chance + NEW_FALL:.2f}): drift that it does not track"
            )
    return None
