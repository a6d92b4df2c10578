"""What the rollback monitor lets pass, and what it calls worse."""

from dataclasses import replace

import numpy as np
import pytest
from answers import drawn, even

from acclimate.learning.evaluation import rollback_monitor
from acclimate.learning.evaluation.behaviour import Behaviour


def rng(number=0):
    return np.random.default_rng(number)


def watched(expected, answers, needed=500):
    """The first finding that is not `watching`, looked for whenever fifty rows more are there; and
    the rows it took.
    """
    for n in range(50, needed + 1, 50):
        finding = rollback_monitor.judge(expected, Behaviour.of(answers[:n]), needed=needed)
        if finding.state != "watching":
            return finding.state, n
    return "watching", needed


EXPECTED = Behaviour.of(drawn(60, even(10), rng=rng(1)))


@pytest.mark.parametrize("classes", [2, 10])
def test_answers_as_expected_pass_when_all_rows_are_there_and_never_earlier(classes):
    for draw in range(200):
        expected = Behaviour.of(drawn(60, even(classes), rng=rng(draw)))
        assert watched(expected, drawn(500, even(classes), rng=rng(1000 + draw))) == ("passed", 500)


def test_ordinary_drift_in_confidence_and_classes_passes():
    shares = np.array([0.2, 0.2, 0.15, 0.15, 0.05, 0.05, 0.05, 0.05, 0.05, 0.05])  # moved by 0.3
    for draw in range(50):
        assert watched(EXPECTED, drawn(500, shares, confidence=0.75, rng=rng(draw)))[0] == "passed"


def test_a_version_that_collapsed_to_one_class_is_worse_after_a_hundred_rows():
    one = np.full(10, 0.005)
    one[7] = 0.955
    assert watched(EXPECTED, drawn(500, one, rng=rng())) == ("worse", 100)


def test_traffic_that_comes_class_by_class_is_no_collapse_where_it_always_came_so():
    answers = drawn(1000, even(10), rng=rng(4))
    in_bursts = answers[np.argsort(answers.argmax(axis=1), kind="stable")]
    restless = replace(EXPECTED, unrest=Behaviour.of(in_bursts).unrest)
    assert watched(EXPECTED, in_bursts)[0] == "worse"
    assert watched(restless, in_bursts[::2], needed=500) == ("passed", 500)


def test_a_collapse_of_two_even_classes_is_found_when_all_rows_are_there():
    expected = Behaviour.of(drawn(60, even(2), rng=rng()))
    assert watched(expected, drawn(500, [0.01, 0.99], rng=rng(3))) == ("worse", 500)


def test_a_version_that_lost_its_confidence_is_worse_and_the_reason_says_by_how_much():
    live = Behaviour.of(drawn(100, even(10), confidence=0.3, rng=rng()))
    finding = rollback_monitor.judge(EXPECTED, live, needed=500)
    assert finding.state == "worse"
    assert "mean confidence 0.29" in finding.reason and "on 100 rows" in finding.reason


def test_more_confidence_than_expected_is_no_harm():
    assert watched(EXPECTED, drawn(500, even(10), confidence=0.999, rng=rng()))[0] == "passed"


def test_answers_that_are_not_numbers_are_worse():
    answers = drawn(100, even(10), rng=rng())
    answers[3] = np.nan
    assert rollback_monitor.judge(EXPECTED, Behaviour.of(answers), needed=500).state == "worse"


def test_nothing_is_concluded_from_fewer_rows_than_a_hundred_or_than_all_that_are_needed():
    one = np.eye(10, dtype=np.float32)[np.full(200, 7)]
    assert rollback_monitor.judge(EXPECTED, None, needed=500).state == "watching"
    assert rollback_monitor.judge(EXPECTED, Behaviour.of(one[:99]), needed=500).state == "watching"
    assert rollback_monitor.judge(EXPECTED, Behaviour.of(one[:100]), needed=500).state == "worse"
    assert rollback_monitor.judge(EXPECTED, Behaviour.of(one[:39]), needed=40).state == "watching"
    assert rollback_monitor.judge(EXPECTED, Behaviour.of(one[:40]), needed=40).state == "worse"
