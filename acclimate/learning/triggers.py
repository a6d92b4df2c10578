"""When a run starts by itself: enough rows, a slot of the schedule, or drift in the answers.

No torch here.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from cronsim import CronSim, CronSimError

from acclimate.learning.evaluation.behaviour import Behaviour, class_shift, confidence_fall
from acclimate.learning.spec import Policy
from acclimate.learning.thresholds import DEFAULT

DURATION = re.compile(r"([0-9]{1,6})(s|m|h)")
EVERY = re.compile(r"@every ([1-9][0-9]*)(s|m|h)")
SECONDS = {"s": 1, "m": 60, "h": 3600}
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 600.0, 86_400.0
"""After drift that taught nothing, doubled with each such run; at most a day."""


def rows_due(policy: Policy, open_rows: int) -> bool:
    """Whether the open window is full: `max_rows`, 0 never; below `min_window_rows` no run could
    start, so never earlier.
    """
    return policy.max_rows > 0 and open_rows >= max(policy.max_rows, policy.min_window_rows)


def due_slot(schedule: str, *, since: float, now: float) -> float | None:
    """The newest slot of the schedule in (since, now], unix seconds UTC, or None.

    Slots missed while nobody looked are one slot: only the newest counts. `@every` slots lie at
    whole multiples of the period since 1970, so two beats that ask name the same slot; cron is read
    in UTC. Raises ValueError on a schedule that `schedule_problem` finds wrong.
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


def duration_seconds(text: str) -> float | None:
    """The seconds of a duration such as 0s, 90s, 10m or 2h; None where it is none."""
    match = DURATION.fullmatch(text)
    return float(int(match[1]) * SECONDS[match[2]]) if match else None


def _period(schedule: str) -> int | None:
    """The seconds of an `@every` schedule."""
    match = EVERY.fullmatch(schedule)
    return int(match[1]) * SECONDS[match[2]] if match else None


def _newest_cron_slot(schedule: str, now: float) -> float | None:
    # The reverse walk starts strictly before its moment, and `now` itself may be a slot.
    after = datetime.fromtimestamp(int(now), UTC) + timedelta(seconds=1)
    slot = next(CronSim(schedule, after, reverse=True), None)
    return slot.timestamp() if slot else None


def drift_due(reference: Behaviour, newest: Behaviour) -> str | None:
    """Why the newest answers call for a run now, in words; None while they look like the reference.

    Both are answers of one version: the reference those of the last good window, or how the version
    answered when it was judged. A mean confidence that fell, or classes whose shares moved, count
    beyond what chance shows between so many rows and beyond what a run would call no drift.
    """
    fall, chance = confidence_fall(reference, newest)
    if fall > chance + DEFAULT.trigger_fall:
        return (
            f"mean confidence fell from {reference.confidence:.3f} to "
            f"{newest.confidence:.3f} on {newest.rows} rows"
        )
    shift, chance = class_shift(reference, newest)
    if shift > chance + DEFAULT.trigger_shift:
        return (
            f"the classes of the answers moved by {shift:.2f} on {newest.rows} rows (total "
            f"variation)"
        )
    return None


def cool_down_seconds(fruitless: int) -> float:
    """How long no run starts for drift after so many in a row that taught nothing.

    10 minutes, doubled with each, at most a day.
    """
    if fruitless == 0:
        return 0.0
    doubled = FIRST_PAUSE_SECONDS * 2.0 ** min(fruitless - 1, 20)
    return min(doubled, LONGEST_PAUSE_SECONDS)
