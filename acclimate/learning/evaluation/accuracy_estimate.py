"""The accuracy of a window's answers, estimated without its labels, or a refusal. No torch here."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

from acclimate.learning.data import Json
from acclimate.learning.evaluation.behaviour import Behaviour, confidence_fall
from acclimate.learning.results import Drift, Opinion
from acclimate.learning.thresholds import DEFAULT, Thresholds

ESTIMATOR, SEED_RECALL, HINDSIGHT = "mean_confidence", "seed_recall", "hindsight"
"""The estimator; the second one on undrifted inputs; the second one where a student was trained."""
FALLS = ("anchor_confidence", "anchor_agreement")


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """Accuracy in 0..1, with an interval for sampling and model error.

    `value` is None where `refused` says why. `others` are other estimators' values, either way.
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
    limits: Thresholds = DEFAULT,
) -> Estimate:
    """The mean confidence of a window's answers, as far as it can be believed.

    `answers` are those of the version that served the window; `expected` those of the same version
    when it was judged (None: not known); `frozen`: it is version 1; `second` is another estimator's
    value. No label of the window enters. The interval is wider below than above, since confidence
    is too high more often than too low: sampling error at 95 %, copies of rows counted once, plus
    the model error of `limits`.
    """
    others = () if second is None else (second,)
    rows = float(answers.rows)
    if drift.independent is not None:
        rows = min(rows, drift.independent)
    refused = _refusal(answers, expected, drift, frozen, limits)
    if refused is None and limits.on("second_opinion"):
        refused = _contradiction(answers, rows, second, limits)
    if refused is not None:
        return Estimate(refused=refused, others=others)
    value = answers.confidence
    sampling = limits.estimate_errors * math.sqrt(_variance(answers) / rows)
    below = limits.error_above_at_rest if drift.kind == "none" else limits.error_above
    return Estimate(
        value=value,
        lower=max(0.0, value - sampling - below),
        upper=min(1.0, value + sampling + limits.error_below),
        others=others,
    )


def _variance(answers: Behaviour) -> float:
    """Of one answer being right: the mean over rows of c (1 - c) at confidence c."""
    return max(0.0, answers.confidence * (1 - answers.confidence) - answers.deviation**2)


def _contradiction(
    answers: Behaviour, rows: float, second: Opinion | None, limits: Thresholds
) -> str | None:
    if second is None:
        return None
    theirs = second.value * (1 - second.value) / max(second.rows, 1.0)
    error = limits.estimate_errors * math.sqrt(_variance(answers) / rows + theirs)
    apart, limit = abs(answers.confidence - second.value), limits.opinions_apart + error
    if apart <= limit:
        return None
    return (
        f"mean confidence is {answers.confidence:.2f}, {second.estimator.replace('_', ' ')} gives "
        f"{second.value:.2f}: {apart:.2f} apart (limit {limit:.2f}), neither can be believed"
    )


def _refusal(
    answers: Behaviour,
    expected: Behaviour | None,
    drift: Drift,
    frozen: bool,
    limits: Thresholds,
) -> str | None:
    if answers.rows < limits.estimate_rows:
        return f"{answers.rows} rows are too few, at least {limits.estimate_rows} are needed"
    if not answers.finite:
        return "there are answers that are not numbers"
    if drift.alarms:
        return (
            f"the window looks {drift.kind}: after a jump a version can be sure and wrong "
            f"({drift.detail})"
        )
    falls = [drift.effects[name].value for name in FALLS if name in drift.effects]
    fell = max(falls, default=0.0) >= limits.new_fall
    if frozen and fell and limits.on("frozen_fall"):
        return (
            "full drift, and the version was trained on the seed set alone: "
            "its confidence is too high by an unknown amount"
        )
    if expected is not None and expected.finite and limits.on("expected_fall"):
        fall, chance = confidence_fall(expected, answers, limits)
        limit = chance + limits.new_fall
        if fall > limit:
            return (
                f"mean confidence fell by {fall:.2f} below what the version showed when it was "
                f"judged (limit {limit:.2f}): drift that it does not track"
            )
    return None
