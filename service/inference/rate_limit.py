"""Limits the rows per second of one key with a token bucket per key and replica.

No request waits for broker or database: each replica enforces its share of the limit, also while
both are down. A key whose requests all reach one of several replicas gets only that replica's
share.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

from service.errors import Refusal

BURST_SECONDS = 10.0
"""The capacity of a bucket, in seconds of its rate; at least one largest request."""


@dataclass
class Bucket:
    """The rows left at the time `at`; negative after a request that was larger than the rest."""

    rows: float
    at: float


class RateLimit:
    """`admit` a request before it is read, then `charge` its rows. For the event loop's thread."""

    def __init__(
        self,
        rows_a_second: float | None,
        *,
        most_request_rows: int,
        replicas: Callable[[], int],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._rows_a_second = rows_a_second
        self._most_request_rows = most_request_rows
        self._replicas = replicas
        self._clock = clock
        self._buckets: dict[str, Bucket] = {}

    def admit(self, key: str) -> None:
        """Charge one row for the request. Raises the 429 refusal while the bucket is empty."""
        if self._rows_a_second is None:
            return
        bucket, rate = self._bucket(key)
        if bucket.rows <= 0:
            seconds = max(1, math.ceil(-bucket.rows / rate))
            detail = (
                f"this key may send {self._rows_a_second:g} rows a second: send more in {seconds} s"
            )
            raise Refusal("rate-limited", detail, headers={"Retry-After": str(seconds)})
        bucket.rows -= 1

    def charge(self, key: str, rows: int) -> None:
        """Charge the rows of an admitted request."""
        if self._rows_a_second is not None:
            self._bucket(key)[0].rows -= rows - 1

    def _bucket(self, key: str) -> tuple[Bucket, float]:
        """The key's refilled bucket, and its rate in rows per second."""
        assert self._rows_a_second is not None
        rate = self._rows_a_second / max(1, self._replicas())
        now = self._clock()
        most = max(rate * BURST_SECONDS, float(self._most_request_rows))
        bucket = self._buckets.setdefault(key, Bucket(rows=most, at=now))
        bucket.rows = min(most, bucket.rows + (now - bucket.at) * rate)
        bucket.at = now
        return bucket, rate
