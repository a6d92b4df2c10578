"""What answers are worth by another way than their own confidence."""

import numpy as np
import pytest
from turned_digits import accuracy, learn, window_of

from acclimate.learning.evaluation import second_opinion
from acclimate.learning.models import modes
from acclimate.learning.models.modes import PriorAdapted
from acclimate.learning.results import Drift


def drift(kind, shares):
    return Drift(kind=kind, amount=0.0, effects={}, agreement=0.9, shares=tuple(shares))


def test_the_recall_of_the_seed_weighted_by_the_windows_shares_is_near_the_truth(
    stream, parts, anchor
):
    y = parts.judging.y
    shares = np.full(10, 0.02)
    shares[[1, 8]] = 0.42
    told = second_opinion.from_seed(anchor, parts.judging, drift("prior", shares))
    recall = [accuracy(anchor, parts.judging.x[y == label], y[y == label]) for label in range(10)]
    assert told.value == pytest.approx(float(shares @ recall))
    assert told.rows < len(y) / 2  # most of them are of classes that hardly come
    rows = np.flatnonzero(np.isin(stream.y, (1, 8)))
    assert told.value == pytest.approx(accuracy(anchor, stream.x[rows], stream.y[rows]), abs=0.08)


def test_a_running_prior_is_asked_as_it_answers_once_it_knows_the_shares(parts, anchor):
    shares = np.full(10, 0.01)
    shares[3] = 0.91
    following = anchor.with_mode(PriorAdapted.of(modes.class_priors(parts.train.y, 10)))
    plain, told = (
        second_opinion.from_seed(each, parts.judging, drift("prior", shares))
        for each in (anchor, following)
    )
    assert told.value >= plain.value


def test_the_seed_says_nothing_of_inputs_that_drifted(parts, anchor):
    assert (
        second_opinion.from_seed(anchor, parts.judging, drift("covariate", np.full(10, 0.1)))
        is None
    )


def test_hindsight_is_near_what_the_champion_had_right_where_its_student_follows_a_drift(
    stream, parts, anchor
):
    x, y = stream.turned(7, rng=np.random.default_rng(1))
    turn = learn(window_of(x), parts, anchor, anchor)
    assert turn.second.estimator == "hindsight"
    assert turn.second.value == pytest.approx(accuracy(anchor, x, y), abs=0.10)
    still = learn(window_of(stream.x[:300]), parts, anchor, anchor)
    assert still.second.estimator == "seed_recall"
    assert still.second.value == pytest.approx(
        accuracy(anchor, stream.x[:300], stream.y[:300]), abs=0.05
    )
