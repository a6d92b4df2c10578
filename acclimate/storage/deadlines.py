"""Connections to Postgres with a deadline for every wait.

A server that is frozen keeps its connections open: neither its own time limits nor those of TCP end
a wait for it, and a unix socket has none. So every wait has a deadline, and a thread shuts the
socket of an overdue one down: the waiting thread gets the error of a server that died.
"""

from __future__ import annotations

import itertools
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import psycopg

POLL_SECONDS = 0.25


class Watchdog:
    """Shuts down connections that are waited for too long. One a process: threads end at a fork."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._due: dict[int, tuple[float, int]] = {}
        self._numbers = itertools.count()
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None

    @contextmanager
    def waiting(self, file: int) -> Iterator[None]:
        """Shut the socket with this file number down if the block runs too long."""
        number = next(self._numbers)
        with self._lock:
            self._due[number] = (time.monotonic() + self._seconds, file)
            if self._thread is None:
                self._thread = threading.Thread(target=self._watch, name="deadlines", daemon=True)
                self._thread.start()
        try:
            yield
        finally:
            # Under the lock: the next socket with this file number must not be shut down instead.
            with self._lock:
                del self._due[number]

    def close(self) -> None:
        """Stop the thread."""
        self._closed.set()

    def _watch(self) -> None:
        while not self._closed.wait(POLL_SECONDS):
            now = time.monotonic()
            with self._lock:
                overdue = [file for at, file in self._due.values() if at < now]
                for file in overdue:
                    with suppress(OSError), socket.socket(fileno=os.dup(file)) as waited_for:
                        waited_for.shutdown(socket.SHUT_RDWR)


class Connection(psycopg.Connection[Any]):
    """A connection whose every wait has a deadline, once it has a watchdog."""

    watchdog: Watchdog | None = None

    def wait(self, *arguments: Any, **options: Any) -> Any:
        """Wait as psycopg does, at most as long as the watchdog allows."""
        if self.watchdog is None:
            return super().wait(*arguments, **options)
        with self.watchdog.waiting(self.pgconn.socket):
            return super().wait(*arguments, **options)
