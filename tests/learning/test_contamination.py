"""Rows that few senders may have made teach nothing, whoever they are is said, and what comes from
everywhere is drift.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from turned_digits import Digits, learn

from acclimate.learning.data import UNLABELLED, Floats, Integers, SeedSet, Window
from acclimate.learning.models.bundle import Bundle
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
    labels = np.full(len(x), UNLABELLED)
    return Window.split(x, labels, rng=np.random.default_rng(0), client=client, senders=NAMES)


def sent_by_two_of_six() -> Integers:
    return np.concatenate([np.arange(HONEST) % 4, 4 + np.arange(MADE) % 2])


def test_a_heap_that_two_of_six_sent_teaches_nothing_and_they_are_named(
    stream: Digits, parts: SeedSet, anchor: Bundle, heap: Floats
) -> None:
    turn = learn(attacked(stream, heap, sent_by_two_of_six()), parts, anchor, anchor)
    assert turn.drift is not None
    assert not turn.drift.effects["drifted"].detected
    assert MADE / (HONEST + MADE) - 0.05 < turn.drift.effects["crowd"].value < 0.6
    assert turn.drift.crowd is not None
    assert {sender["client"] for sender in turn.drift.crowd["senders"][:2]} == {"key-4", "key-5"}
    assert not turn.promoted
    assert "key-4" in (turn.detail or "")


def test_the_same_heap_from_everybody_is_drift(
    stream: Digits, parts: SeedSet, anchor: Bundle, heap: Floats
) -> None:
    window = attacked(stream, heap, np.arange(HONEST + MADE) % 6)
    found = contamination.find(window, parts, anchor, anchor, Policy())
    assert not found.drifted.detected
    assert not found.rows.any()
    told = learn(window, parts, anchor, anchor).drift
    assert told is not None
    assert told.crowd is None
    assert told.effects["input"].detected


@pytest.mark.parametrize("client", [None, np.zeros(HONEST + MADE, dtype=np.int64)])
def test_of_one_sender_or_unknown_ones_nobody_can_say_that_it_came_from_everywhere(
    stream: Digits, parts: SeedSet, anchor: Bundle, heap: Floats, client: Integers | None
) -> None:
    x = np.concatenate([stream.x[:HONEST], heap])
    window = Window.split(
        x, np.full(len(x), UNLABELLED), rng=np.random.default_rng(0), client=client
    )
    assert contamination.find(window, parts, anchor, anchor, Policy()).rows.sum() > 0.8 * MADE


def test_nobody_vouches_for_the_heap_nor_for_what_version_1_contradicts(
    stream: Digits, parts: SeedSet, anchor: Bundle, heap: Floats
) -> None:
    window = attacked(stream, heap, sent_by_two_of_six())
    said = anchor.network_probabilities(window.x).argmax(axis=1)
    other = said.copy()
    other[:10] = (other[:10] + 1) % 10
    found = contamination.find(window, parts, anchor, anchor, Policy())
    alone, both = (contamination.unvouched(window, found, anchor, label) for label in (said, other))
    assert alone is not None
    assert both is not None
    assert (alone == (found.rows | found.few)[: len(window.x)]).all()
    assert not found.apart.any()
    assert both[:10].all()
    assert (both[10:] == alone[10:]).all()


def test_an_operator_who_released_the_window_vouches_for_all_of_it(
    stream: Digits, parts: SeedSet, anchor: Bundle, heap: Floats
) -> None:
    window = replace(attacked(stream, heap, sent_by_two_of_six()), vouched=True)
    found = contamination.find(window, parts, anchor, anchor, Policy())
    assert (
        contamination.unvouched(window, found, anchor, np.zeros(len(window.x), dtype=np.int64))
        is None
    )


def test_where_all_traffic_drifted_version_1_may_be_contradicted(
    stream: Digits, parts: SeedSet, anchor: Bundle
) -> None:
    x = stream.turned(20, rng=np.random.default_rng(1))[0]
    window = Window.split(x, np.full(len(x), UNLABELLED), rng=np.random.default_rng(0))
    found = contamination.find(window, parts, anchor, anchor, Policy())
    assert found.drifted.detected
    assert (
        contamination.unvouched(window, found, anchor, np.zeros(len(window.x), dtype=np.int64))
        is None
    )


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
    labels = np.full(len(x), UNLABELLED) if labels is None else labels
    return Window.split(x, labels, rng=np.random.default_rng(0), client=client, senders=NAMES)


def test_where_all_traffic_drifted_what_few_send_teaches_nothing_and_the_others_do(
    turned: Floats, parts: SeedSet, anchor: Bundle, pushed: Floats
) -> None:
    window = turned_and_heaped(turned, pushed)
    turn = learn(window, parts, anchor, anchor)
    assert window.client is not None
    assert turn.drift is not None
    assert turn.drift.effects["drifted"].detected
    assert turn.drift.crowd is not None
    assert {sender["client"] for sender in turn.drift.crowd["senders"][:2]} == {"key-4", "key-5"}
    assert turn.labels is not None
    made, accepted = window.client >= 4, turn.labels.accepted
    assert len(accepted) == len(window.x)
    assert accepted[made].mean() < 0.05
    assert accepted[~made].mean() > 0.5
    assert turn.labels.refused["few_senders"] > 0.9 * made.sum()


def test_what_few_send_changes_nothing_of_what_the_others_show(
    turned: Floats, parts: SeedSet, anchor: Bundle, pushed: Floats
) -> None:
    """Agreement is what the next window's alarms go by."""
    with_heap = learn(turned_and_heaped(turned, pushed), parts, anchor, anchor).drift
    client = sent_by_two_of_six()[:HONEST]
    calm = Window.split(
        turned,
        np.full(HONEST, UNLABELLED),
        rng=np.random.default_rng(0),
        client=client,
        senders=NAMES,
    )
    alone = learn(calm, parts, anchor, anchor).drift
    everybody = learn(
        replace(turned_and_heaped(turned, pushed), client=None), parts, anchor, anchor
    ).drift
    assert with_heap is not None
    assert alone is not None
    assert everybody is not None
    assert abs(with_heap.agreement - alone.agreement) < 0.02
    assert everybody.agreement < alone.agreement - 0.02


def test_rows_that_people_labelled_are_never_what_few_send(
    turned: Floats, parts: SeedSet, anchor: Bundle, pushed: Floats
) -> None:
    labels = np.full(HONEST + MADE, UNLABELLED)
    labels[HONEST : HONEST + 30] = 8
    window = turned_and_heaped(turned, pushed, labels)
    few = contamination.find(window, parts, anchor, anchor, Policy()).few
    assert few.sum() > 0.6 * (MADE - 30)
    assert not few[len(window.x) :][window.held_out_labels == 8].any()
    kept = replace(window, apart=few).most
    assert (kept.held_out_labels == 8).sum() == 30
    assert len(kept) == len(window) - few.sum()


def test_who_alone_sends_a_class_as_often_as_the_seed_set_has_it_teaches(
    stream: Digits, parts: SeedSet, anchor: Bundle
) -> None:
    """Two of six keys send the eights and nines of turned traffic, the others everything else."""
    x, y = stream.turned(22, rng=np.random.default_rng(1))
    order = np.argsort(y, kind="stable")
    client = np.where(y[order] >= 8, 4 + np.arange(len(y)) % 2, np.arange(len(y)) % 4)
    window = Window.split(
        x[order], np.full(len(y), UNLABELLED), rng=np.random.default_rng(0), client=client
    )
    found = contamination.find(window, parts, anchor, anchor, Policy())
    assert found.drifted.detected
    assert found.few.mean() < 0.05


@pytest.mark.parametrize("known", [{"vouched": True}, {"client": None}])
def test_of_a_released_window_and_of_unknown_senders_none_is_few(
    turned: Floats, parts: SeedSet, anchor: Bundle, pushed: Floats, known: dict[str, Any]
) -> None:
    window = replace(turned_and_heaped(turned, pushed), **known)
    assert not contamination.find(window, parts, anchor, anchor, Policy()).few.any()


def test_a_policy_that_learns_from_few_senders_has_none(
    turned: Floats, parts: SeedSet, anchor: Bundle, pushed: Floats
) -> None:
    window = turned_and_heaped(turned, pushed)
    assert contamination.find(window, parts, anchor, anchor, Policy()).few.any()
    turn = learn(window, parts, anchor, anchor, policy=Policy(learnable="yes", few_senders="learn"))
    assert turn.apart is not None
    assert not turn.apart.any()
    assert turn.drift is not None
    assert turn.drift.crowd is None
