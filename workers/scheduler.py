"""Beat's own scheduler: rings for the periodic tasks by a clock that nobody sets, and not while
nobody answers.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Any

import structlog
from celery.beat import ScheduleEntry, Scheduler
from celery.schedules import schedule

log = structlog.get_logger()

MOST_UNANSWERED = 10
"""Rings that may wait. Messages that expire instead are thrown away by every worker whose clock is
too far ahead.
"""


def monotonic_schedule(seconds: float) -> schedule:
    """So many seconds of this machine's steady clock: one that is set back keeps nobody from
    ringing.
    """
    return schedule(seconds, nowfun=_monotonic_now)


class MonotonicScheduler(Scheduler):  # type: ignore[misc]  # celery has no types
    """In memory: which slot of a model's schedule has made a run is known by the database."""

    _unanswered = False

    def apply_async(
        self, entry: ScheduleEntry, producer: Any = None, advance: bool = True, **options: Any
    ) -> Any:
        queue = self.app.conf.task_default_queue
        waiting = (producer or self.producer).channel.queue_declare(queue=queue).message_count
        before, self._unanswered = self._unanswered, waiting >= MOST_UNANSWERED
        if not self._unanswered:
            return super().apply_async(entry, producer=producer, advance=advance, **options)
        if not before:
            log.warning("no worker answers: nothing is rung for until one does", waiting=waiting)
        return None


def _monotonic_now() -> datetime:
    return datetime.fromtimestamp(0, UTC) + timedelta(seconds=time.monotonic())
