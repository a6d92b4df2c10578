"""Floods, copies, an absent class, a model that feeds on itself: refused, and nothing is harmed."""

from __future__ import annotations

import numpy as np
import pytest
from stages import select
from turned_digits import accuracy, learn, promoted, window_of

from acclimate.learning.data import Floats, Integers, Past, SeedSet
from acclimate.learning.models.bundle import Bundle
from acclimate.learning.outcomes import Quarantined

COPIES = 10_000


def walked(
    parts: SeedSet, anchor: Bundle, windows: list[Floats], outcomes: list[str] | None = None
) -> tuple[Bundle, list[Bundle]]:
    """The champion after these windows, and all that served; each window knows what was
    seen in the last good one.
    """
    champion, past, served = anchor, None, [anchor]
    for number, x in enumerate(windows, start=1):
        window = window_of(x, draw=number, past=past, number=number)
        found = learn(window, parts, champion, anchor, run=number)
        drift = found.diagnosis.drift
        if not drift.alarms:
            past = Past.of(drift.document)
        if promoted(found):
            champion = found.student
            served.append(champion)
        if outcomes is not None:
            outcomes.append("promoted" if promoted(found) else found.detail or "")
    return champion, served


def recall(bundle: Bundle, x: Floats, y: Integers, digit: int) -> float:
    return accuracy(bundle, x[y == digit], y[y == digit])


def test_ten_thousand_copies_of_a_row_stop_the_run_and_would_teach_once(stream, parts, anchor):
    x = stream.turned(12, rng=np.random.default_rng(3))[0]
    flood = np.concatenate([x, np.repeat(x[:1], COPIES, axis=0)])
    window = window_of(flood, draw=1)
    found = learn(window, parts, anchor, anchor)
    assert found.diagnosis.drift.alarms
    assert isinstance(found, Quarantined)
    labels = select(window, anchor, parts.train)
    copies = (window.x == x[0]).all(axis=1)
    assert labels.accepted[copies].sum() <= 1
    assert labels.refused["duplicate"] >= 0.75 * COPIES
    assert labels.accepted[~copies].sum() > 50


def test_a_window_of_one_repeated_row_promotes_no_student_and_says_why(stream, parts, anchor):
    outcomes: list[str] = []
    champion, _ = walked(parts, anchor, [np.repeat(stream.x[:1], 400, axis=0)], outcomes)
    assert champion.members is anchor.members
    assert outcomes[0]


@pytest.mark.slow
@pytest.mark.parametrize("kept", ["all but threes", "mostly ones"])
def test_a_class_that_stays_away_or_floods_costs_no_class_its_recall(stream, parts, anchor, kept):
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
def test_a_model_that_feeds_on_traffic_without_drift_stays_as_good_as_it_was(stream, parts, anchor):
    rng = np.random.default_rng(6)
    windows = [stream.x[rng.permutation(len(stream.x))[:300]] for _ in range(10)]
    _, served = walked(parts, anchor, windows)
    first = accuracy(anchor, stream.x, stream.y)
    assert min(accuracy(bundle, stream.x, stream.y) for bundle in served) >= first - 0.02
    assert len(served) <= 4
