"""The events of a run as a server-sent stream.

They are read from the database, so that any replica can resume a stream.
"""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import structlog
from fastapi.concurrency import run_in_threadpool

from acclimate.storage.database import Database, Unavailable
from acclimate.storage.runs import run_events, runs
from acclimate.storage.tables import ACTIVE
from service.control import documents

if TYPE_CHECKING:
    from sqlalchemy import RowMapping

log = structlog.get_logger()
POLL_SECONDS = 0.4
KEEP_ALIVE_SECONDS = 15.0
RETRY_MILLISECONDS = 1000


async def frames(
    database: Database, run_id: str, after: int, stopping: threading.Event
) -> AsyncIterator[bytes]:
    """Yield the run's events after the sequence number `after`, until its `end` event or until
    this process stops.

    A database connection and a thread are used only while polling. After 15 s without an event, and
    while the database does not answer, a comment keeps the connection alive.
    """
    yield f"retry: {RETRY_MILLISECONDS}\n\n".encode()
    sent_at = time.monotonic()
    while not stopping.is_set():
        try:
            events, ended = await run_in_threadpool(poll, database, run_id, after)
        except Unavailable as error:
            log.warning("the database does not answer", error=str(error).splitlines()[0])
            events = []
            ended = False
        for event in events:
            yield frame(run_id, event)
            after = event["sequence"]
            sent_at = time.monotonic()
        if ended and not events:
            return
        if time.monotonic() - sent_at >= KEEP_ALIVE_SECONDS:
            yield b": nothing new\n\n"
            sent_at = time.monotonic()
        if not events:
            await asyncio.sleep(POLL_SECONDS)


def poll(database: Database, run_id: str, after: int) -> tuple[list[RowMapping], bool]:
    """The events after this sequence number, and whether the run has ended. Raises `UnknownRun`."""
    with database.read() as connection:
        ended = runs.get(connection, run_id)["state"] not in ACTIVE
        return run_events.after(connection, run_id, after), ended


def frame(run_id: str, event: RowMapping) -> bytes:
    """One server-sent event: its sequence number, kind and JSON content."""
    content = dict(event["content"])
    if content.get("version") is not None:
        content["version"] = str(content["version"])
    data = json.dumps(
        {"run": run_id, "at": documents.time(event["at"]), **content}, ensure_ascii=False
    )
    return f"id: {event['sequence']}\nevent: {event['kind']}\ndata: {data}\n\n".encode()
