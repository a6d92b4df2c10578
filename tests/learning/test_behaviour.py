"""Mean confidence and predicted classes, and how much of a change is chance."""

import json

import numpy as np
import pytest
from answers import drawn, even

from acclimate.learning.evaluation.behaviour import Behaviour, class_shift, confidence_fall


def test_a_behaviour_counts_rows_confidence_and_shares():
    found = Behaviour.of(np.array([[0.9, 0.1], [0.7, 0.3], [0.2, 0.8]], np.float32))
    assert (found.rows, found.shares) == (3, (2 / 3, 1 / 3))
    assert found.confidence == pytest.approx(0.8) and found.deviation == pytest.approx(
        np.std([0.9, 0.7, 0.8]), abs=1e-6
    )


def test_a_behaviour_comes_back_from_json_as_it_was():
    found = Behaviour.of(drawn(50, even(4), rng=np.random.default_rng(0)))
    assert Behaviour.from_json(json.loads(json.dumps(found.as_json()))) == found


def test_answers_that_are_not_numbers_are_kept_as_such_in_json():
    found = Behaviour.of(np.array([[np.nan, np.nan], [0.7, 0.3]], np.float32))
    assert not found.finite
    kept = json.loads(json.dumps(found.as_json(), allow_nan=False))
    assert kept["confidence"] is None and not Behaviour.from_json(kept).finite


@pytest.mark.parametrize("classes", [2, 10, 100])
@pytest.mark.parametrize(("before", "now"), [(60, 100), (60, 500), (300, 300)])
def test_chance_exceeds_its_limits_in_one_of_a_hundred_comparisons(classes, before, now):
    rng = np.random.default_rng(1)
    shares = rng.dirichlet(np.ones(classes))
    beyond = 0
    for _ in range(400):
        a, b = (Behaviour.of(drawn(n, shares, rng=rng)) for n in (before, now))
        fall, fall_limit = confidence_fall(a, b)
        shift, shift_limit = class_shift(a, b)
        beyond += fall > fall_limit or shift > shift_limit
    assert beyond <= 4


def test_the_limits_of_chance_grow_tighter_with_rows():
    rng = np.random.default_rng(2)
    few, many = (Behaviour.of(drawn(n, even(5), rng=rng)) for n in (100, 10_000))
    assert class_shift(many, many)[1] < class_shift(few, few)[1] / 5
    assert confidence_fall(many, many)[1] < confidence_fall(few, few)[1] / 5


def test_unrest_tells_traffic_in_bursts_from_traffic_that_is_mixed():
    mixed = drawn(1000, even(10), rng=np.random.default_rng(3))
    in_bursts = mixed[np.argsort(mixed.argmax(axis=1), kind="stable")]
    assert Behaviour.of(mixed).unrest == 0
    assert Behaviour.of(in_bursts).unrest > 0.75
    assert Behaviour.of(in_bursts[:199]).unrest == 0
