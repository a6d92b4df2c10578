"""The scheduler of periodic tasks, on the monotonic clock; pauses while messages are unanswered."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Any

import structlog
from celery.beat import ScheduleEntry, Scheduler
from celery.schedules import schedule

log = structlog.get_logger()

MOST_UNANSWERED = 10
"""Messages that may wait. They do not expire: a worker whose clock is ahead would drop them."""


def monotonic_schedule(seconds: float) -> schedule:
    """A period in seconds of the monotonic clock, which no change of the system time affects."""
    return schedule(seconds, nowfun=_monotonic_now)


class MonotonicScheduler(Scheduler):  # type: ignore[misc]  # celery has no types
    """A scheduler in memory: the database knows which schedule slots have started a run."""

    _paused = False

    def apply_async(
        self, entry: ScheduleEntry, producer: Any = None, advance: bool = True, **options: Any
    ) -> Any:
        """Send the message of a due task, unless `MOST_UNANSWERED` messages wait."""
        queue = self.app.conf.task_default_queue
        waiting = (producer or self.producer).channel.queue_declare(queue=queue).message_count
        was_paused, self._paused = self._paused, waiting >= MOST_UNANSWERED
        if not self._paused:
            return super().apply_async(entry, producer=producer, advance=advance, **options)
        if not was_paused:
            log.warning(
                "no worker takes messages: no more are sent until one does", waiting=waiting
            )
        return None


def _monotonic_now() -> datetime:
    return datetime.fromtimestamp(0, UTC) + timedelta(seconds=time.monotonic())
