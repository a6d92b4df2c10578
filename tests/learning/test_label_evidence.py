"""Labels prove a change of meaning soon, and of ordinary windows nothing in a long series."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from acclimate.learning.drift import label_evidence
from acclimate.learning.results import Effect
from acclimate.learning.stats.significance import level_of_window
from acclimate.learning.thresholds import DEFAULT

RECALL = np.array([0.95, 0.9, 0.9, 0.85, 0.8, 0.7])


def series_of(
    *, series: int, right: float = 1.0, restless: bool = False, labels: int = 25, last: int = 50
) -> Iterator[list[Effect]]:
    """Series of windows of a version 1 with these recalls, which its seed shows on 30 rows of each
    class.
    """
    rng = np.random.default_rng(0)
    for _ in range(series):
        rows = np.full(6, 30)
        hits = rng.binomial(rows, RECALL)
        found = []
        for number in range(1, last + 1):
            y = rng.choice(6, labels, p=rng.dirichlet(np.full(6, 0.3)) if restless else None)
            good = rng.random(labels) < right * RECALL[y]
            found.append(
                label_evidence._accuracy_fall(good, y, hits, rows, level=level_of_window(number))
            )
        yield found


def test_twenty_five_labels_a_window_raise_no_alarm_over_fifty_windows_of_the_seeds_accuracy():
    for restless in (False, True):
        assert (
            sum(
                any(one.detected for one in found)
                for found in series_of(series=20, restless=restless)
            )
            <= 1
        )


def test_the_interval_holds_the_fall_in_nearly_all_windows():
    found = [one for many in series_of(series=100, right=0.8, labels=60, last=1) for one in many]
    fall = 0.2 * float(RECALL.mean())
    assert (
        sum(
            one.lower <= fall <= one.upper
            for one in found
            if one.lower is not None and one.upper is not None
        )
        >= 95
    )


def test_a_fall_by_two_fifths_is_mostly_proved_by_sixty_labels():
    assert (
        sum(found[0].detected for found in series_of(series=50, right=0.6, labels=60, last=1)) >= 35
    )


def test_ordinary_rows_of_none_of_the_classes_prove_no_new_class_in_a_series():
    rng = np.random.default_rng(1)
    alarms = 0
    for _ in range(100):
        seen = rng.binomial(25, DEFAULT.unknown_share, size=50)
        alarms += any(
            label_evidence._unknown_share(int(k), 25, level_of_window(i + 1), DEFAULT).detected
            for i, k in enumerate(seen)
        )
    assert alarms <= 5


def test_two_labels_of_none_of_the_classes_prove_nothing_and_three_of_three_do():
    assert not label_evidence._unknown_share(2, 2, level_of_window(1), DEFAULT).detected
    assert label_evidence._unknown_share(3, 3, level_of_window(1), DEFAULT).detected


def test_a_class_of_two_rows_that_were_right_promises_no_perfection():
    hits, rows = np.array([29, 2]), np.array([30, 2])
    found = label_evidence._accuracy_fall(
        np.arange(25) < 20, np.ones(25, dtype=np.int64), hits, rows, level=level_of_window(1)
    )
    assert found.value > 0.15 and not found.detected
