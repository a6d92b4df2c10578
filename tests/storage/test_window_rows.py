"""One function assembles a window: for a run all of its rows, for a plan a sample of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from live_rows import Live, answers

from acclimate.learning.data import UNLABELLED, Integers, Snapshot, Window
from acclimate.storage.database import Database
from acclimate.storage.log import catalog, window_rows
from acclimate.storage.log.logged_rows import LoggedRows
from acclimate.storage.log.window_rows import AssembledWindow, Sampling

SEGMENTS, ROWS = 4, 30


@pytest.fixture
def live(database: Database, tmp_path: Path) -> Live:
    live = Live(database, tmp_path)
    for _ in range(SEGMENTS):
        live.log(1, answers(ROWS))
    return live


def labels_of(rows: LoggedRows) -> Integers:
    """Every tenth row of a segment has a label."""
    return np.where(np.asarray(rows.row) % 10 == 0, 1, UNLABELLED).astype(np.int64)


def assemble(live: Live, sampling: Sampling | None = None) -> AssembledWindow:
    with live.database.read() as connection:
        lines = catalog.segments_of(connection, live.model_id, None)
    return window_rows.assemble(
        live.segments,
        lines,
        lambda rows: Snapshot(labels=labels_of(rows), number=3),
        rng=np.random.default_rng(7),
        sampling=sampling,
    )


def test_a_window_is_split_as_its_rows_are_with_the_same_random_state(live):
    found = assemble(live)
    assert (len(found.rows), found.total) == (SEGMENTS * ROWS, SEGMENTS * ROWS)
    snapshot = Snapshot(labels=labels_of(found.rows))
    split = Window.split(found.rows.x, snapshot, rng=np.random.default_rng(7))
    assert np.array_equal(found.window.x, split.x)
    assert np.array_equal(found.window.held_out, split.held_out)
    assert np.array_equal(found.window.held_out_labels, split.held_out_labels)
    assert (found.window.number, found.window.client_names) == (3, ("key",))


def test_the_positions_to_learn_from_are_those_of_the_windows_rows(live):
    found = assemble(live)
    assert np.array_equal(found.rows.x[found.learnt], found.window.x)


def test_a_sample_has_so_many_rows_of_whole_segments_in_their_order(live):
    most = ROWS + ROWS // 2
    found = assemble(live, Sampling(most=most, rng=np.random.default_rng(0)))
    assert (len(found.rows), found.total) == (most, SEGMENTS * ROWS)
    request = found.rows.x[:, 0]
    assert len(np.unique(request)) == 2 and np.array_equal(request, np.sort(request))
    again = assemble(live, Sampling(most=most, rng=np.random.default_rng(0)))
    assert np.array_equal(again.rows.x, found.rows.x)


def test_a_window_that_is_small_enough_is_not_sampled(live):
    found = assemble(live, Sampling(most=SEGMENTS * ROWS, rng=np.random.default_rng(0)))
    assert np.array_equal(found.window.x, assemble(live).window.x)
