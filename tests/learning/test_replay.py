"""Trusted rows of a batch: the seed's, and labelled ones that fade and are left out by folds."""

from __future__ import annotations

import numpy as np
import pytest

from acclimate.learning.data import UNLABELLED, Part, Snapshot, Window
from acclimate.learning.training.recipes import Recipe
from acclimate.learning.training.replay import HALF_LIFE, Replay, fold

SEED = Part(x=np.full((20, 1), -1.0, dtype=np.float32), y=np.zeros(20, dtype=np.int64))


def numbered(rows: int) -> Part:
    """Labelled rows whose input is their number."""
    x = np.arange(rows, dtype=np.float32)[:, None]
    return Part(x=x, y=np.zeros(rows, dtype=np.int64))


@pytest.mark.parametrize("member", [0, 1, 2])
def test_no_member_draws_the_rows_that_it_is_judged_on(member):
    replay = Replay(trusted=SEED, taught=numbered(40), fresh=25, folds=3)
    drawn = replay.draw_taught(5000, member, rng=np.random.default_rng(0)).x[:, 0].astype(int)
    left_out = np.flatnonzero(fold(25, 3) == member)
    assert not np.isin(drawn, left_out).any()
    assert set(drawn) == set(range(40)) - set(left_out)


def test_a_row_that_is_older_by_the_half_life_is_drawn_half_as_often():
    replay = Replay(trusted=SEED, taught=numbered(2 * HALF_LIFE))
    drawn = replay.draw_taught(20_000, 0, rng=np.random.default_rng(0)).x[:, 0]
    newer, older = (drawn < HALF_LIFE).sum(), (drawn >= HALF_LIFE).sum()
    assert newer / older == pytest.approx(2, rel=0.1)


def test_without_labelled_rows_only_the_seed_is_drawn():
    replay = Replay(trusted=SEED)
    assert replay.draw_taught(4, 0, rng=np.random.default_rng(0)) is None
    assert len(replay.draw(6, rng=np.random.default_rng(0))) == 6


def test_few_rows_are_passed_over_thirty_times_and_many_as_often_as_there_are_steps():
    recipe = Recipe(name="test", steps=240, rounds=6, window_rows=64)
    assert recipe.round_steps(64) == 5  # thirty passes of one batch, over six rounds
    assert recipe.round_steps(10_000) == 40
    assert recipe.round_steps(1) == 1


def test_labelled_rows_of_a_window_teach_at_once_but_for_those_that_judge():
    labels = np.full(50, UNLABELLED)
    labels[:10] = 1
    x = np.arange(50, dtype=np.float32)[:, None]
    window = Window.split(x, Snapshot(labels=labels), rng=np.random.default_rng(0))
    judging = window.held_out[:, 0] < 4
    taught = window.taught_at_once(judging)
    assert taught.fresh_rows is not None and sorted(taught.fresh_rows.x[:, 0]) == [4, 5, 6, 7, 8, 9]
    assert sorted(taught.audited.x[:, 0]) == [0, 1, 2, 3]
    assert len(taught.held_out) == len(window.held_out) - 6
