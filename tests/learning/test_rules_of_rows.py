"""What each rule of screening and selection changes, seen by switching it off."""

from __future__ import annotations

import clouds
import numpy as np
import pytest
from rules_off import covers, without
from stages import screen, select
from turned_digits import window_of

from acclimate.learning.data import Senders, Window
from acclimate.learning.screening import contamination
from acclimate.learning.thresholds import DEFAULT

SEED = clouds.seed_set()
VERSION = clouds.version()


@pytest.fixture(scope="module")
def attacked() -> Window:
    """Undrifted traffic of ten clients, and a heap from another one: 39 % of the rows."""
    x = np.concatenate([clouds.rows(400, 4)[0], clouds.heap(260)])
    client = np.concatenate([np.arange(400) % 10, np.full(260, 10)])
    return window_of(x, senders=Senders(client=client, names=tuple(map(str, range(11)))))


@covers("client_support")
def test_without_client_support_no_row_is_unsupported(attacked):
    on = screen(attacked, SEED, VERSION, VERSION)
    off = screen(attacked, SEED, VERSION, VERSION, limits=without("client_support"))
    assert on.unsupported.any() and not off.unsupported.any()
    assert (on.dense == off.dense).all() and on.drifted == off.drifted


@covers("contamination")
def test_without_contamination_no_row_is_dense(attacked):
    on = screen(attacked, SEED, VERSION, VERSION)
    off = screen(attacked, SEED, VERSION, VERSION, limits=without("contamination"))
    assert on.dense.any() and not off.dense.any()
    assert (on.unsupported == off.unsupported).all() and on.drifted == off.drifted


@covers("contradiction")
def test_without_contradiction_only_suspect_rows_are_refused(attacked):
    screening = screen(attacked, SEED, VERSION, VERSION)
    label = (VERSION.network_probabilities(attacked.x).argmax(axis=1) + 1) % 3
    on, off = (
        contamination.refused_rows(attacked, screening, VERSION, label, limits)
        for limits in (DEFAULT, without("contradiction"))
    )
    assert on.all()
    assert (off == screening.suspect[: len(attacked.x)]).all() and not off.all()


def selected(x, rule, client=None, **known):
    """The labels of rows to learn from, with all rules and without one."""
    none = np.empty(0, dtype=np.int64)
    window = Window(x=x, held_out=x[:0], held_out_labels=none, client=client)
    return [
        select(window, VERSION, SEED.train, limits, **known) for limits in (DEFAULT, without(rule))
    ]


def assert_only_reason_that_goes(on, off, reason):
    """The rows that were refused for it are accepted or have a later reason; no other changed."""
    for_it = on.refusal == reason
    assert for_it.any()
    assert not (off.refusal == reason).any()
    assert (off.refusal[~for_it] == on.refusal[~for_it]).all()


@covers("duplicate")
def test_without_duplicate_copies_teach():
    x = clouds.rows(200, 4)[0]
    on, off = selected(np.concatenate([x, x]), "duplicate")
    assert (on.refusal[200:] == "duplicate").all()
    assert "duplicate" not in off.refused
    assert off.accepted[200:].any()


@covers("isolated")
def test_without_isolated_a_row_without_neighbours_teaches():
    far = np.full((1, clouds.SIZE), -6.0, dtype=np.float32)
    far[0, 0] = 6.0
    on, off = selected(np.concatenate([clouds.rows(200, 4)[0], far]), "isolated")
    assert on.refusal[-1] == "isolated"
    assert off.accepted[-1]
    assert_only_reason_that_goes(on, off, "isolated")


@covers("as_served")
def test_without_as_served_the_reading_in_the_served_scale_does_not_count():
    x = clouds.rows(200, 4)[0]
    other = (VERSION.network_probabilities(x).argmax(axis=1) + 1) % 3
    on, off = selected(x, "as_served", as_served=other)
    assert not on.accepted.any()
    assert off.accepted.any()
    assert (off.refusal == selected(x, "as_served")[0].refusal).all()


@covers("disagreement")
def test_without_disagreement_rows_that_members_label_differently_teach():
    on, off = selected(clouds.rows(600, 4)[0], "disagreement")
    assert (on.votes[on.refusal == "disagreement"] < 2).all()
    assert_only_reason_that_goes(on, off, "disagreement")


@covers("low_confidence")
def test_without_low_confidence_unsure_rows_teach():
    on, off = selected(clouds.rows(600, 4)[0], "low_confidence")
    assert off.accepted[on.refusal == "low_confidence"].all()
    assert_only_reason_that_goes(on, off, "low_confidence")


@covers("client_share")
def test_without_client_share_one_client_may_teach_nearly_all():
    x = clouds.rows(200, 4)[0]
    client = (np.arange(200) < 20).astype(np.int64)
    on, off = selected(x, "client_share", client=client, client_share=0.5)
    assert off.accepted[on.refusal == "client_share"].all()
    assert_only_reason_that_goes(on, off, "client_share")
