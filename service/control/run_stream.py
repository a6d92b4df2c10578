"""The events of a run as a server-sent stream: read from the database, so that any replica can go
on where another ended.
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
from service.control import documents

if TYPE_CHECKING:
    from sqlalchemy import RowMapping

log = structlog.get_logger()
LOOK_SECONDS = 0.4
KEEP_ALIVE_SECONDS = 15.0
RETRY_MILLISECONDS = 1000


async def frames(
    database: Database, run_id: str, after: int, stopping: threading.Event
) -> AsyncIterator[bytes]:
    """What becomes of the run after the event of that sequence, until its `end` or until this
    process is asked to stop.

    Connection and thread are held only while a look lasts. A comment comes where nothing else did
    for 15 s; while the database does not answer, nothing else does.
    """
    yield f"retry: {RETRY_MILLISECONDS}\n\n".encode()
    spoken_at = time.monotonic()
    while not stopping.is_set():
        try:
            told, ended = await run_in_threadpool(look, database, run_id, after)
        except Unavailable as error:
            log.warning("the database does not answer", error=str(error).splitlines()[0])
            told, ended = [], False
        for event in told:
            yield frame(run_id, event)
            after, spoken_at = event["sequence"], time.monotonic()
        if ended and not told:
            return
        if time.monotonic() - spoken_at >= KEEP_ALIVE_SECONDS:
            yield b": nothing new\n\n"
            spoken_at = time.monotonic()
        if not told:
            await asyncio.sleep(LOOK_SECONDS)


def look(database: Database, run_id: str, after: int) -> tuple[list[RowMapping], bool]:
    """The next events, and whether the run has ended. Raises `UnknownRun`."""
    with database.read() as connection:
        ended = runs.get(connection, run_id)["state"] not in runs.ACTIVE
        return run_events.after(connection, run_id, after), ended


def frame(run_id: str, event: RowMapping) -> bytes:
    content = dict(event["content"])
    if content.get("version") is not None:
        content["version"] = str(content["version"])
    data = json.dumps(
        {"run": run_id, "at": documents.time(event["at"]), **content}, ensure_ascii=False
    )
    return f"id: {event['sequence']}\nevent: {event['kind']}\ndata: {data}\n\n".encode()
