"""A window's rows fall into those that are learnt from, those that judge, and those that did either
before.
"""

from __future__ import annotations

import numpy as np

from acclimate.learning.data import NONE_OF_THE_CLASSES, TAUGHT, UNLABELLED, Part, Window


def test_a_row_whose_label_has_taught_is_neither_learnt_from_nor_held_out() -> None:
    labels = np.full(100, UNLABELLED)
    labels[:4] = [TAUGHT, 1, NONE_OF_THE_CLASSES, TAUGHT]
    window = Window.split(np.arange(100), labels, rng=np.random.default_rng(0))
    assert {0, 3}.isdisjoint([*window.x, *window.held_out]) and len(window) == 98
    assert {1, 2} <= set(window.held_out.tolist()) and set(window.held_out_labels.tolist()) == {
        1,
        -1,
        -2,
    }
    assert (window.audited.x.tolist(), window.audited.y.tolist()) == ([1], [1])


def test_late_rows_are_audited_beside_the_held_out_ones() -> None:
    window = Window.split(
        np.arange(10), np.full(10, UNLABELLED), rng=np.random.default_rng(0), late=None
    )
    assert len(window.audited) == 0
    late = Part(x=np.array([77]), y=np.array([3]))
    window = Window.split(
        np.arange(10), np.full(10, UNLABELLED), rng=np.random.default_rng(0), late=late
    )
    assert (window.audited.x.tolist(), window.audited.y.tolist()) == ([77], [3])
