"""What a version answers in a state of its mode: version and state together give the same answer
for ever.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from acclimate.learning.data import Floats, Rows
from acclimate.learning.models import modes
from acclimate.learning.models.encoding import CLIP, Normalisation
from acclimate.learning.models.modes import RENEW_ROWS, State
from acclimate.learning.models.network import Bundle


@dataclass(frozen=True, kw_only=True, eq=False)
class Answer:
    """probabilities (N, C) are what is served, raw (N, C) what the networks said: another array
    only in `prior`.

    seen (N, C or D) is what `advance` learns from.
    """

    probabilities: Floats
    raw: Floats
    seen: Floats


def answer(bundle: Bundle, state: State | None, x: Rows) -> Answer:
    """The version's answer to raw rows x (N, *shape) in this state, the same for ever; `None`: the
    networks' own, in any mode.
    """
    mode = bundle.mode
    if state is None or mode.name == "plain":
        raw = bundle.probabilities(x)
        return Answer(probabilities=raw, raw=raw, seen=raw)
    if mode.name == "prior":
        raw = bundle.probabilities(x)
        return Answer(probabilities=modes.reweighted(mode, state, raw), raw=raw, seen=raw)
    assert isinstance(bundle.encoding, Normalisation), (
        "problem() lets no other version into this mode"
    )
    seen = bundle.encoding.features(x)
    read = np.clip((seen - state.numbers[0]) / state.numbers[1], -CLIP, CLIP).reshape(x.shape)
    raw = np.asarray(bundle.member_probabilities(read, encoded=True).mean(axis=0), dtype=np.float32)
    return Answer(probabilities=raw, raw=raw, seen=seen)


class Running:
    """A version that answers in its mode and moves its own state on as a replica does, in memory:
    for benchmarks and judgement.

    Not for several threads. In `plain` it answers as the bundle.
    """

    def __init__(self, bundle: Bundle, *, request_rows: int = RENEW_ROWS) -> None:
        self.bundle = bundle
        self.memory = None if bundle.mode.name == "plain" else modes.begin(bundle.mode)
        self._request_rows = request_rows

    def answer(self, x: Rows) -> Floats:
        """What is served (N, C) to the rows x, as if they came in requests of `request_rows`; the
        state moves on.
        """
        if self.memory is None:
            return self.bundle.probabilities(x)
        return np.concatenate(
            [np.empty((0, len(self.bundle.input_spec.classes)), np.float32), *self._portions(x)]
        )

    def _portions(self, x: Rows) -> Iterator[Floats]:
        for start in range(0, len(x), self._request_rows):
            assert self.memory is not None
            answered = answer(self.bundle, self.memory.state, x[start : start + self._request_rows])
            self.memory = modes.advance(self.bundle.mode, self.memory, answered.seen)
            yield answered.probabilities
