"""Notifies the workers of a run: a Celery message that names it.

The run's row is committed before. When a message is lost, the reconciler sends it again, so a loss
costs seconds.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import structlog

log = structlog.get_logger()

LIMIT_SECONDS = 2.0


class RunNotifier:
    """Sends from a thread of its own, at most `LIMIT_SECONDS` each, without raising.

    Celery is imported when the first message is sent, not when the process starts.
    """

    def __init__(self, broker_address: str) -> None:
        self._address = broker_address
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="notifier")
        self._celery: Any = None

    async def notify(self, run_id: str) -> bool:
        """Send the message; returns whether the broker took it in time."""
        sending = asyncio.get_running_loop().run_in_executor(self._thread, self._send, run_id)
        try:
            await asyncio.wait_for(sending, LIMIT_SECONDS)
        except Exception as error:
            log.warning(
                "the broker did not take the message", run=run_id, error=type(error).__name__
            )
            return False
        return True

    def close(self) -> None:
        """Drop the messages that wait; does not wait for the one being sent."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _send(self, run_id: str) -> None:
        if self._celery is None:
            from celery import Celery

            self._celery = Celery(broker=self._address, backend=None, set_as_current=False)
            self._celery.conf.update(
                task_ignore_result=True,
                broker_transport_options={
                    "socket_timeout": LIMIT_SECONDS,
                    "socket_connect_timeout": LIMIT_SECONDS,
                },
            )
        self._celery.send_task("run", args=[run_id], queue="train", retry=False, ignore_result=True)
