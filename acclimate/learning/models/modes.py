"""Serving modes: how the networks' answers become what is served. No torch here.

`Plain` serves the networks' answers. `PriorAdapted` re-weights them to the class priors of the
newest answers (EM of Saerens, Latinne and Decaestecker, Neural Computation 14, 2002).
`Standardised` reads vectors in the running mean and deviation of the newest rows instead of the
seed's. A mode is part of a version. What it follows is a small `State`; version and state together
give the same answer for ever. All statistics are of the past: rows are answered in the state before
them, then the state moves.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from acclimate.learning.data import Floats, Json, Rows
from acclimate.learning.models.encoding import CLIP, Normalisation
from acclimate.learning.models.mode_state import Memory, State
from acclimate.learning.models.prior_estimation import PSEUDO_ROWS, distribution, estimated_prior
from acclimate.learning.models.tokens import Tokens
from acclimate.learning.results import DriftKind
from acclimate.learning.spec import InputSpec
from acclimate.learning.stats.significance import chi_squared_quantile, total_variation
from acclimate.learning.thresholds import DEFAULT

PRIOR_MEMORY = 192
"""Newest answers whose class priors are followed: fewer are noise, more lag behind."""
STANDARDISE_MEMORY = 500
"""Rows over which the weight of a row in the running mean and deviation falls to 1/e."""
STANDARDISE_PSEUDO_ROWS = 50.0
"""The starting state counts as so many rows, and is forgotten as rows are."""
RENEW_ROWS = 32
"""A state holds for at least so many rows: fewer would make more states than a log can keep."""
SMALLEST_DEVIATION = 0.1
"""In the seed's deviations: a column that hardly moves is scaled up ten times at most."""

Encoding = Normalisation | Tokens
Read = NDArray[Any]
"""Rows as networks read them: float32 (N, *shape), or token ids (N, L)."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Plain:
    """Serves the networks' answers as they are; it has no state."""

    name: ClassVar[str] = "plain"
    start: ClassVar[State | None] = None
    adapts_scale: ClassVar[bool] = False
    adapts_priors: ClassVar[bool] = False

    def suits(self, drift: DriftKind) -> bool:
        """Whether version 1 should serve in this mode under such drift."""
        return drift != "prior"

    def read(self, encoding: Encoding, x: Rows, state: State | None) -> Read:
        """What the networks read of raw rows x (N, *shape)."""
        return encoding.apply(x)

    def features(self, encoding: Encoding, x: Rows, state: State | None) -> Floats:
        """The rows as they are read, as vectors (N, F) that can be compared."""
        return encoding.features(x)

    def adapted(self, raw: Floats, state: State | None) -> Floats:
        """What is served (N, C) where the networks answer raw (N, C)."""
        return raw

    def observed(self, encoding: Encoding, x: Rows, raw: Floats) -> Floats:
        """What `advance` takes in of rows that were answered."""
        return raw

    def caught_up(self, encoding: Encoding, x: Rows) -> Plain:
        """The mode once it has followed the traffic to these rows."""
        return self

    def problem(self, spec: InputSpec, *, raw: bool) -> str | None:
        """Why a version that reads such rows cannot serve in this mode; None where it can."""
        return None

    def begin(self) -> Memory:
        raise ValueError("a version in plain mode has no state")

    def advance(self, memory: Memory, seen: Floats) -> Memory:
        raise ValueError("a version in plain mode has no state")

    def distance(self, state: State) -> float:
        """How far the state is from the seed."""
        return 0.0

    def unpacked(self, data: bytes) -> State:
        raise ValueError("a version in plain mode has no states")


PLAIN = Plain()


@dataclass(frozen=True, kw_only=True, eq=False)
class _Stateful:
    """The constants that both modes with state have. `start` is part of the version."""

    memory: int
    pseudo_rows: float
    start: State
    renew_rows: int = RENEW_ROWS

    def unpacked(self, data: bytes) -> State:
        """The state that `State.packed` took apart. Raises ValueError."""
        numbers = np.frombuffer(data, dtype="<f4").astype(np.float32)
        return State(numbers=numbers.reshape(self.start.numbers.shape))

    def _after(self, memory: Memory, seen: Floats) -> Memory:
        rows = len(seen)
        return replace(memory, rows=memory.rows + rows, pending=memory.pending + rows)

    def _constants_problem(self) -> str | None:
        if min(self.memory, self.renew_rows) < 1 or not 0 < self.pseudo_rows < math.inf:
            return "a mode needs a starting state, and memory, renew_rows and pseudo_rows above 0"
        return None

    def _start_problem(self, expected: tuple[int, int]) -> str | None:
        numbers = self.start.numbers
        finite = numbers.shape == expected and bool(np.isfinite(numbers).all())
        if not finite or not (numbers[-1] > 0).all():
            return (
                f"the starting state must be finite, of shape {list(expected)}, "
                "and positive in its last row"
            )
        return None


@dataclass(frozen=True, kw_only=True, eq=False)
class PriorAdapted(_Stateful):
    """Re-weights the networks' answers to the class priors of the newest answers.

    `source` (C,) are the priors that the networks learnt with; `share` in 0..1 is how much of the
    re-weighting is done.
    """

    name: ClassVar[str] = "prior"
    adapts_scale: ClassVar[bool] = False
    adapts_priors: ClassVar[bool] = True
    source: tuple[float, ...]
    share: float = 1.0

    @staticmethod
    def of(
        source: Floats | tuple[float, ...], *, start: Floats | None = None, share: float = 1.0
    ) -> PriorAdapted:
        """Starts from the source priors (C,), or from `start` (C,). Raises ValueError."""
        priors = distribution(np.asarray(source))
        first = priors if start is None else distribution(np.asarray(start))
        return PriorAdapted(
            memory=PRIOR_MEMORY,
            pseudo_rows=PSEUDO_ROWS,
            source=tuple(priors.tolist()),
            share=share,
            start=State(numbers=first[None].astype(np.float32)),
        )

    def suits(self, drift: DriftKind) -> bool:
        return drift in ("none", "prior")

    def read(self, encoding: Encoding, x: Rows, state: State | None) -> Read:
        return encoding.apply(x)

    def features(self, encoding: Encoding, x: Rows, state: State | None) -> Floats:
        return encoding.features(x)

    def adapted(self, raw: Floats, state: State | None) -> Floats:
        if state is None:
            return raw
        weights = (state.numbers[0].astype(np.float64) / np.asarray(self.source)) ** self.share
        joint = raw * weights
        served = joint / np.maximum(joint.sum(axis=1, keepdims=True), 1e-300)
        return np.asarray(served, dtype=np.float32)

    def observed(self, encoding: Encoding, x: Rows, raw: Floats) -> Floats:
        return raw

    def caught_up(self, encoding: Encoding, x: Rows) -> PriorAdapted:
        return self

    def problem(self, spec: InputSpec, *, raw: bool) -> str | None:
        classes = len(spec.classes)
        if (wrong := self._constants_problem()) is not None:
            return wrong
        if len(self.source) != classes or not all(0 < part < math.inf for part in self.source):
            return f"the source prior must be {classes} positive class priors"
        if not 0 <= self.share <= 1:
            return f"share {self.share} must be in 0..1"
        return self._start_problem((1, classes))

    def begin(self) -> Memory:
        """Working memory in the version's own starting state."""
        nothing = np.empty((0, self.start.numbers.shape[1]), dtype=np.float32)
        return Memory(state=self.start, recent=nothing)

    def advance(self, memory: Memory, seen: Floats) -> Memory:
        """The memory after the answers `seen` (N, C), in order.

        `state` is a new one when `renew_rows` came since it was renewed. Rows that are not finite
        are passed over. The same rows in the same portions give the same states, bit for bit.
        """
        seen = seen[np.isfinite(seen).all(axis=1)]
        if not len(seen):
            return memory
        recent = np.concatenate([memory.recent, seen])[-self.memory :]
        after = self._after(replace(memory, recent=recent), seen)
        if after.pending < self.renew_rows:
            return after
        after = self._since_the_swing(after)
        found = estimated_prior(
            after.recent,
            np.asarray(self.source),
            pseudo_rows=self.pseudo_rows,
            guess=after.state.numbers[0],
        )
        state = State(numbers=found[None].astype(np.float32))
        return replace(after, state=state, pending=0)

    def distance(self, state: State) -> float:
        """Total variation between the state's priors and the source, 0..1."""
        return total_variation(state.numbers[0], np.asarray(self.source))

    def _since_the_swing(self, memory: Memory) -> Memory:
        """The pending answers alone where the state's priors do not explain them.

        A likelihood ratio of the priors that explain them best against the state's, which older
        answers gave and which is as uncertain as those are few.
        """
        pending, older = memory.recent[-memory.pending :], len(memory.recent) - memory.pending
        if older <= 0:
            return memory
        source, before = np.asarray(self.source), memory.state.numbers[0].astype(np.float64)
        best = estimated_prior(pending, source, pseudo_rows=self.pseudo_rows, guess=before)
        ratio = pending.astype(np.float64) / source
        likelihoods = [
            np.log(np.maximum(ratio @ priors, 1e-300)).sum() for priors in (best, before)
        ]
        chance = chi_squared_quantile(len(source) - 1, DEFAULT.swing_error)
        limit = chance * (1 + memory.pending / older)
        swung = 2 * (likelihoods[0] - likelihoods[1]) > limit
        return replace(memory, recent=pending) if swung else memory


@dataclass(frozen=True, kw_only=True, eq=False)
class Standardised(_Stateful):
    """Reads vectors in the running mean and deviation of the newest rows."""

    name: ClassVar[str] = "standardise"
    adapts_scale: ClassVar[bool] = True
    adapts_priors: ClassVar[bool] = False

    @staticmethod
    def of(
        size: int, *, mean: Floats | None = None, deviation: Floats | None = None
    ) -> Standardised:
        """Of `size` columns; starts from the seed's mean 0 and deviation 1, or those given."""
        center = np.zeros(size) if mean is None else np.asarray(mean)
        spread = np.ones(size) if deviation is None else np.asarray(deviation)
        if deviation is not None:
            spread = np.maximum(spread, SMALLEST_DEVIATION)
        return Standardised(
            memory=STANDARDISE_MEMORY,
            pseudo_rows=STANDARDISE_PSEUDO_ROWS,
            start=State(numbers=np.stack([center, spread]).astype(np.float32)),
        )

    @staticmethod
    def following(encoding: Encoding, x: Rows) -> Standardised:
        """Starts from mean and deviation of these rows. Only where the encoding is `rescalable`."""
        z = encoding.features(x).astype(np.float64)
        return Standardised.of(z.shape[1], mean=z.mean(axis=0), deviation=z.std(axis=0))

    def suits(self, drift: DriftKind) -> bool:
        return False

    def read(self, encoding: Encoding, x: Rows, state: State | None) -> Read:
        if state is None:
            return encoding.apply(x)
        return self.features(encoding, x, state).reshape(x.shape)

    def features(self, encoding: Encoding, x: Rows, state: State | None) -> Floats:
        z = encoding.features(x)
        if state is None:
            return z
        mean, deviation = state.numbers
        return np.asarray(np.clip((z - mean) / deviation, -CLIP, CLIP))

    def adapted(self, raw: Floats, state: State | None) -> Floats:
        return raw

    def observed(self, encoding: Encoding, x: Rows, raw: Floats) -> Floats:
        return encoding.features(x)

    def caught_up(self, encoding: Encoding, x: Rows) -> Standardised:
        return Standardised.following(encoding, x)

    def problem(self, spec: InputSpec, *, raw: bool) -> str | None:
        if (wrong := self._constants_problem()) is not None:
            return wrong
        if spec.kind != "vector" or raw:
            return "running standardisation is for vectors that the version normalises itself"
        return self._start_problem((2, spec.size))

    def begin(self) -> Memory:
        """Working memory in the version's own starting state."""
        mean, deviation = self.start.numbers.astype(np.float64)
        sums = self.pseudo_rows * np.stack([mean, deviation**2 + mean**2])
        return Memory(state=self.start, recent=sums, weight=self.pseudo_rows)

    def advance(self, memory: Memory, seen: Floats) -> Memory:
        """The memory after the rows `seen` (N, D), in order, as `PriorAdapted.advance` has it."""
        seen = seen[np.isfinite(seen).all(axis=1)]
        if not len(seen):
            return memory
        kept = math.exp(-1 / self.memory)
        weights = kept ** np.arange(len(seen) - 1, -1, -1, dtype=np.float64)
        z = seen.astype(np.float64)
        faded = kept ** len(seen)
        sums = memory.recent * faded + np.stack([weights @ z, weights @ np.square(z)])
        weight = memory.weight * faded + float(weights.sum())
        after = self._after(replace(memory, recent=sums, weight=weight), seen)
        if after.pending < self.renew_rows:
            return after
        mean, squares = after.recent / after.weight
        deviation = np.sqrt(np.maximum(squares - np.square(mean), 0.0))
        deviation = np.maximum(deviation, SMALLEST_DEVIATION)
        state = State(numbers=np.stack([mean, deviation]).astype(np.float32))
        return replace(after, state=state, pending=0)

    def distance(self, state: State) -> float:
        """Root of the mean squared shift of the columns, in the seed's deviations."""
        return float(np.sqrt(np.square(state.numbers[0]).mean()))


Mode = Plain | PriorAdapted | Standardised
CONSTANTS = ("memory", "pseudo_rows", "renew_rows")


def as_json(mode: PriorAdapted | Standardised) -> Json:
    """The constants, for a manifest; the starting state is an array beside it."""
    shares = {"share": 1.0, "source": []}
    if isinstance(mode, PriorAdapted):
        shares = {"share": mode.share, "source": list(mode.source)}
    return {"name": mode.name, **{name: getattr(mode, name) for name in CONSTANTS}, **shares}


def from_json(data: Json, start: Floats) -> PriorAdapted | Standardised:
    """The inverse of `as_json`. Raises KeyError, TypeError and ValueError."""
    constants: Json = {
        "memory": int(data["memory"]),
        "pseudo_rows": float(data["pseudo_rows"]),
        "renew_rows": int(data["renew_rows"]),
        "start": State(numbers=start),
    }
    if data["name"] == PriorAdapted.name:
        source = tuple(float(part) for part in data["source"])
        return PriorAdapted(**constants, source=source, share=float(data["share"]))
    if data["name"] == Standardised.name:
        return Standardised(**constants)
    known = f"{Plain.name}, {PriorAdapted.name}, {Standardised.name}"
    raise ValueError(f"unknown mode {data['name']!r}; known: {known}")
