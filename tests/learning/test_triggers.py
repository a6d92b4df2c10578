from datetime import UTC, datetime

import numpy as np
import pytest
from answers import drawn, even

from acclimate.learning import triggers
from acclimate.learning.evaluation.behaviour import Behaviour
from acclimate.learning.spec import Policy


def at(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


def test_a_window_is_due_at_max_rows_and_not_one_row_earlier():
    policy = Policy(max_rows=200, min_window_rows=150)
    assert not triggers.rows_due(policy, 199)
    assert triggers.rows_due(policy, 200)


def test_max_rows_0_never_closes_a_window():
    assert not triggers.rows_due(Policy(max_rows=0), 10**9)


def test_a_window_too_small_for_a_run_is_not_due():
    policy = Policy(max_rows=50, min_window_rows=150)
    assert not triggers.rows_due(policy, 149)
    assert triggers.rows_due(policy, 150)


def test_never_has_no_slots():
    assert triggers.due_slot("never", since=0, now=1e10) is None


def test_the_newest_of_many_missed_slots_counts():
    assert triggers.due_slot("@every 10m", since=0, now=3 * 600 + 599) == 3 * 600


def test_a_slot_is_due_once():
    slot = triggers.due_slot("@every 90s", since=100, now=185)
    assert slot == 180
    assert triggers.due_slot("@every 90s", since=180, now=269.9) is None


@pytest.mark.parametrize("schedule", ["@every 1h", "0 * * * *"])
def test_a_slot_exactly_now_is_due_and_one_exactly_at_since_is_not(schedule):
    hour = at("2026-11-24T07:00:00")
    assert triggers.due_slot(schedule, since=hour - 1, now=hour) == hour
    assert triggers.due_slot(schedule, since=hour, now=hour + 1) is None
    assert triggers.due_slot(schedule, since=hour - 10, now=hour - 0.001) is None


def test_cron_is_read_in_utc_and_looks_back_over_months():
    assert triggers.due_slot("30 4 1 * *", since=0, now=at("2026-11-24T07:00:00.5")) == at(
        "2026-11-01T04:30:00"
    )
    assert triggers.due_slot("0 0 29 2 *", since=at("2025-01-01"), now=at("2026-11-24")) is None


def test_a_clock_that_stands_or_steps_back_has_no_slot():
    assert triggers.due_slot("@every 1s", since=100, now=100) is None
    assert triggers.due_slot("* * * * *", since=100, now=40) is None


def answers(n, shares, draw, confidence=0.95):
    return Behaviour.of(drawn(n, shares, confidence=confidence, rng=np.random.default_rng(draw)))


def test_answers_of_one_kind_start_no_run_for_drift_in_two_hundred_looks():
    due = [
        triggers.drift_due(answers(60, even(10), n), answers(150, even(10), 500 + n))
        for n in range(200)
    ]
    assert [reason for reason in due if reason] == []


def test_confidence_that_fell_beyond_chance_starts_a_run_and_says_so():
    reason = triggers.drift_due(
        answers(300, even(10), 0), answers(300, even(10), 1, confidence=0.85)
    )
    assert reason is not None and "mean confidence fell from 0.9" in reason


def test_a_fall_that_a_run_would_call_no_drift_starts_none_however_many_rows_show_it():
    assert (
        triggers.drift_due(
            answers(90_000, even(10), 0), answers(90_000, even(10), 1, confidence=0.935)
        )
        is None
    )


def test_confidence_that_rose_starts_no_run():
    assert (
        triggers.drift_due(answers(300, even(10), 0, confidence=0.7), answers(300, even(10), 1))
        is None
    )


def test_classes_that_moved_beyond_chance_start_a_run_and_it_says_so():
    moved = np.array([0.4, 0.2, 0.05, 0.05, 0.05, 0.05, 0.05, 0.05, 0.05, 0.05])
    reason = triggers.drift_due(answers(300, even(10), 0), answers(300, moved, 1))
    assert reason is not None and "classes of the answers moved" in reason


def test_runs_that_taught_nothing_make_the_next_one_wait_twice_as_long_and_at_most_a_day():
    waits = [triggers.cool_down_seconds(fruitless) for fruitless in (0, 1, 2, 3, 9, 1000)]
    assert waits == [0, 600, 1200, 2400, 86_400, 86_400]
