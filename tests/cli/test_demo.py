"""The demo reports when its results are not as expected."""

from __future__ import annotations

from dataclasses import replace

import pytest

from acclimate.cli import demo
from acclimate.cli.scoring import Played

PROMOTED = Played(
    window=1,
    rows=300,
    served_accuracy=0.9,
    frozen_accuracy=0.5,
    ece=0.02,
    run="r1",
    state="succeeded",
    detail=None,
    version_before="1",
    version_after="2",
)
REFUSED = replace(PROMOTED, state="rejected", mark="permuted on purpose", window=2)


def test_three_promotions_and_a_refused_window_before_the_last_are_as_promised():
    assert demo.judge([PROMOTED, PROMOTED, REFUSED, PROMOTED], 1) == []


def test_two_promotions_are_too_few():
    assert demo.judge([PROMOTED, REFUSED, PROMOTED], 1) == ["2 promotions, expected at least 3"]


def test_learning_from_the_junk_is_a_fault():
    learnt = replace(REFUSED, state="succeeded")
    assert demo.judge([PROMOTED, PROMOTED, learnt, PROMOTED], 0) == [
        "the run over window 2 (permuted on purpose) ended succeeded, expected rejected",
        "the marked window is not quarantined",
    ]


def test_learning_that_stops_at_the_junk_is_a_fault():
    assert demo.judge([PROMOTED, PROMOTED, PROMOTED, REFUSED], 1) == [
        "nothing was promoted after window 2"
    ]


@pytest.mark.parametrize(("ended", "code"), [(-9, 137), (-15, 143), (3, 3), (0, 1)])
def test_a_service_that_ended_by_itself_is_never_a_success(ended, code):
    assert demo.exit_code(ended) == code
