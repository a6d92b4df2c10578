"""Writes this replica's heartbeat to the database and counts the live replicas."""

from __future__ import annotations

import time

from acclimate.storage.database import Database
from acclimate.storage.registry import replicas
from service.inference.recorder import Recorder

SILENT_SECONDS = 4.0


class Heartbeat:
    """The heartbeat of one replica; `beat` from one thread, the rest from any."""

    def __init__(self, *, replica: str, database: Database, recorder: Recorder) -> None:
        self._replica = replica
        self._database = database
        self._recorder = recorder
        self._written_at = time.monotonic()
        self.live_replicas = 1

    @property
    def silent(self) -> bool:
        """Whether no heartbeat could be written for `SILENT_SECONDS`.

        Meanwhile the replica serves the loaded versions and keeps logged rows on its own disk.
        """
        return time.monotonic() - self._written_at > SILENT_SECONDS

    def beat(self) -> None:
        """Write one heartbeat with the open row counts, and update `live_replicas`.

        Raises `Unavailable` while the database does not answer.
        """
        with self._database.write() as connection:
            self.live_replicas = replicas.heartbeat(
                connection, self._replica, self._recorder.open_rows()
            )
        self._written_at = time.monotonic()
