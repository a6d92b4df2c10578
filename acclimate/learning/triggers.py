"""When a window closes by itself: enough rows, or a slot of the schedule. Pure arithmetic; no torch here."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from cronsim import CronSim

from acclimate.learning.values import Policy
from acclimate.spec import schedule_seconds


def rows_due(policy: Policy, open_rows: int) -> bool:
    """Whether the open window is full: `max_rows`, 0 never; below `min_window_rows` no run could start, so never earlier."""
    return policy.max_rows > 0 and open_rows >= max(policy.max_rows, policy.min_window_rows)


def due_slot(schedule: str, *, since: float, now: float) -> float | None:
    """The newest slot of the schedule in (since, now], unix seconds UTC, or None.

    Slots missed while nobody looked are one slot: only the newest counts. `@every` slots lie at whole multiples of the period
    since 1970, so two beats that ask name the same slot; cron is read in UTC. Raises ValueError on a schedule that
    `acclimate.spec` would refuse.
    """
    if schedule == "never" or now <= since:
        return None
    period = schedule_seconds(schedule)
    slot = now // period * period if period else _newest_cron_slot(schedule, now)
    return slot if slot is not None and slot > since else None


def _newest_cron_slot(schedule: str, now: float) -> float | None:
    # The reverse walk starts strictly before its moment, and `now` itself may be a slot.
    after = datetime.fromtimestamp(int(now), UTC) + timedelta(seconds=1)
    slot = next(CronSim(schedule, after, reverse=True), None)
    return slot.timestamp() if slot else None
