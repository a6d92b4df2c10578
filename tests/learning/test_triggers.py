from datetime import UTC, datetime

import pytest

from acclimate.learning import triggers
from acclimate.learning.values import Policy


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
    assert triggers.due_slot("30 4 1 * *", since=0, now=at("2026-11-24T07:00:00.5")) == at("2026-11-01T04:30:00")
    assert triggers.due_slot("0 0 29 2 *", since=at("2025-01-01"), now=at("2026-11-24")) is None


def test_a_clock_that_stands_or_steps_back_has_no_slot():
    assert triggers.due_slot("@every 1s", since=100, now=100) is None
    assert triggers.due_slot("* * * * *", since=100, now=40) is None
