"""How many rows one key may send: a bucket for each key and replica, which no request ever waits
for.

Nothing is asked of broker or database on the way to an answer, so the limit is each replica's share
of the whole, and holds while both are away. A key whose requests all reach one replica of several
gets that one's share.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

from service.errors import Refusal

BURST_SECONDS = 10.0
"""Who was silent for so long may send the rows of so long at once."""


@dataclass
class Bucket:
    """How many rows are left, below 0 after a request larger than what was left, and when that was
    so.
    """

    rows: float
    at: float


class RateLimit:
    """`admit` before anything of a request is read, `charge` when its rows are counted. For the
    event loop's thread.
    """

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
        """Raises the 429 refusal while the key has used up its rows; a request costs it a row,
        whatever is in it.
        """
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
        """An admitted request has so many rows."""
        if self._rows_a_second is not None:
            self._bucket(key)[0].rows -= rows - 1

    def _bucket(self, key: str) -> tuple[Bucket, float]:
        """The key's bucket as it is now, and how many rows run into it in a second."""
        assert self._rows_a_second is not None
        rate, now = self._rows_a_second / max(1, self._replicas()), self._clock()
        most = max(rate * BURST_SECONDS, float(self._most_request_rows))
        bucket = self._buckets.setdefault(key, Bucket(rows=most, at=now))
        bucket.rows = min(most, bucket.rows + (now - bucket.at) * rate)
        bucket.at = now
        return bucket, rate
