"""The reader that only knows which trusted rows lie near: right where networks are sure and wrong,
and what lowers a limit.
"""

from __future__ import annotations

import numpy as np
import pytest
from turned_digits import Digits, window_of

from acclimate.learning.data import Past, SeedSet
from acclimate.learning.drift import abrupt_shift
from acclimate.learning.drift.detector import diagnose
from acclimate.learning.models.bundle import Bundle
from acclimate.learning.screening import contamination
from acclimate.learning.spec import Policy
from acclimate.learning.stats import knn


def test_a_row_is_called_as_most_of_its_five_nearest() -> None:
    trusted = np.array([[0.0], [0.1], [0.2], [0.3], [0.4], [9.0], [9.1], [9.2]], dtype=np.float32)
    y = np.array([1, 1, 0, 1, 0, 2, 2, 2])
    assert knn.called(np.array([[0.2], [9.1]], dtype=np.float32), trusted, y).tolist() == [1, 2]


def test_of_fewer_than_five_trusted_rows_all_are_asked() -> None:
    trusted, y = np.zeros((2, 3), dtype=np.float32), np.array([1, 1])
    assert knn.called(np.ones((700, 3), dtype=np.float32), trusted, y).tolist() == [1] * 700


def test_of_digits_that_were_not_learnt_it_calls_most_what_they_are(stream: Digits) -> None:
    called = knn.called(stream.x, stream.seed_x, stream.seed_y)
    assert (called == stream.y).mean() > 0.95


@pytest.mark.parametrize(
    ("contradicted_before", "limit"),
    [(0.0, abrupt_shift.BOTH_STEPS_CONTRADICTED), (0.9, abrupt_shift.BOTH_STEPS)],
)
def test_two_steps_that_come_near_their_limits_need_less_where_neighbours_contradict_too(
    stream: Digits, parts: SeedSet, anchor: Bundle, contradicted_before: float, limit: float
) -> None:
    x = stream.turned(40, rng=np.random.default_rng(2))[0]
    past = Past(agreement=0.9, neighbours=contradicted_before)
    window = window_of(x, past=past)
    crowded = contamination.find(window, parts, anchor, anchor, Policy())
    found = diagnose(
        window,
        parts,
        anchor,
        anchor,
        crowded,
        rng=np.random.default_rng(0),
        tick=lambda done, total: None,
    )
    assert found.effects["neighbours"].value > abrupt_shift.CONTRADICTED
    assert found.effects["both_steps"].threshold == limit
