"""When a window closes by itself: enough rows, or a slot of the schedule. Pure arithmetic; no torch here."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from cronsim import CronSim, CronSimError

from acclimate.learning.values import Policy

EVERY = re.compile(r"@every ([1-9][0-9]*)(s|m|h)")
SECONDS = {"s": 1, "m": 60, "h": 3600}


def rows_due(policy: Policy, open_rows: int) -> bool:
    """Whether the open window is full: `max_rows`, 0 never; below `min_window_rows` no run could start, so never earlier."""
    return policy.max_rows > 0 and open_rows >= max(policy.max_rows, policy.min_window_rows)


def due_slot(schedule: str, *, since: float, now: float) -> float | None:
    """The newest slot of the schedule in (since, now], unix seconds UTC, or None.

    Slots missed while nobody looked are one slot: only the newest counts. `@every` slots lie at whole multiples of the period
    since 1970, so two beats that ask name the same slot; cron is read in UTC. Raises ValueError on a schedule that
    `schedule_problem` finds wrong.
    """
    if schedule == "never" or now <= since:
        return None
    period = _period(schedule)
    slot = now // period * period if period else _newest_cron_slot(schedule, now)
    return slot if slot is not None and slot > since else None


def schedule_problem(schedule: str) -> str | None:
    """What is wrong with a schedule, or None: `never`, `@every 90s` (m, h), or five cron fields."""
    if schedule == "never" or _period(schedule):
        return None
    try:
        CronSim(schedule, datetime(2026, 1, 1, tzinfo=UTC))
    except CronSimError as error:
        return f"{schedule!r} is neither never, @every 10m (s, m, h) nor cron: {error}"
    return None


def _period(schedule: str) -> int | None:
    """The seconds of an `@every` schedule."""
    match = EVERY.fullmatch(schedule)
    return int(match[1]) * SECONDS[match[2]] if match else None


def _newest_cron_slot(schedule: str, now: float) -> float | None:
    # The reverse walk starts strictly before its moment, and `now` itself may be a slot.
    after = datetime.fromtimestamp(int(now), UTC) + timedelta(seconds=1)
    slot = next(CronSim(schedule, after, reverse=True), None)
    return slot.timestamp() if slot else None
