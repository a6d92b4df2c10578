"""The periodic loops of a replica: heartbeat, champions, and models with the log."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import structlog

from acclimate.storage.database import Unavailable
from service.sync.heartbeat import Heartbeat
from service.sync.log_shipping import LogShipper
from service.sync.model_sync import ModelSync

log = structlog.get_logger()

POLL_SECONDS = 0.2
HEARTBEAT_SECONDS = 1.0


@dataclass(frozen=True, kw_only=True)
class SyncLoops:
    """Runs the three loops, each in a thread of its own: none waits for another."""

    heartbeat: Heartbeat
    model_sync: ModelSync
    log_shipper: LogShipper

    def keep_up(self) -> None:
        """Refresh models and policies, then ship and seal their logs. Raises `Unavailable`."""
        self.log_shipper.keep_up(self.model_sync.refresh_models())

    async def run(self) -> None:
        """Run the loops until cancelled; errors are logged and the loop continues."""
        # Not the event loop's default threads: requests that load versions may occupy all of those,
        # and a heartbeat must not wait for them.
        threads = ThreadPoolExecutor(3, thread_name_prefix="sync")
        await asyncio.gather(
            _every(HEARTBEAT_SECONDS, self.heartbeat.beat, threads),
            _every(POLL_SECONDS, self.model_sync.load_champions, threads),
            _every(POLL_SECONDS, self.keep_up, threads),
        )


async def _every(seconds: float, act: Callable[[], None], threads: ThreadPoolExecutor) -> None:
    while True:
        try:
            await asyncio.get_running_loop().run_in_executor(threads, act)
        except Unavailable as error:
            log.warning("the database does not answer", error=str(error).splitlines()[0])
        except Exception:
            log.exception("a sync loop failed; going on")
        await asyncio.sleep(seconds)
