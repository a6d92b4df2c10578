"""Measures and limits the part of this replica's log that waits on its disk for store and
database.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from ulid import ULID

from service.metrics import ServingMetrics

MEASURE_SECONDS = 1.0
FILE_BYTES = 64 * 2**20
FILES = "*/*.arrow"
"""The open and sealed files of every model; quarantined files do not count."""


class Backlog:
    """The bytes that wait. For one thread, which calls `measure` periodically and `grow` after each
    append.
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
        """The size at which a file is sealed, so that it fits into memory and into the limit."""
        self._metrics = metrics
        self._clock = clock
        self._bytes = 0
        self._measured_at = float("-inf")

    @property
    def has_room(self) -> bool:
        """Whether less waits than the limit."""
        return self._bytes < self._most_bytes

    def grow(self, appended: int) -> None:
        """Add appended bytes to the measured ones."""
        self._bytes += appended

    def measure(self) -> None:
        """Measure the files, at most once per `MEASURE_SECONDS`, and set the metrics."""
        if time.monotonic() - self._measured_at < MEASURE_SECONDS:
            return
        self._measured_at = time.monotonic()
        sizes = dict(filter(None, map(_size, self._folder.glob(FILES))))
        self._bytes = sum(sizes.values())
        oldest = min(map(_opened_at, sizes), default=self._clock())
        self._metrics.backlog_bytes.set(self._bytes)
        self._metrics.backlog_age.set(max(0.0, self._clock() - oldest))


def _size(path: Path) -> tuple[Path, int] | None:
    """The file and its bytes; None where it was moved to the store meanwhile."""
    try:
        return path, path.stat().st_size
    except FileNotFoundError:
        return None


def _opened_at(path: Path) -> float:
    """When the file was opened, in unix seconds, from the ULID that is its name."""
    return float(ULID.from_str(path.name.partition(".")[0]).timestamp)
