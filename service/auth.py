"""Bearer keys and scopes. A request never waits for the database when its key was seen within the
last 30 seconds.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from fastapi import Request

from acclimate.storage.database import Database, Unavailable
from acclimate.storage.registry import keys
from acclimate.storage.registry.keys import Key
from service.errors import Refusal

FRESH_SECONDS = 30.0
REFRESH_SECONDS = 10.0
PATIENT_SECONDS = 2.0
STALE_SECONDS = 15 * 60.0
"""How long a key that was seen before goes on while the database does not answer."""
HELD_KEYS = 10_000


class Keyring:
    """Keys by fingerprint, as the database last said; unknown ones are remembered too, so that
    guessing costs it little.

    While `keep_fresh` runs, what is known is asked anew before it is old, so that requests wait for
    the database only with keys that this replica has not seen. One that does not answer is waited
    for once, not by every request.
    """

    def __init__(self, database: Database, clock: Callable[[], float] = time.monotonic) -> None:
        self._database = database
        self._clock = clock
        self._seen: dict[str, tuple[float, Key | None]] = {}
        self._away = False
        # Its own: lookups that wait for a database that does not answer leave everybody else's
        # threads alone.
        self._threads = ThreadPoolExecutor(2, thread_name_prefix="keys")

    async def find(self, secret: str) -> Key | None:
        """The key of this secret, or None. Raises `Unavailable` for one never seen while the
        database is away.
        """
        fingerprint = keys.fingerprint(secret)
        seen_at, key = self._seen.get(fingerprint, (float("-inf"), None))
        age = self._clock() - seen_at
        if age < FRESH_SECONDS:
            return key
        goes_on = key is not None and age < STALE_SECONDS
        if goes_on and self._away:
            return key
        try:
            found = await self._ask([fingerprint])
        except Unavailable:
            if goes_on:
                return key
            raise
        if len(self._seen) >= HELD_KEYS:
            self._seen.clear()
        self._seen[fingerprint] = (self._clock(), found.get(fingerprint))
        return found.get(fingerprint)

    async def keep_fresh(self) -> None:
        """Refresh what is known every few seconds, until cancelled."""
        while True:
            await asyncio.sleep(REFRESH_SECONDS)
            with suppress(Unavailable):
                await self.refresh()

    async def refresh(self) -> None:
        """Every key that was seen is as the database says now. Raises `Unavailable`."""
        asked_at, known = self._clock(), dict(self._seen)
        found = await self._ask(list(known))
        for fingerprint, seen in known.items():
            # What was forgotten or asked again meanwhile is newer.
            if self._seen.get(fingerprint) is seen:
                self._seen[fingerprint] = (asked_at, found.get(fingerprint))

    def forget(self) -> None:
        """Ask the database again for every key: one was revoked through this process."""
        self._seen.clear()

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _ask(self, fingerprints: list[str]) -> dict[str, Key]:
        """Those of the keys that are there and not revoked. Raises `Unavailable`."""
        asked = asyncio.get_running_loop().run_in_executor(
            self._threads, self._look_up, fingerprints
        )
        try:
            found = await asyncio.wait_for(asked, PATIENT_SECONDS)
        except TimeoutError:
            self._away = True
            raise Unavailable(f"no answer within {PATIENT_SECONDS:g} seconds") from None
        except Unavailable:
            self._away = True
            raise
        self._away = False
        return found

    def _look_up(self, fingerprints: list[str]) -> dict[str, Key]:
        with self._database.read() as connection:
            return keys.find_all(connection, fingerprints)


class Scope:
    """A route's dependency: the key of the request, if it has the scope. Every route but health
    declares one.
    """

    def __init__(self, scope: str) -> None:
        self.scope = scope

    async def __call__(self, request: Request) -> Key:
        kind, _, secret = request.headers.get("authorization", "").partition(" ")
        if kind.lower() != "bearer" or not secret:
            raise Refusal(
                "unauthorized",
                "send the header Authorization: Bearer KEY",
                headers={"WWW-Authenticate": "Bearer"},
            )
        keyring: Keyring = request.app.state.service.keyring
        key = await keyring.find(secret.strip())
        if key is None:
            raise Refusal(
                "unauthorized",
                "this key is unknown or revoked",
                headers={"WWW-Authenticate": "Bearer"},
            )
        if not key.allows(self.scope):
            raise Refusal(
                "forbidden",
                f"this needs the scope {self.scope}; the key has {', '.join(sorted(key.scopes))}",
            )
        request.state.key = key
        return key
