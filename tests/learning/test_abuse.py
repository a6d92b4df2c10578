"""Floods, copies, a class that stays away, a model that feeds on itself: the loop refuses
or halts, and harms nothing.
"""

from __future__ import annotations

import numpy as np
import pytest
from turned_digits import Digits, accuracy, learn

from acclimate.learning.data import UNLABELLED, Floats, Integers, Past, SeedSet, Window
from acclimate.learning.models.network import Bundle
from acclimate.learning.training.pseudo_labels import choose

COPIES = 10_000


def walked(
    parts: SeedSet, anchor: Bundle, windows: list[Floats], outcomes: list[str] | None = None
) -> tuple[Bundle, list[Bundle]]:
    """The champion after these windows, and all that served; each window knows what was
    seen in the last good one.
    """
    champion, past, served = anchor, None, [anchor]
    for number, x in enumerate(windows, start=1):
        window = Window.split(
            x,
            np.full(len(x), UNLABELLED),
            rng=np.random.default_rng(number),
            past=past,
            number=number,
        )
        turn = learn(window, parts, champion, anchor, run=number)
        assert turn.drift is not None
        if not turn.drift.alarms:
            past = Past.of(turn.drift.document)
        if turn.promoted:
            assert turn.student is not None
            champion = turn.student
            served.append(champion)
        if outcomes is not None:
            outcomes.append("promoted" if turn.promoted else turn.detail or "")
    return champion, served


def recall(bundle: Bundle, x: Floats, y: Integers, digit: int) -> float:
    return accuracy(bundle, x[y == digit], y[y == digit])


def test_ten_thousand_copies_of_a_row_halt_the_run_and_would_teach_once_at_most(
    stream: Digits, parts: SeedSet, anchor: Bundle
) -> None:
    x = stream.turned(12, rng=np.random.default_rng(3))[0]
    flood = np.concatenate([x, np.repeat(x[:1], COPIES, axis=0)])
    window = Window.split(flood, np.full(len(flood), UNLABELLED), rng=np.random.default_rng(1))
    turn = learn(window, parts, anchor, anchor)
    assert turn.drift is not None
    assert turn.drift.alarms
    assert turn.student is None
    labels = choose(
        window, anchor, parts.train, rng=np.random.default_rng(0), tick=lambda done, total: None
    )
    copies = (window.x == x[0]).all(axis=1)
    assert labels.accepted[copies].sum() <= 1
    assert labels.refused["duplicate"] >= 0.75 * COPIES
    assert labels.accepted[~copies].sum() > 50


def test_a_window_of_one_row_again_and_again_promotes_no_student_and_says_why(
    stream: Digits, parts: SeedSet, anchor: Bundle
) -> None:
    outcomes: list[str] = []
    champion, _ = walked(parts, anchor, [np.repeat(stream.x[:1], 400, axis=0)], outcomes)
    assert champion.members is anchor.members
    assert outcomes[0]


@pytest.mark.slow
@pytest.mark.parametrize("kept", ["all but threes", "mostly ones"])
def test_a_class_that_stays_away_or_floods_costs_no_class_its_recall(
    stream: Digits, parts: SeedSet, anchor: Bundle, kept: str
) -> None:
    rng, windows = np.random.default_rng(5), []
    for degrees in (6, 12, 18):
        x, y = stream.turned(degrees, rng=rng)
        chosen = y != 3 if kept == "all but threes" else (y == 1) | (rng.random(len(y)) < 0.15)
        windows.append(
            x[chosen] if kept == "all but threes" else np.concatenate([x[chosen]] * 2)[:200]
        )
    champion, _ = walked(parts, anchor, windows)
    x, y = parts.judging.x, parts.judging.y
    lost = [recall(anchor, x, y, digit) - recall(champion, x, y, digit) for digit in range(10)]
    assert max(lost) <= 0.25, lost
    assert accuracy(champion, x, y) >= accuracy(anchor, x, y) - 0.05


@pytest.mark.slow
def test_a_model_that_feeds_on_traffic_without_drift_stays_as_good_as_it_was(
    stream: Digits, parts: SeedSet, anchor: Bundle
) -> None:
    rng = np.random.default_rng(6)
    windows = [stream.x[rng.permutation(len(stream.x))[:300]] for _ in range(10)]
    _, served = walked(parts, anchor, windows)
    first = accuracy(anchor, stream.x, stream.y)
    assert min(accuracy(bundle, stream.x, stream.y) for bundle in served) >= first - 0.02
    assert len(served) <= 4
