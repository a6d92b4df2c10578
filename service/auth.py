"""Bearer keys and scopes. A request never waits for the database when its key was seen within the last 30 seconds."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from fastapi import Request

from acclimate.storage import keys
from acclimate.storage.database import Database, Unavailable
from acclimate.storage.keys import Key
from service.errors import Refusal

FRESH_SECONDS = 30.0
STALE_SECONDS = 15 * 60.0
"""How long a key that was seen before goes on while the database does not answer."""
HELD_KEYS = 10_000


class Keyring:
    """Keys by fingerprint, as the database last said; unknown ones are remembered too, so that guessing costs it little."""

    def __init__(self, database: Database, clock: Callable[[], float] = time.monotonic) -> None:
        self._database = database
        self._clock = clock
        self._seen: dict[str, tuple[float, Key | None]] = {}

    async def find(self, secret: str) -> Key | None:
        """The key of this secret, or None. Raises `Unavailable` for one never seen while the database is away."""
        fingerprint = keys.fingerprint(secret)
        seen_at, key = self._seen.get(fingerprint, (float("-inf"), None))
        age = self._clock() - seen_at
        if age < FRESH_SECONDS:
            return key
        try:
            key = await asyncio.to_thread(self._look_up, fingerprint)
        except Unavailable:
            if key is not None and age < STALE_SECONDS:
                return key
            raise
        if len(self._seen) >= HELD_KEYS:
            self._seen.clear()
        self._seen[fingerprint] = (self._clock(), key)
        return key

    def forget(self) -> None:
        """Ask the database again for every key: one was revoked through this process."""
        self._seen.clear()

    def _look_up(self, fingerprint: str) -> Key | None:
        with self._database.read() as connection:
            return keys.find(connection, fingerprint)


class Scope:
    """A route's dependency: the key of the request, if it has the scope. Every route but health declares one."""

    def __init__(self, scope: str) -> None:
        self.scope = scope

    async def __call__(self, request: Request) -> Key:
        kind, _, secret = request.headers.get("authorization", "").partition(" ")
        if kind.lower() != "bearer" or not secret:
            raise Refusal(
                "unauthorized", "send the header Authorization: Bearer KEY", headers={"WWW-Authenticate": "Bearer"}
            )
        key = await request.app.state.equipment.keyring.find(secret.strip())
        if key is None:
            raise Refusal("unauthorized", "this key is unknown or revoked", headers={"WWW-Authenticate": "Bearer"})
        if not key.may(self.scope):
            raise Refusal(
                "forbidden", f"this needs the scope {self.scope}; the key has {', '.join(sorted(key.scopes))}"
            )
        request.state.key = key
        return key
