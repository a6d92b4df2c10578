"""The accuracy estimate without labels, and where it is refused."""

from dataclasses import replace

import numpy as np
import pytest
from answers import drawn, even

from acclimate.learning.evaluation.accuracy_estimate import (
    HINDSIGHT,
    SEED_RECALL,
    Opinion,
    estimate,
)
from acclimate.learning.evaluation.behaviour import Behaviour
from acclimate.learning.results import Drift, Effect

EXPECTED = Behaviour.of(drawn(300, even(5), rng=np.random.default_rng(0)))


def answers(n=300, confidence=0.9):
    return Behaviour.of(drawn(n, even(5), confidence=confidence, rng=np.random.default_rng(1)))


def drift(kind="covariate", amount=0.5, **more):
    return Drift(kind=kind, amount=amount, effects={}, agreement=0.9, **more)


def test_the_value_is_the_mean_confidence_and_the_interval_is_wider_below():
    found = estimate(answers(), expected=EXPECTED, drift=drift(), frozen=False)
    assert (found.value, found.estimator, found.refused) == (
        answers().confidence,
        "mean_confidence",
        None,
    )
    assert found.value - found.lower > found.upper - found.value
    assert found.upper <= 1


def test_a_calibrated_version_is_inside_the_interval_with_its_sampling_error_alone_in_95_of_100():
    generator = np.random.default_rng(2)
    inside = 0
    for _ in range(400):
        given = drawn(100, even(5), confidence=0.7, rng=generator)
        right = (generator.random(100) < given.max(axis=1)).mean()
        found = estimate(Behaviour.of(given), expected=None, drift=drift("none", 0), frozen=False)
        inside += found.lower + 0.11 <= right <= found.upper - 0.10
    assert 370 <= inside <= 395


def test_few_rows_widen_the_interval_and_too_few_are_refused():
    wide, narrow = (
        estimate(answers(n), expected=EXPECTED, drift=drift(), frozen=False) for n in (60, 6000)
    )
    assert wide.value - wide.lower > narrow.value - narrow.lower
    assert (
        "too few" in estimate(answers(49), expected=EXPECTED, drift=drift(), frozen=False).refused
    )


def test_without_drift_the_interval_is_narrower():
    still, moving = (
        estimate(answers(), expected=EXPECTED, drift=drift(kind), frozen=True)
        for kind in ("none", "covariate")
    )
    assert still.lower > moving.lower


@pytest.mark.parametrize(
    "found",
    [
        drift("abrupt", alarms=True),
        drift("new_class", alarms=True),
        drift("prior", alarms=True, detail="moved"),
    ],
)
def test_a_window_that_alarms_is_refused_with_the_reason_however_sure_the_version_is(found):
    result = estimate(answers(confidence=0.99), expected=EXPECTED, drift=found, frozen=False)
    assert (result.value, result.lower, result.upper) == (None, None, None)
    assert f"looks {found.kind}" in result.refused


def test_full_drift_that_the_version_never_learnt_is_refused():
    fallen = replace(
        drift(), effects={"anchor_agreement": Effect(value=0.12, threshold=0.02, n=200)}
    )
    assert "seed set alone" in estimate(answers(), expected=None, drift=fallen, frozen=True).refused
    assert estimate(answers(), expected=None, drift=fallen, frozen=False).refused is None


def test_confidence_far_below_what_the_version_showed_is_drift_that_it_does_not_track():
    result = estimate(answers(confidence=0.7), expected=EXPECTED, drift=drift(), frozen=False)
    assert "does not track" in result.refused
    assert (
        estimate(answers(confidence=0.85), expected=EXPECTED, drift=drift(), frozen=False).refused
        is None
    )


def test_answers_that_are_not_numbers_are_refused():
    given = drawn(100, even(5), rng=np.random.default_rng(3))
    given[0] = np.nan
    assert (
        "not numbers"
        in estimate(Behaviour.of(given), expected=None, drift=drift(), frozen=False).refused
    )


def test_a_second_opinion_that_agrees_is_shown_beside_the_estimate():
    second = Opinion(estimator=SEED_RECALL, value=0.85, rows=200)
    result = estimate(
        answers(), expected=EXPECTED, drift=drift("none", 0), frozen=True, second=second
    )
    assert result.refused is None
    assert result.as_json()["others"] == [{"estimator": "seed_recall", "value": 0.85, "rows": 200}]


def test_estimators_that_contradict_each_other_are_refused_and_both_are_shown():
    second = Opinion(estimator=HINDSIGHT, value=0.6, rows=300)
    result = estimate(answers(), expected=EXPECTED, drift=drift(), frozen=False, second=second)
    assert result.value is None
    assert "hindsight gives 0.60" in result.refused
    assert result.others == (second,)
    few = replace(second, rows=5)  # chance alone moves a share of five rows so far
    assert (
        estimate(answers(), expected=EXPECTED, drift=drift(), frozen=False, second=few).refused
        is None
    )


def test_copies_of_rows_are_no_more_evidence_than_one_of_them():
    counted = replace(drift(), independent=15.0)
    plain, copied = (
        estimate(answers(), expected=EXPECTED, drift=each, frozen=False)
        for each in (drift(), counted)
    )
    assert copied.value == plain.value
    assert copied.lower < plain.lower
