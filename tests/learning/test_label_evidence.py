"""Labels of ordinary windows prove nothing in a long series, whatever the classes do; those of
changed ones soon do.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from acclimate.learning.drift import label_evidence
from acclimate.learning.results import Effect
from acclimate.learning.stats.betting import level_of_look

RECALL = np.array([0.95, 0.9, 0.9, 0.85, 0.8, 0.7])


def looks(
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
            found.append(label_evidence._fall(good, y, hits, rows, level=level_of_look(number)))
        yield found


def test_twenty_five_labels_a_window_raise_no_alarm_over_fifty_windows_of_the_seeds_accuracy():
    for restless in (False, True):
        assert (
            sum(any(one.detected for one in found) for found in looks(series=20, restless=restless))
            <= 1
        )


def test_the_interval_holds_the_fall_in_nearly_all_windows() -> None:
    found = [one for many in looks(series=100, right=0.8, labels=60, last=1) for one in many]
    fall = 0.2 * float(RECALL.mean())
    assert (
        sum(
            one.lower <= fall <= one.upper
            for one in found
            if one.lower is not None and one.upper is not None
        )
        >= 95
    )


def test_a_fall_by_two_fifths_is_mostly_proved_by_sixty_labels() -> None:
    assert sum(found[0].detected for found in looks(series=50, right=0.6, labels=60, last=1)) >= 35


def test_strangers_that_traffic_may_have_prove_no_new_class_in_a_long_series() -> None:
    rng = np.random.default_rng(1)
    alarms = 0
    for _ in range(100):
        seen = rng.binomial(25, label_evidence.MOST_UNKNOWN, size=50)
        alarms += any(
            label_evidence._unknown(int(k), 25, level_of_look(i + 1)).detected
            for i, k in enumerate(seen)
        )
    assert alarms <= 5


def test_two_strangers_are_slips_and_three_of_three_are_none() -> None:
    assert not label_evidence._unknown(2, 2, level_of_look(1)).detected
    assert label_evidence._unknown(3, 3, level_of_look(1)).detected


def test_a_class_of_two_rows_that_were_right_promises_no_perfection() -> None:
    hits, rows = np.array([29, 2]), np.array([30, 2])
    found = label_evidence._fall(
        np.arange(25) < 20, np.ones(25, dtype=np.int64), hits, rows, level=level_of_look(1)
    )
    assert found.value > 0.15 and not found.detected
