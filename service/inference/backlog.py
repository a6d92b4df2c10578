"""How much of this replica's log waits on its own disk for store and database: bounded, and
told.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from ulid import ULID

from service.metrics import ServingMetrics

LOOK_SECONDS = 1.0
FILE_BYTES = 64 * 2**20
FILES = "*/*.arrow"
"""Of every model, open and sealed; what is damaged and set aside waits for nobody."""


class Backlog:
    """For one thread. `look` now and then; what is appended between two looks is told with
    `grow`.
    """

    def __init__(
        self,
        folder: Path,
        most_bytes: int,
        metrics: ServingMetrics,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._folder = folder
        self._most_bytes = most_bytes
        self.most_file_bytes = min(FILE_BYTES, most_bytes // 4)
        """A file that has become so large is sealed: none outgrows memory, and none holds all that
        may wait.
        """
        self._metrics = metrics
        self._clock = clock
        self._bytes = 0
        self._looked_at = float("-inf")

    @property
    def has_room(self) -> bool:
        return self._bytes < self._most_bytes

    def grow(self, appended: int) -> None:
        """So many bytes more wait."""
        self._bytes += appended

    def look(self) -> None:
        """Count what is there, at most once a second, and tell it as metrics."""
        if time.monotonic() - self._looked_at < LOOK_SECONDS:
            return
        self._looked_at = time.monotonic()
        sizes = dict(filter(None, map(_size, self._folder.glob(FILES))))
        self._bytes = sum(sizes.values())
        oldest = min(map(_opened_at, sizes), default=self._clock())
        self._metrics.backlog_bytes.set(self._bytes)
        self._metrics.backlog_age.set(max(0.0, self._clock() - oldest))


def _size(path: Path) -> tuple[Path, int] | None:
    """Its bytes; None where it was moved to the store between the two looks."""
    try:
        return path, path.stat().st_size
    except FileNotFoundError:
        return None


def _opened_at(path: Path) -> float:
    """When the file was begun, unix seconds: its name is its id, which says so."""
    return float(ULID.from_str(path.name.partition(".")[0]).timestamp)
