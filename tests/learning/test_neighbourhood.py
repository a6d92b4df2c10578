"""How consistently near rows are labelled, without labels: better versions do so more."""

from __future__ import annotations

import numpy as np
import pytest

from acclimate.learning.stats.neighbourhood import FEWEST_ROWS, MOST_ROWS, Neighbourhood


def two_groups(rows: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Rows (N, 2) of two overlapping groups, and their labels."""
    rng = np.random.default_rng(seed)
    y = rng.integers(2, size=rows)
    return (y[:, None] * 2.5 + rng.standard_normal((rows, 2))).astype(np.float32), y


def test_labels_of_the_groups_agree_and_flipped_ones_agree_less():
    x, y = two_groups(400)
    near = Neighbourhood.of(x)
    rng = np.random.default_rng(1)
    means = []
    for share in (0.0, 0.1, 0.3):
        flipped = np.where(rng.random(len(y)) < share, 1 - y, y)
        means.append(float(near.agreement(flipped).mean()))
    assert means[0] > 0.8 > means[1] > means[2] > 0


def test_labels_by_chance_agree_as_chance_does():
    x, _ = two_groups(600)
    near = Neighbourhood.of(x)
    for share in (0.5, 0.9):
        guessed = (np.random.default_rng(2).random(600) < share).astype(int)
        assert abs(float(near.agreement(guessed).mean())) < 0.12


def test_a_boundary_through_a_group_agrees_less_than_one_between_the_groups():
    x, _ = two_groups(500)
    near = Neighbourhood.of(x)
    between, through = ((x.sum(axis=1) > place).astype(int) for place in (2.5, 0.0))
    assert near.agreement(between).mean() > near.agreement(through).mean() + 0.02


def test_a_column_in_large_units_does_not_decide_alone():
    x, y = two_groups(300)
    noise = np.random.default_rng(3).standard_normal((300, 1)).astype(np.float32)
    wide = np.concatenate([x, 1000 * noise], axis=1)
    assert Neighbourhood.of(wide).agreement(y).mean() > 0.6


def test_one_label_for_all_rows_says_nothing():
    x, _ = two_groups(100)
    assert Neighbourhood.of(x).agreement(np.zeros(100, dtype=int)) is None


@pytest.mark.parametrize("rows", [0, 1, FEWEST_ROWS - 1])
def test_of_a_few_rows_nothing_is_said(rows):
    x, y = two_groups(rows)
    near = Neighbourhood.of(x)
    assert len(near.rows) == 0 and near.agreement(y) is None


def test_of_a_large_window_rows_are_drawn_evenly_and_no_row_is_its_own_neighbour():
    x, y = two_groups(3000)
    near = Neighbourhood.of(x)
    assert len(near.rows) == MOST_ROWS and near.rows[0] == 0 and near.rows[-1] == 2999
    assert not (near.nearest == np.arange(MOST_ROWS)[:, None]).any()
    assert near.agreement(y).shape == (MOST_ROWS,)


def test_a_window_that_does_not_move_in_a_column_is_compared():
    x, y = two_groups(60)
    still = np.concatenate([x, np.zeros((60, 1), dtype=np.float32)], axis=1)
    assert np.isfinite(Neighbourhood.of(still).agreement(y)).all()


def test_its_deviation_gives_the_standard_error_of_the_difference_of_two_versions():
    x, y = two_groups(300)
    near, rng = Neighbourhood.of(x), np.random.default_rng(5)
    errors = []
    for _ in range(300):
        ours, theirs = (np.where(rng.random(300) < 0.1, 1 - y, y) for _ in range(2))
        ahead = near.agreement(ours) - near.agreement(theirs)
        errors.append(ahead.mean() / (ahead.std() / np.sqrt(300)))
    assert 0.8 < np.std(errors) < 1.2 and abs(np.mean(errors)) < 0.2
