"""Rows without neighbours are outliers; a window that drifted or holds few classes has none."""

from __future__ import annotations

import numpy as np
import pytest
from stages import select

from acclimate.learning.data import UNLABELLED, Part, Window
from acclimate.learning.screening import outliers
from acclimate.learning.stats.distances import distance_to_neighbour
from acclimate.learning.thresholds import DEFAULT

Array = np.ndarray
FEWEST = DEFAULT.outlier_rows


def blobs(n: int, *, draw: int, classes: tuple[int, ...] = (0, 1, 2), shift: float = 0.0) -> Array:
    """Rows of 16 numbers around one centre a class; the first class lies closest together."""
    rng = np.random.default_rng(draw)
    label = rng.choice(classes, size=n)
    centre = np.random.default_rng(0).normal(size=(3, 16)) * 4
    return (centre[label] + rng.normal(size=(n, 16)) * (0.4 + 0.3 * label[:, None]) + shift).astype(
        np.float32
    )


def isolated(window: Array, trusted: Array) -> Array:
    return outliers.outliers(window, trusted, rng=np.random.default_rng(5))


def test_rows_of_noise_are_isolated_and_ordinary_rows_beside_them_are_not():
    ordinary = blobs(850, draw=1)
    noise = np.random.default_rng(2).uniform(-9, 9, size=(150, 16)).astype(np.float32)
    found = isolated(np.concatenate([ordinary, noise]), blobs(400, draw=3))
    assert found[:850].mean() < 0.02
    assert found[850:].mean() > 0.9


@pytest.mark.parametrize(
    ("classes", "shift"), [((0, 1, 2), 0.0), ((0, 1, 2), 3.0), ((0,), 0.0), ((2,), 0.0)]
)
def test_few_ordinary_rows_are_isolated_whatever_drifted(classes, shift):
    for draw in range(5):
        window = blobs(600, draw=10 + draw, classes=classes, shift=shift)
        assert isolated(window, blobs(400, draw=3)).mean() < 0.02


def test_a_few_rows_of_a_class_that_hardly_comes_lie_near_the_trusted_ones():
    window = np.concatenate([blobs(590, draw=1, classes=(0,)), blobs(10, draw=2, classes=(2,))])
    assert not isolated(window, blobs(400, draw=3))[590:].any()


def test_with_few_rows_or_rows_that_are_all_equal_none_is_isolated():
    noise = np.random.default_rng(2).uniform(-9, 9, size=(200, 16)).astype(np.float32)
    assert not isolated(noise, blobs(FEWEST - 1, draw=3)).any()
    assert not isolated(noise[: FEWEST - 1], blobs(400, draw=3)).any()
    assert not isolated(np.zeros((300, 16), np.float32), np.zeros((300, 16), np.float32)).any()
    assert isolated(np.empty((0, 16), np.float32), blobs(400, draw=3)).shape == (0,)


def test_a_row_is_not_its_own_neighbour_and_distances_are_those_to_the_fifth():
    rows = blobs(300, draw=1)
    drawn = np.random.default_rng(0).permutation(300)[:50]
    others = np.concatenate([rows[drawn], blobs(20, draw=2)])
    found = distance_to_neighbour(rows, others, drawn, neighbour=5)
    for row in (drawn[0], drawn[49], next(row for row in range(300) if row not in drawn)):
        others = np.concatenate([rows[drawn[drawn != row]], blobs(20, draw=2)])
        assert found[row] == pytest.approx(
            np.sort(np.linalg.norm(others - rows[row], axis=1))[4], rel=1e-3
        )


def test_an_accepted_row_of_noise_is_refused_as_isolated_and_counted(anchor, parts, stream):
    x = stream.turned(7, rng=np.random.default_rng(1))[0]
    far = np.random.default_rng(2).choice([0.0, 30.0], size=(30, 64)).astype(np.float32)
    window = Window(
        x=np.concatenate([x, far]), held_out=x[:0], held_out_labels=np.full(0, UNLABELLED)
    )
    labels = select(window, anchor, parts.train)
    few = Part(x=parts.train.x[:50], y=parts.train.y[:50])
    unscreened = select(window, anchor, few)
    assert unscreened.accepted[300:].any() and not labels.accepted[300:].any()
    stray = labels.refusal == "isolated"
    # What the screen takes of the accepted rows it has counted; what else it refuses would have
    # been refused otherwise.
    assert (stray[300:] | ~unscreened.accepted[300:]).all()
    assert labels.refused["isolated"] == stray.sum()
    assert (labels.refusal[:300] == "isolated").mean() < 0.02
