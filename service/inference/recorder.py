"""Writes answered rows to this replica's journals with group commits, and acknowledges each request
with the durability of its model.

One thread owns all journals. All requests that wait when it starts a commit are one group: one
record batch per model, one fdatasync.
"""

from __future__ import annotations

import asyncio
import queue
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import structlog

from acclimate.storage.log.journal import Journal, JournalFailed, JournalFull, SealedFile
from acclimate.storage.log.logged_rows import JournalSchema, LoggedRows, RequestRows
from service.errors import Refusal
from service.inference.backlog import MEASURE_SECONDS, Backlog
from service.metrics import ServingMetrics

if TYPE_CHECKING:
    from service.inference.model_slot import Model

log = structlog.get_logger()

SEAL_SECONDS = 60.0
MOST_WAITING_ROWS = 200_000
MOST_WAITING_BYTES = 512 * 2**20
"""Limits of the rows and bytes that wait for the disk, so that a slow disk does not fill the
memory; further requests are refused.
"""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """The rows of one request, and the future that is resolved when they are logged."""

    model: Model
    rows: LoggedRows
    bytes: int
    loop: asyncio.AbstractEventLoop
    logged: asyncio.Future[None]


@dataclass(frozen=True, kw_only=True)
class Seal:
    """A request to seal the journal of one model, with everything recorded before."""

    model_id: str
    sealed: Future[SealedFile | None]


@dataclass(frozen=True, kw_only=True)
class Drop:
    """A request to discard everything recorded of a deleted model."""

    model_id: str
    dropped: Future[None]


class ModelGone(Exception):
    """The model was deleted before its rows were logged."""


class Recorder:
    """`start` it, `record` from the event loop, `seal` and `drop` from any thread, then `close`."""

    def __init__(
        self,
        folder: Path,
        replica: str,
        metrics: ServingMetrics,
        backlog: Backlog,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._folder = folder
        self._replica = replica
        self._metrics = metrics
        self._backlog = backlog
        self._clock = clock
        self._queue: queue.SimpleQueue[Entry | Seal | Drop | None] = queue.SimpleQueue()
        self._journals: dict[str, Journal] = {}
        self._opened_at: dict[str, float] = {}
        self._gone: set[str] = set()
        self._retired: list[tuple[str, SealedFile]] = []
        self._waiting_rows = 0
        self._waiting_bytes = 0
        self._count = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="recorder", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def close(self) -> None:
        """Write what waits and stop; open journals are left for the next process in this slot."""
        self._queue.put(None)
        self._thread.join()

    async def record(self, model: Model, request: RequestRows) -> Literal["fsync", "os", "none"]:
        """Log the rows of one request.

        Returns the durability reached: `fsync` on the disk, `os` written to the file, `none` not
        known. Raises the 503 refusal when the rows could not be written; then none of them is in
        the log.
        """
        durability = model.spec.log.durability
        rows = LoggedRows.of_request(request)
        size = _bytes(rows)
        if (
            self._waiting_rows + len(rows) > MOST_WAITING_ROWS
            or self._waiting_bytes + size > MOST_WAITING_BYTES
        ):
            self._metrics.logged.labels(model.name, "dropped").inc(len(rows))
            raise Refusal(
                "unavailable", "the log cannot keep up; try again", headers={"Retry-After": "1"}
            )
        loop = asyncio.get_running_loop()
        entry = Entry(model=model, rows=rows, bytes=size, loop=loop, logged=loop.create_future())
        with self._count:
            self._waiting_rows += len(rows)
            self._waiting_bytes += size
        self._queue.put(entry)
        if durability == "none":
            # Not awaited; a failure is counted by the thread.
            entry.logged.add_done_callback(lambda future: future.exception())
            return "none"
        await entry.logged
        return durability

    def open_rows(self) -> dict[str, int]:
        """The number of rows in each open journal, by model id."""
        return {model_id: journal.rows for model_id, journal in list(self._journals.items())}

    def due(self) -> list[str]:
        """The ids of the models whose journal is older than `SEAL_SECONDS`."""
        oldest = self._clock() - SEAL_SECONDS
        return [id for id in list(self._journals) if self._opened_at[id] < oldest]

    def seal(self, model_id: str) -> SealedFile | None:
        """Seal the model's journal; returns the file with everything recorded before, None when it
        is empty. Waits for the disk.

        Raises `JournalFailed`.
        """
        request = Seal(model_id=model_id, sealed=Future())
        self._queue.put(request)
        return request.sealed.result()

    def drop(self, model_id: str) -> None:
        """Discard the journal of a deleted model; later rows of it are refused.

        Requests whose rows are not written yet get the 404 refusal.
        """
        request = Drop(model_id=model_id, dropped=Future())
        self._queue.put(request)
        request.dropped.result()

    def take_retired(self) -> list[tuple[str, SealedFile]]:
        """The files that were sealed without a request, by model id; each is returned once, for the
        caller to register.
        """
        retired, self._retired = self._retired, []
        return retired

    def _run(self) -> None:
        while True:
            self._backlog.measure()
            try:
                group, last = self._next_group()
            except queue.Empty:
                continue
            if group:
                self._write(group)
            if isinstance(last, Seal):
                self._close_journal(last)
            elif isinstance(last, Drop):
                self._drop(last)
            elif last is None:
                return

    def _next_group(self) -> tuple[list[Entry], Entry | Seal | Drop | None]:
        """The waiting entries up to the first other item, and that item. Raises `queue.Empty`."""
        item = self._queue.get(timeout=MEASURE_SECONDS)
        group: list[Entry] = []
        while isinstance(item, Entry):
            group.append(item)
            try:
                item = self._queue.get_nowait()
            except queue.Empty:
                return group, group[-1]
        return group, item

    def _write(self, group: list[Entry]) -> None:
        by_model: dict[str, list[Entry]] = {}
        for entry in group:
            by_model.setdefault(entry.model.id, []).append(entry)
        for entries in by_model.values():
            model = entries[0].model
            error = self._append(model, LoggedRows.concatenate([entry.rows for entry in entries]))
            if error is not None and not isinstance(error, ModelGone):
                log.error(
                    "rows could not be logged",
                    model=model.name,
                    error=type(error).__name__,
                    cause=str(error),
                )
                self._metrics.logged.labels(model.name, "dropped").inc(
                    sum(len(entry.rows) for entry in entries)
                )
            _resolve(entries, error)
        with self._count:
            self._waiting_rows -= sum(len(entry.rows) for entry in group)
            self._waiting_bytes -= sum(entry.bytes for entry in group)

    def _append(self, model: Model, rows: LoggedRows) -> Exception | None:
        if model.id in self._gone:
            return ModelGone(model.id)
        if not self._backlog.has_room:
            return JournalFull(
                "the backlog for store and database on this replica's disk is at its limit"
            )
        try:
            journal = self._journals.get(model.id)
            if journal is not None and not journal.accepts(rows):
                self._retire(model.id)
                journal = None
            journal = journal or self._open(model, states=rows.state is not None)
            before = journal.bytes
            journal.append(rows)
            self._backlog.grow(journal.bytes - before)
            if model.spec.log.durability == "fsync":
                journal.sync()
            if journal.bytes > self._backlog.most_file_bytes:
                self._roll(model.id)
        except JournalFull as error:
            # The journal was truncated to its last whole batch and continues when there is space.
            return error
        except JournalFailed as error:
            # Data that may not have reached the disk is not written to the same file again.
            self._retire(model.id)
            return error
        except (OSError, ValueError) as error:
            return error
        return None

    def _retire(self, model_id: str) -> None:
        """Seal a journal that failed or lacks columns; where that fails, close it for recovery by
        the next process.
        """
        if not self._roll(model_id):
            self._journals.pop(model_id).close()

    def _roll(self, model_id: str) -> bool:
        """Seal a journal; the next rows open a new one. Returns whether the disk allowed it."""
        try:
            sealed = self._journals[model_id].seal()
        except (JournalFailed, OSError) as error:
            log.error("a journal could not be sealed", model=model_id, error=str(error))
            return False
        del self._journals[model_id]
        if sealed is not None:
            self._retired.append((model_id, sealed))
        return True

    def _open(self, model: Model, *, states: bool) -> Journal:
        schema = JournalSchema(
            kind=model.spec.input.kind,
            shape=model.spec.input.shape,
            classes=len(model.spec.input.classes),
            model=model.id,
            replica=self._replica,
            states=states,
        )
        journal = Journal.open(self._folder / model.id, schema, time.time())
        self._opened_at[model.id] = self._clock()
        self._journals[model.id] = journal
        return journal

    def _close_journal(self, request: Seal) -> None:
        try:
            journal = self._journals.get(request.model_id)
            sealed = journal.seal() if journal else None
            self._journals.pop(request.model_id, None)
            request.sealed.set_result(sealed)
        except Exception as error:
            request.sealed.set_exception(error)

    def _drop(self, request: Drop) -> None:
        try:
            # Ids are not reused, so every later row of this model is refused.
            self._gone.add(request.model_id)
            journal = self._journals.pop(request.model_id, None)
            if journal is not None:
                journal.close()
            self._retired = [
                (model_id, sealed)
                for model_id, sealed in self._retired
                if model_id != request.model_id
            ]
            shutil.rmtree(self._folder / request.model_id, ignore_errors=True)
            request.dropped.set_result(None)
        except Exception as error:
            request.dropped.set_exception(error)


def _refusal(error: Exception) -> Refusal:
    if isinstance(error, ModelGone):
        return Refusal("not-found", "the model was deleted")
    return Refusal(
        "unavailable",
        "the rows could not be logged; nothing was acknowledged",
        headers={"Retry-After": "2"},
    )


def _bytes(rows: LoggedRows) -> int:
    """Approximate memory of the inputs in bytes; for text that of the strings."""
    return sum(map(sys.getsizeof, rows.x.flat)) if rows.x.dtype == object else rows.x.nbytes


def _resolve(entries: Iterable[Entry], error: Exception | None) -> None:
    """Resolve the futures of a group, with one call into each event loop (a process has one)."""

    def resolve() -> None:
        for entry in entries:
            if entry.logged.done():
                continue
            if error is None:
                entry.logged.set_result(None)
            else:
                entry.logged.set_exception(_refusal(error))

    for loop in {entry.loop for entry in entries}:
        loop.call_soon_threadsafe(resolve)
