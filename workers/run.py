"""Works on one run: claims it, starts its trainer as a process, and lets go of the lease at once when that process dies."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import structlog

from acclimate.settings import Settings, child_environment
from acclimate.storage import runs
from acclimate.storage.database import Database
from acclimate.storage.runs import Claim

log = structlog.get_logger()


def work(settings: Settings, database: Database, run_id: str, *, owner: str) -> None:
    """Returns when the run has ended or is somebody else's, and at once when this worker is busy: the reconciler rings again."""
    while True:
        with database.write() as connection:
            busy = runs.owned(connection, owner) > 0
            claim = None if busy else runs.claim(connection, run_id, owner=owner)
        if claim is None:
            return
        log.info("run claimed", run=run_id, attempt=claim.attempt)
        code = _train(settings, claim)
        if code == 0:
            return
        log.error("the trainer died", run=run_id, attempt=claim.attempt, code=code)
        with database.write() as connection:
            runs.give_back(connection, claim)


def _train(settings: Settings, claim: Claim) -> int:
    """The exit code of the trainer: 0 when it has ended the run or lost it to somebody else."""
    command = [sys.executable, "-m", "workers.trainer", claim.run_id, str(claim.token), str(claim.attempt)]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True, env=child_environment())
    pid_file = settings.home / "run" / f"trainer-{claim.run_id}.pid"
    try:
        _write(pid_file, process.pid)
        return process.wait()
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        pid_file.unlink(missing_ok=True)


def _write(pid_file: Path, pid: int) -> None:
    pid_file.parent.mkdir(parents=True, exist_ok=True)
    pid_file.write_text(f"{pid}\n")
