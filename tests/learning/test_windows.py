"""A window's rows are learnt from, held out, or left out since they did either before."""

from __future__ import annotations

import numpy as np

from acclimate.learning.data import (
    NONE_OF_THE_CLASSES,
    TAUGHT,
    UNLABELLED,
    Part,
    Rows,
    Snapshot,
    Window,
)


def split(x: Rows, snapshot: Snapshot) -> Window:
    return Window.split(x, snapshot, rng=np.random.default_rng(0))


def test_a_row_whose_label_has_taught_is_neither_learnt_from_nor_held_out():
    labels = np.full(100, UNLABELLED)
    labels[:4] = [TAUGHT, 1, NONE_OF_THE_CLASSES, TAUGHT]
    window = split(np.arange(100), Snapshot(labels=labels))
    assert {0, 3}.isdisjoint([*window.x, *window.held_out]) and len(window) == 98
    assert {1, 2} <= set(window.held_out.tolist()) and set(window.held_out_labels.tolist()) == {
        1,
        -1,
        -2,
    }
    assert (window.audited.x.tolist(), window.audited.y.tolist()) == ([1], [1])


def test_late_rows_are_audited_beside_the_held_out_ones():
    none = np.full(10, UNLABELLED)
    window = split(np.arange(10), Snapshot(labels=none, late=None))
    assert len(window.audited) == 0
    late = Part(x=np.array([77]), y=np.array([3]))
    window = split(np.arange(10), Snapshot(labels=none, late=late))
    assert (window.audited.x.tolist(), window.audited.y.tolist()) == ([77], [3])
