"""What every method is to the benchmark: something that answers rows, and is then shown them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from acclimate.learning.data import Floats, Integers, Json, Rows
from acclimate.learning.models.bundle import Bundle

Answer = Callable[[Rows], Floats]

OUTCOMES = {
    "P": "promoted",
    "g": "refused by a gate",
    "n": "nothing to learn",
    "A": "alarm, quarantined",
    "l": "too little to learn from",
    "w": "too few rows, they wait for the next window",
    "-": "asked only",
}


@dataclass(frozen=True, kw_only=True, eq=False)
class Learnt:
    """What a method made of a window; `replaced` answers as the version did that no longer serves,
    None where none changed.
    """

    outcome: str
    detail: str = ""
    replaced: Answer | None = None
    told: Json = field(default_factory=dict)


class Learner(Protocol):
    """A method on one stream, from version 1 on."""

    anchor: Bundle

    def answers(self, x: Rows) -> Floats:
        """Probabilities (N, C) for the rows of the next window, in their order: what would be
        served.
        """

    def learn(self, x: Rows, y: Integers, answers: Floats) -> Learnt:
        """Learns from the window just answered. Only an oracle, an audit and a score look at y."""
