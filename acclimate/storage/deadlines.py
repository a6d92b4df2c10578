"""Connections to Postgres that wait for no answer longer than they may.

A server that is frozen keeps its connections open: neither its own time limits nor those of TCP end
a wait for it, and a unix socket has none. So whoever waits says until when, and a thread that finds
one overdue ends its connection, which the waiting thread then hears of as it would of a server that
died.
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
    """Ends connections that are waited for too long. One a process: threads do not outlive
    a fork.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._due: dict[int, tuple[float, int]] = {}
        self._numbers = itertools.count()
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None

    @contextmanager
    def waiting(self, file: int) -> Iterator[None]:
        """While the block runs, the socket is shut down once it has run too long."""
        number = next(self._numbers)
        with self._lock:
            self._due[number] = (time.monotonic() + self._seconds, file)
            if self._thread is None:
                self._thread = threading.Thread(target=self._watch, name="deadlines", daemon=True)
                self._thread.start()
        try:
            yield
        finally:
            # Under the lock, so that no socket that has this number next is shut down in its place.
            with self._lock:
                del self._due[number]

    def close(self) -> None:
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
    """A connection whose every wait is watched, once it has been given a watchdog."""

    watchdog: Watchdog | None = None

    def wait(self, *arguments: Any, **options: Any) -> Any:
        """As psycopg does, no longer than the watchdog lets it."""
        if self.watchdog is None:
            return super().wait(*arguments, **options)
        with self.watchdog.waiting(self.pgconn.socket):
            return super().wait(*arguments, **options)
