"""Works on one run: claims it, starts its trainer as a process, keeps its log, and lets go of the
lease at once when it dies.
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
"""How long a trainer may take to leave when its run has ended or is somebody else's."""
LOG_SECONDS = 2.0
"""How old the stored log of a running attempt gets; what a worker that is killed with its trainer
loses at most.
"""


def work(
    settings: Settings,
    database: Database,
    run_id: str,
    *,
    owner: str,
    stopping: Callable[[], bool] = lambda: False,
) -> None:
    """Returns when the run has ended or is somebody else's, and at once when this worker is busy:
    the reconciler rings again.

    A worker that is `stopping` ends its trainer and gives the run back: what its stages have kept,
    another one goes on from.
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
    """The exit code of the trainer: 0 when it has ended the run or lost it to somebody else."""
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
    """How long a trainer is waited for: one that hangs would keep its worker for ever."""

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
        """Why the trainer is to be killed now, in words: this worker leaves; two leases after the
        last one has expired; some time after the run has ended without the trainer.

        A database that does not answer is no reason: it keeps the trainer waiting too.
        """
        if self._stopping():
            return "the worker leaves, another goes on"
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
    """The log lines of one attempt, on their way from its trainer to the store.

    Only lines that are JSON objects are kept: those are the trainer's own, which hold no values of
    rows; what a user's network prints is seen in the worker's log alone.
    """

    def __init__(self, logs: RunLogs, claim: Claim) -> None:
        self._logs = logs
        self._claim = claim
        self._lines = b""
        self._rest = b""
        self._stored_at = time.monotonic()
        self._stored = b""

    def take(self, data: bytes) -> None:
        """The next bytes that the trainer wrote, also passed on to this process's own log."""
        os.write(sys.stderr.fileno(), data)
        *whole, self._rest = (self._rest + data).split(b"\n")
        self._lines += b"".join(
            line + b"\n" for line in whole if line.startswith(b"{") and line.endswith(b"}")
        )
        self._lines = newest(self._lines)

    def store_when_due(self) -> None:
        if time.monotonic() - self._stored_at >= LOG_SECONDS:
            self.store()

    def store(self) -> None:
        """Keep the lines so far. A store that fails costs log lines, never the run."""
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
        """The trainer has ended with this code, which is the last line."""
        ended = structlog.processors.JSONRenderer()(log, "info", _last_line(self._claim, code))
        self._lines += str(ended).encode() + b"\n"
        self.store()


def _last_line(claim: Claim, code: int) -> structlog.typing.EventDict:
    said = "the trainer ended" if code == 0 else "the trainer died"
    line: structlog.typing.EventDict = {
        "run": claim.run_id,
        "attempt": claim.attempt,
        "code": code,
        "event": said,
        "level": "info" if code == 0 else "error",
    }
    return structlog.processors.TimeStamper(fmt="iso", utc=True)(log, "info", line)


def follow_log(
    process: subprocess.Popen[bytes], kept: AttemptLog, kill_reason: Callable[[], str | None]
) -> None:
    """Returns when the trainer has closed its log, which its death does too; one that is no longer
    waited for is killed.
    """
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
