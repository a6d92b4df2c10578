"""Rings for the workers: a Celery message that names a run. The run's row is committed before; a
lost ring costs seconds.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import structlog

log = structlog.get_logger()

LIMIT_SECONDS = 2.0


class Doorbell:
    """Best effort, in a thread of its own, for two seconds at most. Celery is imported at the first
    ring, not at the start.
    """

    def __init__(self, broker_address: str) -> None:
        self._address = broker_address
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="doorbell")
        self._celery: Any = None

    async def ring(self, run_id: str) -> bool:
        """True when the broker took the message in time; the reconciler rings again for runs that
        nobody took.
        """
        ringing = asyncio.get_running_loop().run_in_executor(self._thread, self._send, run_id)
        try:
            await asyncio.wait_for(ringing, LIMIT_SECONDS)
        except Exception as error:
            log.warning(
                "the broker did not take the message", run=run_id, error=type(error).__name__
            )
            return False
        return True

    def close(self) -> None:
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
