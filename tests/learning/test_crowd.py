"""Rows that few senders may have made teach nothing, whoever they are is said, and what comes from everywhere is drift."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from turned_digits import Digits, learn

from acclimate.learning import crowd
from acclimate.learning.network import Bundle
from acclimate.learning.values import UNLABELLED, Floats, Integers, SeedSet, Window

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


def test_the_same_heap_from_everybody_is_drift(stream: Digits, parts: SeedSet, anchor: Bundle, heap: Floats) -> None:
    window = attacked(stream, heap, np.arange(HONEST + MADE) % 6)
    found = crowd.find(window, parts, anchor)
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
    window = Window.split(x, np.full(len(x), UNLABELLED), rng=np.random.default_rng(0), client=client)
    assert crowd.find(window, parts, anchor).rows.sum() > 0.8 * MADE


def test_nobody_vouches_for_the_heap_nor_for_what_version_1_contradicts(
    stream: Digits, parts: SeedSet, anchor: Bundle, heap: Floats
) -> None:
    window = attacked(stream, heap, sent_by_two_of_six())
    said = anchor.probabilities(window.x).argmax(axis=1)
    other = said.copy()
    other[:10] = (other[:10] + 1) % 10
    alone = crowd.unvouched(window, parts, anchor, said)
    both = crowd.unvouched(window, parts, anchor, other)
    assert alone is not None
    assert both is not None
    assert (alone == crowd.find(window, parts, anchor).rows[: len(window.x)]).all()
    assert both[:10].all()
    assert (both[10:] == alone[10:]).all()


def test_an_operator_who_released_the_window_vouches_for_all_of_it(
    stream: Digits, parts: SeedSet, anchor: Bundle, heap: Floats
) -> None:
    window = replace(attacked(stream, heap, sent_by_two_of_six()), vouched=True)
    assert crowd.unvouched(window, parts, anchor, np.zeros(len(window.x), dtype=np.int64)) is None


def test_where_all_traffic_drifted_version_1_may_be_contradicted(
    stream: Digits, parts: SeedSet, anchor: Bundle
) -> None:
    x = stream.turned(20, rng=np.random.default_rng(1))[0]
    window = Window.split(x, np.full(len(x), UNLABELLED), rng=np.random.default_rng(0))
    assert crowd.find(window, parts, anchor).drifted.detected
    assert crowd.unvouched(window, parts, anchor, np.zeros(len(window.x), dtype=np.int64)) is None
