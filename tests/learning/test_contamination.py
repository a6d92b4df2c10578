"""Rows that few senders may have made teach nothing; what comes from everywhere is drift."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from stages import screen
from turned_digits import Digits, learn, promoted, window_of

from acclimate.learning.data import UNLABELLED, Floats, Integers, Senders, Window
from acclimate.learning.models.bundle import Bundle
from acclimate.learning.results import Drift
from acclimate.learning.screening import contamination
from acclimate.learning.spec import Policy

HONEST, MADE = 300, 160
NAMES = tuple(f"key-{number}" for number in range(6))


@pytest.fixture(scope="module")
def heap(stream: Digits) -> Floats:
    """Rows between an eight and a one that nobody wrote."""
    rng = np.random.default_rng(4)
    eights, ones = (stream.seed_x[stream.seed_y == digit] for digit in (8, 1))
    some = [rows[rng.integers(len(rows), size=MADE)] for rows in (eights, ones)]
    mixed = 0.55 * some[0] + 0.45 * some[1] + rng.uniform(0, 3, size=(MADE, 64))
    return mixed.astype(np.float32)


def attacked(stream: Digits, heap: Floats, client: Integers) -> Window:
    x = np.concatenate([stream.x[:HONEST], heap])
    return window_of(x, senders=Senders(client=client, names=NAMES))


def largest_two(drift: Drift) -> set[str]:
    """The two clients that sent most of the suspect rows."""
    return {sender["client"] for sender in drift.contamination["senders"][:2]}


def sent_by_two_of_six() -> Integers:
    return np.concatenate([np.arange(HONEST) % 4, 4 + np.arange(MADE) % 2])


def test_a_heap_of_two_of_six_clients_is_not_learnt_and_names_them(stream, parts, anchor, heap):
    found = learn(attacked(stream, heap, sent_by_two_of_six()), parts, anchor, anchor)
    effects = found.diagnosis.drift.effects
    assert not effects["drifted"].detected
    assert MADE / (HONEST + MADE) - 0.05 < effects["crowd"].value < 0.6
    assert largest_two(found.diagnosis.drift) == {"key-4", "key-5"}
    assert not promoted(found)
    assert "key-4" in found.detail


def test_the_same_heap_from_all_clients_is_drift(stream, parts, anchor, heap):
    window = attacked(stream, heap, np.arange(HONEST + MADE) % 6)
    found = screen(window, parts, anchor, anchor)
    assert not found.drifted.detected
    assert not found.dense.any()
    drift = learn(window, parts, anchor, anchor).diagnosis.drift
    assert drift.contamination is None
    assert drift.effects["input"].detected


@pytest.mark.parametrize("client", [None, np.zeros(HONEST + MADE, dtype=np.int64)])
def test_a_heap_of_one_or_unknown_clients_is_suspect(stream, parts, anchor, heap, client):
    x = np.concatenate([stream.x[:HONEST], heap])
    senders = None if client is None else Senders(client=client, names=NAMES)
    window = window_of(x, senders=senders)
    assert screen(window, parts, anchor, anchor).dense.sum() > 0.8 * MADE


def test_the_heap_and_what_version_1_contradicts_are_refused(stream, parts, anchor, heap):
    window = attacked(stream, heap, sent_by_two_of_six())
    predicted = anchor.network_probabilities(window.x).argmax(axis=1)
    other = predicted.copy()
    other[:10] = (other[:10] + 1) % 10
    found = screen(window, parts, anchor, anchor)
    alone, both = (
        contamination.refused_rows(window, found, anchor, label) for label in (predicted, other)
    )
    assert (alone == (found.dense | found.unsupported)[: len(window.x)]).all()
    assert not found.set_aside.any()
    assert both[:10].all()
    assert (both[10:] == alone[10:]).all()


def test_no_row_of_a_released_window_is_refused(stream, parts, anchor, heap):
    window = replace(attacked(stream, heap, sent_by_two_of_six()), released=True)
    found = screen(window, parts, anchor, anchor)
    label = np.zeros(len(window.x), dtype=np.int64)
    assert contamination.refused_rows(window, found, anchor, label) is None


def test_where_all_traffic_drifted_version_1_may_be_contradicted(stream, parts, anchor):
    x = stream.turned(20, rng=np.random.default_rng(1))[0]
    window = window_of(x)
    found = screen(window, parts, anchor, anchor)
    assert found.drifted.detected
    label = np.zeros(len(window.x), dtype=np.int64)
    assert contamination.refused_rows(window, found, anchor, label) is None


@pytest.fixture(scope="module")
def turned(stream: Digits) -> Floats:
    return stream.turned(9, rng=np.random.default_rng(1))[0]


@pytest.fixture(scope="module")
def pushed(stream: Digits, anchor: Bundle) -> Floats:
    """Rows between an eight and a one, of those that version 1 calls a one."""
    rng = np.random.default_rng(4)
    eights, ones = (stream.seed_x[stream.seed_y == digit] for digit in (8, 1))
    some = [rows[rng.integers(len(rows), size=40 * MADE)] for rows in (eights, ones)]
    mixed = (0.4 * some[0] + 0.6 * some[1] + rng.uniform(0, 2, size=(40 * MADE, 64))).astype(
        np.float32
    )
    return mixed[anchor.network_probabilities(mixed).argmax(axis=1) == 1][:MADE]


def turned_and_heaped(turned: Floats, heap: Floats, labels: Integers | None = None) -> Window:
    """All of the honest traffic drifted, and 35 % of the window is a heap from two of six keys."""
    x, client = np.concatenate([turned, heap]), sent_by_two_of_six()
    return window_of(x, labels=labels, senders=Senders(client=client, names=NAMES))


def test_where_all_traffic_drifted_unsupported_rows_teach_nothing(turned, parts, anchor, pushed):
    window = turned_and_heaped(turned, pushed)
    found = learn(window, parts, anchor, anchor)
    assert found.diagnosis.drift.effects["drifted"].detected
    assert largest_two(found.diagnosis.drift) == {"key-4", "key-5"}
    made, accepted = window.client >= 4, found.labels.accepted
    assert len(accepted) == len(window.x)
    assert accepted[made].mean() < 0.05
    assert accepted[~made].mean() > 0.5
    assert found.labels.refused["few_senders"] > 0.9 * made.sum()


def test_unsupported_rows_change_nothing_of_what_the_others_show(turned, parts, anchor, pushed):
    """Agreement is what the next window's alarms go by."""
    with_heap = learn(turned_and_heaped(turned, pushed), parts, anchor, anchor).diagnosis.drift
    client = sent_by_two_of_six()[:HONEST]
    calm = window_of(turned, senders=Senders(client=client, names=NAMES))
    alone = learn(calm, parts, anchor, anchor).diagnosis.drift
    unknown = replace(turned_and_heaped(turned, pushed), client=None)
    everybody = learn(unknown, parts, anchor, anchor).diagnosis.drift
    assert abs(with_heap.agreement - alone.agreement) < 0.02
    assert everybody.agreement < alone.agreement - 0.02


def test_labelled_rows_are_never_unsupported(turned, parts, anchor, pushed):
    labels = np.full(HONEST + MADE, UNLABELLED)
    labels[HONEST : HONEST + 30] = 8
    window = turned_and_heaped(turned, pushed, labels)
    few = screen(window, parts, anchor, anchor).unsupported
    assert few.sum() > 0.6 * (MADE - 30)
    assert not few[len(window.x) :][window.held_out_labels == 8].any()
    kept = replace(window, set_aside=few).measured
    assert (kept.held_out_labels == 8).sum() == 30
    assert len(kept) == len(window) - few.sum()


def test_a_class_of_two_clients_as_frequent_as_in_the_seed_is_supported(stream, parts, anchor):
    """Two of six keys send the eights and nines of turned traffic, the others everything else."""
    x, y = stream.turned(22, rng=np.random.default_rng(1))
    order = np.argsort(y, kind="stable")
    client = np.where(y[order] >= 8, 4 + np.arange(len(y)) % 2, np.arange(len(y)) % 4)
    window = window_of(x[order], senders=Senders(client=client, names=NAMES))
    found = screen(window, parts, anchor, anchor)
    assert found.drifted.detected
    assert found.unsupported.mean() < 0.05


@pytest.mark.parametrize("known", [{"released": True}, {"client": None}])
def test_rows_of_released_or_anonymous_windows_are_supported(turned, parts, anchor, pushed, known):
    window = replace(turned_and_heaped(turned, pushed), **known)
    assert not screen(window, parts, anchor, anchor).unsupported.any()


def test_a_policy_that_learns_from_few_senders_sets_no_row_aside(turned, parts, anchor, pushed):
    window = turned_and_heaped(turned, pushed)
    assert screen(window, parts, anchor, anchor).unsupported.any()
    policy = Policy(learnable="yes", few_senders="learn")
    found = learn(window, parts, anchor, anchor, policy=policy)
    assert not found.diagnosis.screening.set_aside.any()
    assert found.diagnosis.drift.contamination is None
