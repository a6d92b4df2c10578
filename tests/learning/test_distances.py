"""Labels of the nearest trusted rows, and the limit that they lower."""

from __future__ import annotations

import numpy as np
import pytest
from stages import diagnose
from turned_digits import window_of

from acclimate.learning.data import Past
from acclimate.learning.stats.distances import knn_label
from acclimate.learning.thresholds import DEFAULT


def test_a_row_has_the_label_of_most_of_its_five_nearest():
    trusted = np.array([[0.0], [0.1], [0.2], [0.3], [0.4], [9.0], [9.1], [9.2]], dtype=np.float32)
    y = np.array([1, 1, 0, 1, 0, 2, 2, 2])
    assert knn_label(
        np.array([[0.2], [9.1]], dtype=np.float32), trusted, y, neighbours=5
    ).tolist() == [1, 2]


def test_of_fewer_than_five_trusted_rows_all_vote():
    trusted, y = np.zeros((2, 3), dtype=np.float32), np.array([1, 1])
    assert (
        knn_label(np.ones((700, 3), dtype=np.float32), trusted, y, neighbours=5).tolist()
        == [1] * 700
    )


def test_most_digits_have_the_label_of_their_nearest_seed_rows(stream):
    found = knn_label(stream.x, stream.seed_x, stream.seed_y, neighbours=5)
    assert (found == stream.y).mean() > 0.95


@pytest.mark.parametrize(
    ("before", "limit"),
    [(0.0, DEFAULT.both_steps_contradicted), (0.9, DEFAULT.both_steps)],
)
def test_both_steps_need_less_where_neighbours_contradict(stream, parts, anchor, before, limit):
    x = stream.turned(40, rng=np.random.default_rng(2))[0]
    past = Past(agreement=0.9, neighbours=before)
    window = window_of(x, past=past)
    found = diagnose(window, parts, anchor, anchor)
    assert found.effects["neighbours"].value > DEFAULT.contradicted_step
    assert found.effects["both_steps"].threshold == limit
