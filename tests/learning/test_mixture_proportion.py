"""How much of a window may be drawn as the seed set is, and which rows are too many for it."""

from __future__ import annotations

import numpy as np
import pytest

from acclimate.learning.screening.mixture_proportion import mixture_proportion


def rows(count: int, draw: int, *, move: float = 0.0) -> np.ndarray:
    """Of two classes in eight columns, moved."""
    rng = np.random.default_rng([5, draw])
    return (rng.normal(size=(count, 8)) + 2.0 * rng.integers(2, size=(count, 1)) + move).astype(
        np.float32
    )


def heap(count: int, draw: int) -> np.ndarray:
    """Rows close together, where the classes have few."""
    return (
        0.3 * np.random.default_rng([6, draw]).normal(size=(count, 8)) + np.array([3.0, -2.0] * 4)
    ).astype(np.float32)


@pytest.mark.parametrize("draw", range(5))
def test_traffic_like_the_seeds_may_all_be_the_seeds_and_has_no_dense_rows(draw):
    found = mixture_proportion(rows(300, 100 + draw), rows(400, 200 + draw))
    assert found.seed_share > 0.9
    assert not found.dense.any()


@pytest.mark.parametrize("draw", range(5))
@pytest.mark.parametrize("sent", [0.2, 0.4])
def test_a_heap_leaves_the_share_of_the_others_and_its_rows_are_dense(draw, sent):
    made = round(600 * sent)
    window = np.concatenate([rows(600 - made, draw), heap(made, draw)])
    found = mixture_proportion(rows(300, 100 + draw), window)
    assert 1 - sent - 0.12 < found.seed_share < 1 - sent + 0.12
    assert found.dense[-made:].mean() > 0.9
    assert found.dense[:-made].mean() < 0.35
    assert found.seed_dense.mean() < 0.35


def test_where_all_rows_drifted_little_may_be_the_seeds():
    assert mixture_proportion(rows(300, 100), rows(400, 0, move=1.5)).seed_share < 0.3


def test_more_than_half_of_the_rows_can_pass_for_drift():
    window = np.concatenate([rows(200, 0), heap(400, 0)])
    assert mixture_proportion(rows(300, 100), window).seed_share < 0.5


def test_the_same_rows_give_the_same_answer():
    seed, window = rows(120, 1), np.concatenate([rows(200, 2), heap(100, 2)])
    first, second = (mixture_proportion(seed, window) for _ in range(2))
    assert first.seed_share == second.seed_share
    assert (first.dense == second.dense).all()


@pytest.mark.parametrize(("seed", "window"), [(0, 50), (3, 50), (50, 0), (50, 3)])
def test_too_few_rows_say_nothing(seed, window):
    found = mixture_proportion(rows(seed, 1), rows(window, 2))
    assert found.seed_share == 1.0
    assert len(found.dense) == window
    assert len(found.seed_dense) == seed
    assert not found.dense.any()
