"""The log lines of each attempt at a run, in the store, where every replica can read them."""

from __future__ import annotations

from acclimate.storage.store import Store, StoreMissing

MOST_BYTES = 4 * 2**20
"""Bytes kept of one attempt: the newest lines."""


class RunLogs:
    """JSON lines under `logs/<run>/<attempt>.jsonl`; a file is replaced as a whole as it grows."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def write(self, run_id: str, attempt: int, lines: bytes) -> None:
        """Replace the attempt's lines. Raises `StoreError`, `OSError`."""
        self._store.put_bytes(newest(lines), _key(run_id, attempt))

    def read(self, run_id: str, attempt: int) -> bytes:
        """The attempt's lines as last written; empty before the first."""
        try:
            return self._store.get_bytes(_key(run_id, attempt))
        except StoreMissing:
            return b""

    def delete(self, run_id: str, attempts: int) -> None:
        """Delete the lines of the run's attempts from 1 to `attempts`."""
        for attempt in range(1, attempts + 1):
            self._store.delete(_key(run_id, attempt))


def newest(lines: bytes) -> bytes:
    """The last whole lines within `MOST_BYTES`."""
    return lines if len(lines) <= MOST_BYTES else lines[-MOST_BYTES:].partition(b"\n")[2]


def _key(run_id: str, attempt: int) -> str:
    return f"logs/{run_id}/{attempt}.jsonl"
