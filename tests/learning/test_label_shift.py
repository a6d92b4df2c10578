"""The label-shift residual: small on any swing of the priors, large on drift of the inputs."""

import numpy as np
import pytest

from acclimate.learning.drift.label_shift import Residual, label_shift_residual

CENTERS = np.array([[0.0, 0, 0, 0], [3, 0, 0, 1], [0, 3, 1, 0]])


def rows(n: int, shares, rng: np.random.Generator, move=0.0):
    """Three clouds in four columns; `move` shifts them all along a column in which no class
    differs much.
    """
    y = rng.choice(3, size=n, p=shares)
    x = CENTERS[y] + rng.normal(0, 1, (n, 4)) + np.array([0, 0, 0, move])
    return x.astype(np.float32), y


def residual(shares, *, move=0.0, seed=0, number=1, n=300) -> Residual:
    rng = np.random.default_rng(seed)
    held, y = rows(250, [1 / 3] * 3, rng)
    seen, _ = rows(n, shares, rng, move)
    return label_shift_residual(held, y, seen, classes=3, number=number, rng=rng)


def test_a_swing_of_the_classes_leaves_no_residual_and_its_priors_are_found():
    for seed in range(10):
        found = residual([0.8, 0.15, 0.05], seed=seed)
        assert found.ratio < 1
        assert found.priors == pytest.approx([0.8, 0.15, 0.05], abs=0.1)
        assert found.moved > found.moved_by_chance


def test_shifted_inputs_leave_a_residual_whatever_the_classes():
    for shares in ([1 / 3] * 3, [0.8, 0.15, 0.05]):
        assert residual(shares, move=2.0).ratio > 1


@pytest.mark.slow
def test_rows_like_the_seed_rarely_exceed_the_limit_in_a_long_series():
    found = [residual([1 / 3] * 3, seed=seed, number=seed + 1, n=200) for seed in range(100)]
    assert sum(one.ratio > 1 for one in found) <= 1
    assert sum(one.moved > one.moved_by_chance for one in found) <= 1


def test_the_same_window_counts_for_less_later_in_the_series():
    assert (
        residual([1 / 3] * 3, move=1.0, number=200).ratio
        < residual([1 / 3] * 3, move=1.0, number=1).ratio
    )


def test_a_class_without_rows_and_constant_columns_give_finite_numbers():
    rng = np.random.default_rng(0)
    x = np.repeat(rng.normal(size=(80, 1)), 4, axis=1).astype(np.float32)
    x[:, 1] = 7.0
    found = label_shift_residual(x, np.arange(80) % 2, x[:40], classes=3, number=1, rng=rng)
    assert np.isfinite([found.ratio, found.moved, found.moved_by_chance]).all()
    assert found.priors.sum() == pytest.approx(1)


@pytest.mark.slow
def test_the_interval_of_the_shift_holds_what_the_priors_moved_by():
    found = [residual([0.8, 0.15, 0.05], seed=seed) for seed in range(25)]
    held = [low <= 0.8 - 1 / 3 <= high for low, high in (one.moved_within for one in found)]
    assert sum(held) >= 21


@pytest.mark.slow
def test_only_the_interval_of_rows_like_the_seed_reaches_zero():
    still, moved = (
        [residual([1 / 3] * 3, seed=seed, move=move) for seed in range(10)] for move in (0.0, 2.0)
    )
    assert sum(one.ratio_within[0] > 0 for one in still) <= 1
    assert all(one.ratio_within[0] > 1 for one in moved)
    assert all(
        low <= one.ratio <= high for one in still + moved for low, high in [one.ratio_within]
    )


def test_an_interval_is_not_narrower_later_in_the_series():
    early, late = (residual([0.8, 0.15, 0.05], number=number).moved_within for number in (1, 200))
    assert late[0] < early[0] < early[1] < late[1]


def test_intervals_draw_nothing_from_the_generator_of_the_limit():
    rng, other = np.random.default_rng(0), np.random.default_rng(0)
    held, y = rows(250, [1 / 3] * 3, np.random.default_rng(1))
    label_shift_residual(held, y, held[:200], classes=3, number=1, rng=rng)
    other.spawn(7)
    label_shift_residual(held, y, held[:200], classes=3, number=1, rng=other)
    assert rng.random() == other.random()
