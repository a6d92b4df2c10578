"""Heartbeats of a trainer: they renew the lease of its run and report stage and progress."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from acclimate.storage.database import Database
from acclimate.storage.runs import runs
from acclimate.storage.runs.runs import Claim, RunCancelled

BEAT_SECONDS = 0.3

Tick = Callable[[int, int], None]
"""Called with (steps done, steps in total)."""


class Heartbeat:
    """Heartbeats of one claim. Every method raises `RunCancelled` and `LeaseLost`.

    `drills` is the folder of the setting of that name: a stage whose file is there is held.
    """

    def __init__(
        self, database: Database, claim: Claim, *, lease_seconds: float, drills: Path | None
    ) -> None:
        self._database = database
        self._claim = claim
        self._lease_seconds = lease_seconds
        self._drills = drills

    def enter(self, stage: str) -> None:
        """Record that the run begins this stage; returns once no drill holds the stage."""
        with self._database.write() as connection:
            state = runs.enter_stage(
                connection, self._claim, stage, lease_seconds=self._lease_seconds
            )
        self._raise_if_cancelled(state)
        drill = self._drills / stage if self._drills is not None else None
        while drill is not None and drill.exists():
            self.beat(stage, None)
            time.sleep(BEAT_SECONDS)

    def beat(self, stage: str, progress: dict[str, Any] | None) -> None:
        """One heartbeat."""
        with self._database.write() as connection:
            state = runs.heartbeat(
                connection,
                self._claim,
                stage=stage,
                progress=progress,
                lease_seconds=self._lease_seconds,
            )
        self._raise_if_cancelled(state)

    def ticker(self, stage: str) -> Tick:
        """A function that reports progress, in at most one heartbeat each `BEAT_SECONDS`."""
        started = last = time.monotonic()

        def tick(done: int, total: int) -> None:
            nonlocal last
            now = time.monotonic()
            if now - last < BEAT_SECONDS:
                return
            last = now
            eta = (now - started) / done * (total - done) if done else None
            progress = {"done": done, "total": total, "unit": "steps", "eta_seconds": eta}
            self.beat(stage, progress)

        return tick

    def _raise_if_cancelled(self, state: str) -> None:
        if state == "cancelling":
            raise RunCancelled(self._claim.run_id)
