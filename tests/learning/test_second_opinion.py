"""What answers are worth by another way than their own confidence."""

import numpy as np
import pytest
from turned_digits import accuracy, learn, window_of

from acclimate.learning.evaluation import second_opinion
from acclimate.learning.models import prior_estimation
from acclimate.learning.models.modes import PriorAdapted
from acclimate.learning.results import Drift


def drift(kind, priors):
    return Drift(kind=kind, amount=0.0, effects={}, agreement=0.9, priors=tuple(priors))


def test_seed_recall_weighted_by_the_windows_priors_is_near_the_truth(stream, parts, anchor):
    y = parts.judging.y
    priors = np.full(10, 0.02)
    priors[[1, 8]] = 0.42
    found = second_opinion.from_seed(anchor, parts.judging, drift("prior", priors))
    recall = [accuracy(anchor, parts.judging.x[y == label], y[y == label]) for label in range(10)]
    assert found.value == pytest.approx(float(priors @ recall))
    assert found.rows < len(y) / 2  # most of them are of classes that hardly come
    rows = np.flatnonzero(np.isin(stream.y, (1, 8)))
    assert found.value == pytest.approx(accuracy(anchor, stream.x[rows], stream.y[rows]), abs=0.08)


def test_a_running_prior_is_asked_as_it_answers_at_the_windows_priors(parts, anchor):
    priors = np.full(10, 0.01)
    priors[3] = 0.91
    following = anchor.with_mode(PriorAdapted.of(prior_estimation.class_priors(parts.train.y, 10)))
    plain, found = (
        second_opinion.from_seed(each, parts.judging, drift("prior", priors))
        for each in (anchor, following)
    )
    assert found.value >= plain.value


def test_the_seed_says_nothing_of_inputs_that_drifted(parts, anchor):
    assert (
        second_opinion.from_seed(anchor, parts.judging, drift("covariate", np.full(10, 0.1)))
        is None
    )


def test_hindsight_is_near_the_champions_accuracy_under_drift(stream, parts, anchor):
    x, y = stream.turned(7, rng=np.random.default_rng(1))
    found = learn(window_of(x), parts, anchor, anchor)
    assert found.opinion.estimator == "hindsight"
    assert found.opinion.value == pytest.approx(accuracy(anchor, x, y), abs=0.10)
    still = learn(window_of(stream.x[:300]), parts, anchor, anchor)
    assert still.opinion.estimator == "seed_recall"
    assert still.opinion.value == pytest.approx(
        accuracy(anchor, stream.x[:300], stream.y[:300]), abs=0.05
    )
