"""What an answer depends on besides its version, and how it moves on. No torch here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from acclimate.learning.data import Floats


@dataclass(frozen=True, kw_only=True, eq=False)
class State:
    """What an answer depends on besides the version; never written to.

    Its numbers are float32, so that bytes keep them exactly: class priors (1, C) for
    `PriorAdapted`; mean and deviation (2, D) of each column, in the seed's deviations, for
    `Standardised`.
    """

    numbers: Floats

    def packed(self) -> bytes:
        """The numbers, little-endian; the mode knows how many rows they are."""
        return self.numbers.astype("<f4").tobytes()


@dataclass(frozen=True, kw_only=True, eq=False)
class Memory:
    """What moves from one state to the next: bounded working memory of a replica.

    An answer is repeated without it. `rows` were seen in all, `pending` of them since `state` was
    renewed. `recent` is (<= memory, C) newest answers for `PriorAdapted`; weighted sums (2, D) of
    columns and of their squares, with their `weight`, for `Standardised`.
    """

    state: State
    recent: NDArray[Any]
    weight: float = 0.0
    rows: int = 0
    pending: int = 0
