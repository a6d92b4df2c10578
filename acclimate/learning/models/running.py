"""A version that answers in its mode and moves its own state on, as a replica does."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from acclimate.learning.data import Floats, Rows
from acclimate.learning.models.bundle import Bundle
from acclimate.learning.models.mode_state import Memory
from acclimate.learning.models.modes import RENEW_ROWS, Plain


class Running:
    """For benchmarks and judgement, in memory. Not for several threads."""

    def __init__(self, bundle: Bundle, *, request_rows: int = RENEW_ROWS) -> None:
        self.bundle = bundle
        plain = isinstance(bundle.mode, Plain)
        self.memory: Memory | None = None if plain else bundle.mode.begin()
        self._request_rows = request_rows

    def answer(self, x: Rows) -> Floats:
        """What is served (N, C) to the rows x in requests of `request_rows`; the state moves on."""
        if self.memory is None:
            return self.bundle.predict(x).probabilities
        nothing = np.empty((0, len(self.bundle.input_spec.classes)), np.float32)
        return np.concatenate([nothing, *self._portions(x)])

    def _portions(self, x: Rows) -> Iterator[Floats]:
        for start in range(0, len(x), self._request_rows):
            assert self.memory is not None
            rows = x[start : start + self._request_rows]
            answered = self.bundle.predict(rows, self.memory.state)
            self.memory = self.bundle.mode.advance(self.memory, answered.seen)
            yield answered.probabilities
