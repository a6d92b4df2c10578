"""Bearer keys and scopes. A request does not wait for the database when its key was checked within
the last 30 seconds.
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
"""How long a known key stays valid while the database does not answer."""
HELD_KEYS = 10_000


class Keyring:
    """A cache of keys by fingerprint; unknown keys are cached too, so that guessing keys costs the
    database little.

    While `keep_fresh` runs, cached keys are refreshed before they expire: a request waits for the
    database only with a key that is not cached. While the database does not answer, one request
    waits for it; the others use the cache.
    """

    def __init__(self, database: Database, clock: Callable[[], float] = time.monotonic) -> None:
        self._database = database
        self._clock = clock
        self._seen: dict[str, tuple[float, Key | None]] = {}
        self._away = False
        # Its own threads: lookups that wait for the database do not block the default threads.
        self._threads = ThreadPoolExecutor(2, thread_name_prefix="keys")

    async def find(self, secret: str) -> Key | None:
        """The key of this secret, or None.

        Raises `Unavailable` for a key that is not cached while the database does not answer.
        """
        fingerprint = keys.fingerprint(secret)
        seen_at, key = self._seen.get(fingerprint, (float("-inf"), None))
        age = self._clock() - seen_at
        if age < FRESH_SECONDS:
            return key
        still_valid = key is not None and age < STALE_SECONDS
        if still_valid and self._away:
            return key
        try:
            found = await self._ask([fingerprint])
        except Unavailable:
            if still_valid:
                return key
            raise
        if len(self._seen) >= HELD_KEYS:
            self._seen.clear()
        self._seen[fingerprint] = (self._clock(), found.get(fingerprint))
        return found.get(fingerprint)

    async def keep_fresh(self) -> None:
        """Refresh the cached keys periodically, until cancelled."""
        while True:
            await asyncio.sleep(REFRESH_SECONDS)
            with suppress(Unavailable):
                await self.refresh()

    async def refresh(self) -> None:
        """Read every cached key from the database again. Raises `Unavailable`."""
        asked_at = self._clock()
        known = dict(self._seen)
        found = await self._ask(list(known))
        for fingerprint, seen in known.items():
            # An entry that was removed or replaced meanwhile is newer.
            if self._seen.get(fingerprint) is seen:
                self._seen[fingerprint] = (asked_at, found.get(fingerprint))

    def forget(self) -> None:
        """Empty the cache, after a key was revoked through this process."""
        self._seen.clear()

    def close(self) -> None:
        """Stop the threads."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _ask(self, fingerprints: list[str]) -> dict[str, Key]:
        """The keys that exist and are not revoked, by fingerprint. Raises `Unavailable`."""
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
    """A route's dependency: the key of the request. Every route except health has one.

    Raises the refusals 401 and, for a key without the scope, 403.
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
            has = ", ".join(sorted(key.scopes))
            detail = f"this request needs the scope {self.scope}; the key has {has}"
            raise Refusal("forbidden", detail)
        request.state.key = key
        return key
