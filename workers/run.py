"""Works on one run: claims it, runs its trainer as a process, and stores the trainer's log.

The lease is released at once when the trainer dies.
"""

from __future__ import annotations

import math
import os
import select
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import structlog

from acclimate.settings import Settings, child_environment
from acclimate.storage.database import Database, Unavailable
from acclimate.storage.runs import runs
from acclimate.storage.runs.run_logs import RunLogs, newest
from acclimate.storage.runs.runs import Claim
from acclimate.storage.store import Store, StoreError

log = structlog.get_logger()
EXIT_SECONDS = 10.0
"""How long a trainer may take to exit after its run has ended or has a newer claim."""
LOG_SECONDS = 2.0
"""How often the log of a running attempt is stored; a killed worker loses at most so much."""


def work(
    settings: Settings,
    database: Database,
    run_id: str,
    *,
    owner: str,
    stopping: Callable[[], bool] = lambda: False,
) -> None:
    """Work on the run until it has ended or has another owner; at once if this worker is busy.

    When `stopping()` is true, the trainer is killed and the run released: another worker continues
    from its stored stages.
    """
    while not stopping():
        with database.write() as connection:
            busy = runs.owned(connection, owner) > 0
            claim = None if busy else runs.claim(connection, run_id, owner=owner)
        if claim is None:
            return
        log.info("run claimed", run=run_id, attempt=claim.attempt)
        code = _train(settings, database, claim, stopping)
        if code == 0:
            return
        log.error("the trainer died", run=run_id, attempt=claim.attempt, code=code)
        with database.write() as connection:
            runs.release(connection, claim)


def _train(
    settings: Settings, database: Database, claim: Claim, stopping: Callable[[], bool]
) -> int:
    """Run the trainer; its exit code, 0 when it has ended the run or lost it to another claim."""
    kept = AttemptLog(RunLogs(Store(settings.store_address, settings.cache)), claim)
    command = [
        sys.executable,
        "-m",
        "workers.trainer",
        claim.run_id,
        str(claim.token),
        str(claim.attempt),
    ]
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
        env=child_environment(),
    )
    pid_file = settings.home / "run" / f"trainer-{claim.run_id}.pid"
    try:
        _write(pid_file, process.pid)
        watchdog = TrainerWatchdog(database, claim, stopping, lease_seconds=settings.lease_seconds)
        follow_log(process, kept, watchdog.kill_reason)
        code = process.wait()
        kept.end(code)
        return code
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        pid_file.unlink(missing_ok=True)


class TrainerWatchdog:
    """Decides when a trainer is to be killed: one that hangs would block its worker for ever."""

    def __init__(
        self,
        database: Database,
        claim: Claim,
        stopping: Callable[[], bool],
        *,
        lease_seconds: float,
    ) -> None:
        self._database = database
        self._claim = claim
        self._stopping = stopping
        self._lease_seconds = lease_seconds
        self._asked_at = time.monotonic()
        self._lost_at: float | None = None

    def kill_reason(self) -> str | None:
        """Why the trainer is to be killed now, as a sentence; None while it may go on.

        The reasons: this worker stops; the lease expired two leases ago; the run ended
        `EXIT_SECONDS` ago and the trainer still runs. A database that does not answer is no reason.
        """
        if self._stopping():
            return "the worker stops, another continues"
        return "the trainer hangs and is killed" if self._hangs() else None

    def _hangs(self) -> bool:
        if time.monotonic() - self._asked_at < LOG_SECONDS:
            return False
        self._asked_at = time.monotonic()
        try:
            with self._database.read() as connection:
                overdue = runs.overdue_seconds(connection, self._claim)
        except Unavailable:
            return False
        if overdue < math.inf:
            return overdue > 2 * self._lease_seconds
        self._lost_at = self._lost_at or self._asked_at
        return self._asked_at - self._lost_at > EXIT_SECONDS


class AttemptLog:
    """The log lines of one attempt, read from its trainer and written to the store.

    Only lines that are JSON objects are stored: those are the trainer's own, which hold no values
    of rows. What a user's network prints is in the worker's log alone.
    """

    def __init__(self, logs: RunLogs, claim: Claim) -> None:
        self._logs = logs
        self._claim = claim
        self._lines = b""
        self._rest = b""
        self._stored_at = time.monotonic()
        self._stored = b""

    def take(self, data: bytes) -> None:
        """Add the next bytes that the trainer wrote; they are copied to this process's stderr."""
        os.write(sys.stderr.fileno(), data)
        *whole, self._rest = (self._rest + data).split(b"\n")
        self._lines += b"".join(
            line + b"\n" for line in whole if line.startswith(b"{") and line.endswith(b"}")
        )
        self._lines = newest(self._lines)

    def store_when_due(self) -> None:
        """Store the lines, if that was last done `LOG_SECONDS` ago."""
        if time.monotonic() - self._stored_at >= LOG_SECONDS:
            self.store()

    def store(self) -> None:
        """Store the lines so far. A failure of the store is logged; the run goes on."""
        self._stored_at = time.monotonic()
        if self._lines == self._stored:
            return
        try:
            self._logs.write(self._claim.run_id, self._claim.attempt, self._lines)
            self._stored = self._lines
        except (StoreError, OSError) as error:
            log.warning(
                "the log of an attempt is not stored", run=self._claim.run_id, error=str(error)
            )

    def end(self, code: int) -> None:
        """Add the exit code as the last line, and store the lines."""
        ended = structlog.processors.JSONRenderer()(log, "info", _last_line(self._claim, code))
        self._lines += str(ended).encode() + b"\n"
        self.store()


def _last_line(claim: Claim, code: int) -> structlog.typing.EventDict:
    event = "the trainer ended" if code == 0 else "the trainer died"
    line: structlog.typing.EventDict = {
        "run": claim.run_id,
        "attempt": claim.attempt,
        "code": code,
        "event": event,
        "level": "info" if code == 0 else "error",
    }
    return structlog.processors.TimeStamper(fmt="iso", utc=True)(log, "info", line)


def follow_log(
    process: subprocess.Popen[bytes], kept: AttemptLog, kill_reason: Callable[[], str | None]
) -> None:
    """Read the trainer's stderr until it is closed; kill the trainer if `kill_reason()`."""
    assert process.stderr is not None
    with process.stderr as pipe:
        while True:
            ready, _, _ = select.select([pipe], [], [], LOG_SECONDS / 4)
            if ready:
                data = os.read(pipe.fileno(), 65_536)
                if not data:
                    return
                kept.take(data)
            elif process.poll() is not None:  # a child of the trainer holds the pipe
                return
            kept.store_when_due()
            if reason := kill_reason():
                log.warning(reason, pid=process.pid)
                process.kill()
                return


def _write(pid_file: Path, pid: int) -> None:
    pid_file.parent.mkdir(parents=True, exist_ok=True)
    new = pid_file.with_suffix(".new")
    new.write_text(f"{pid}\n")
    new.rename(pid_file)
