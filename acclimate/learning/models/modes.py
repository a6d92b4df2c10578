"""Serving modes that need no training: an answer that also follows what was asked just before. No
torch here.

`plain` answers with the network alone. `prior` re-weights the network's answer to the class shares
of the newest answers (EM of Saerens, Latinne and Decaestecker, Neural Computation 14, 2002), of
those since the last swing where one shows. `standardise` reads vectors in the running mean and
deviation of the newest rows instead of the seed's. A mode is part of a version; what it follows is
a small `State`, and version and state together give the same answer for ever. All statistics are of
the past: rows are answered in the state before them, then it moves.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from statistics import NormalDist
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from acclimate.learning.data import Floats, Integers, Json
from acclimate.learning.spec import InputSpec

PRIOR_MEMORY = 192
"""Newest answers whose class shares the running prior is: fewer are noise, more lag behind
(learning.md of the design).
"""
PRIOR_PSEUDO_ROWS = 10.0
"""The seed's own class shares count as so many answers, so that no class can vanish."""
STANDARDISE_MEMORY = 500
"""Rows over which the weight of a row in the running mean and deviation falls to 1/e."""
STANDARDISE_PSEUDO_ROWS = 50.0
"""The starting state counts as so many rows, and is forgotten as rows are."""
SWING_LEVEL = 0.01
"""Chance of a class share that stands being taken for one that swung, at each renewal: then older
answers are forgotten.
"""
RENEW_ROWS = 32
"""A state holds for at least so many rows: fewer would make more states than anybody can keep."""
SMALLEST_DEVIATION = 0.1
"""Of the seed's deviation: a column that hardly moves any more is not blown up beyond ten times."""
MOST_ROUNDS = 100
TOLERANCE = 1e-6
"""EM stops when no class share moved by more than this in a round, or after `MOST_ROUNDS`."""

Name = Literal["plain", "prior", "standardise"]
NAMES: tuple[Name, ...] = ("plain", "prior", "standardise")


@dataclass(frozen=True, kw_only=True, eq=False)
class State:
    """What an answer depends on besides the version; never written to. Its numbers are of float32,
    so that bytes keep it exactly.

    `prior`: numbers (1, C), the class shares. `standardise`: numbers (2, D), mean and deviation of
    each column in the seed's deviations.
    """

    numbers: Floats

    def packed(self) -> bytes:
        """The numbers, little-endian; the mode knows how many rows they are."""
        return self.numbers.astype("<f4").tobytes()


@dataclass(frozen=True, kw_only=True, eq=False)
class Mode:
    """How a version answers, with the constants of it. Part of the version: another mode or
    constant is another version.

    `start` is the version's own starting state, which a replica begins with; None only in `plain`.
    `source` (C,) has the class shares that the networks learnt with, and `share` is how much of the
    re-weighting is done, 0..1; both for `prior` alone.
    """

    name: Name = "plain"
    memory: int = 0
    pseudo_rows: float = 0.0
    renew_rows: int = RENEW_ROWS
    source: tuple[float, ...] = ()
    share: float = 1.0
    start: State | None = None

    def as_json(self) -> Json:
        """The constants, for a manifest; the starting state is an array beside it."""
        names = ("name", "memory", "pseudo_rows", "renew_rows", "share")
        return {**{name: getattr(self, name) for name in names}, "source": list(self.source)}

    @staticmethod
    def from_json(data: Json, start: Floats) -> Mode:
        """The inverse of `as_json`. Raises KeyError, TypeError and ValueError; `problem` says the
        rest.
        """
        return Mode(
            name=data["name"],
            memory=int(data["memory"]),
            pseudo_rows=float(data["pseudo_rows"]),
            renew_rows=int(data["renew_rows"]),
            source=tuple(float(part) for part in data["source"]),
            share=float(data["share"]),
            start=State(numbers=start),
        )

    def unpacked(self, data: bytes) -> State:
        """The state of this mode that `State.packed` took apart. Raises ValueError."""
        if self.start is None:
            raise ValueError("a version in plain mode has no states")
        numbers = np.frombuffer(data, dtype="<f4").astype(np.float32)
        return State(numbers=numbers.reshape(self.start.numbers.shape))


PLAIN = Mode()


@dataclass(frozen=True, kw_only=True, eq=False)
class Memory:
    """What moves from one state to the next: working memory of whoever answers, bounded, and not
    needed to repeat an answer.

    `rows` were seen in all, `pending` of them since `state` was renewed. `prior`: recent (<=
    memory, C) are the networks' newest answers. `standardise`: recent (2, D) float64 are the
    weighted sums of columns and of their squares, `weight` their weight.
    """

    state: State
    recent: NDArray[Any]
    weight: float = 0.0
    rows: int = 0
    pending: int = 0


def prior(
    source: Floats | tuple[float, ...], *, start: Floats | None = None, share: float = 1.0
) -> Mode:
    """Running prior, for networks that learnt with the class shares source (C,); it starts from
    them, or from `start` (C,).

    Raises ValueError unless all are positive.
    """
    shares = _shares(np.asarray(source))
    first = shares if start is None else _shares(np.asarray(start))
    return Mode(
        name="prior",
        memory=PRIOR_MEMORY,
        pseudo_rows=PRIOR_PSEUDO_ROWS,
        source=tuple(shares.tolist()),
        share=share,
        start=State(numbers=first[None].astype(np.float32)),
    )


def standardise(size: int, *, mean: Floats | None = None, deviation: Floats | None = None) -> Mode:
    """Running standardisation of vectors of `size` numbers; it starts from the seed's mean 0 and
    deviation 1, or the given.
    """
    first = np.stack(
        [
            np.zeros(size) if mean is None else np.asarray(mean),
            np.ones(size)
            if deviation is None
            else np.maximum(np.asarray(deviation), SMALLEST_DEVIATION),
        ]
    )
    return Mode(
        name="standardise",
        memory=STANDARDISE_MEMORY,
        pseudo_rows=STANDARDISE_PSEUDO_ROWS,
        start=State(numbers=first.astype(np.float32)),
    )


def class_shares(y: Integers, classes: int) -> Floats:
    """The share (C,) of each class among trusted labels, the source of `prior`; one that is absent
    counts half a row.
    """
    counts = np.maximum(np.bincount(y, minlength=classes), 0.5)
    return np.asarray(counts / counts.sum(), dtype=np.float32)


def problem(mode: Mode, spec: InputSpec, *, raw: bool) -> str | None:
    """Why a version that reads such rows (`raw`: its networks read numbers as they came) cannot
    answer in this mode.
    """
    if mode.name not in NAMES:
        return f"unknown mode {mode.name!r}; known: {', '.join(NAMES)}"
    if mode.name == "plain":
        return None
    if (
        mode.start is None
        or min(mode.memory, mode.renew_rows) < 1
        or not 0 < mode.pseudo_rows < math.inf
    ):
        return "a mode needs a starting state, and memory, renew_rows and pseudo_rows above 0"
    numbers = mode.start.numbers
    if mode.name == "prior":
        expected = (1, len(spec.classes))
        if len(mode.source) != expected[1] or not all(0 < part < math.inf for part in mode.source):
            return f"the source prior must be {expected[1]} positive class shares"
        if not 0 <= mode.share <= 1:
            return f"share {mode.share} must be in 0..1"
    else:
        expected = (2, spec.size)
        if spec.kind != "vector" or raw:
            return "running standardisation is for vectors that the version normalises itself"
    if numbers.shape != expected or not np.isfinite(numbers).all() or not (numbers[-1] > 0).all():
        return (
            f"the starting state must be finite, of shape {list(expected)}, and positive in "
            f"its last row"
        )
    return None


def reweighted(mode: Mode, state: State, raw: Floats) -> Floats:
    """What `prior` makes of the networks' answers raw (N, C) under the class shares of the
    state.
    """
    weights = (state.numbers[0].astype(np.float64) / np.asarray(mode.source)) ** mode.share
    joint = raw * weights
    return np.asarray(
        joint / np.maximum(joint.sum(axis=1, keepdims=True), 1e-300), dtype=np.float32
    )


def begin(mode: Mode) -> Memory:
    """Working memory in the version's own starting state. Not for `plain`, which has none."""
    assert mode.start is not None, "plain has no state"
    if mode.name == "prior":
        return Memory(
            state=mode.start, recent=np.empty((0, mode.start.numbers.shape[1]), dtype=np.float32)
        )
    mean, deviation = mode.start.numbers.astype(np.float64)
    sums = mode.pseudo_rows * np.stack([mean, deviation**2 + mean**2])
    return Memory(state=mode.start, recent=sums, weight=mode.pseudo_rows)


def advance(mode: Mode, memory: Memory, seen: Floats) -> Memory:
    """The memory after the rows that were `seen`, in order; `state` is another one when
    `renew_rows` came since it was renewed.

    Rows whose numbers are not finite are passed over. The same rows in the same portions give the
    same states, bit for bit.
    """
    seen = seen[np.isfinite(seen).all(axis=1)]
    if not len(seen):
        return memory
    after = (
        _with_answers(mode, memory, seen)
        if mode.name == "prior"
        else _with_rows(mode, memory, seen)
    )
    after = replace(after, rows=memory.rows + len(seen), pending=memory.pending + len(seen))
    if after.pending < mode.renew_rows:
        return after
    if mode.name == "standardise":
        return replace(after, state=_scale_of(after), pending=0)
    after = _since_the_swing(mode, after)
    return replace(after, state=_prior_of(mode, after), pending=0)


def distance(mode: Mode, state: State) -> float:
    """How far the state is from the seed: `prior` total variation of the class shares, 0..1;
    `standardise` the root of the mean squared shift of columns, in the seed's deviations; 0 in
    `plain`.
    """
    if mode.name == "prior":
        return float(np.abs(state.numbers[0] - np.asarray(mode.source)).sum() / 2)
    return float(np.sqrt(np.square(state.numbers[0]).mean())) if mode.name == "standardise" else 0.0


def estimated_prior(
    raw: Floats,
    source: Floats,
    *,
    pseudo_rows: float = PRIOR_PSEUDO_ROWS,
    guess: Floats | None = None,
) -> NDArray[np.float64]:
    """The class shares (C,) among rows to which calibrated networks, which learnt with the shares
    source (C,), said raw (N, C).

    Maximum likelihood by EM from a guess on, with `pseudo_rows` rows of the source beside: there is
    one maximum, whatever the guess. Right where nothing but the shares has changed.
    """
    base = _shares(np.asarray(source))
    ratio = raw.astype(np.float64) / base
    found = base if guess is None else _shares(np.asarray(guess))
    for _ in range(MOST_ROUNDS):
        # Of each class the sum of its posteriors, without making the matrix of them: this runs
        # between two answers.
        posterior = found * (ratio.T @ (1 / np.maximum(ratio @ found, 1e-300)))
        following = (posterior + pseudo_rows * base) / (len(raw) + pseudo_rows)
        moved, found = float(np.abs(following - found).max()), following / following.sum()
        if moved <= TOLERANCE:
            break
    return np.asarray(found)


def _with_answers(mode: Mode, memory: Memory, seen: Floats) -> Memory:
    return replace(memory, recent=np.concatenate([memory.recent, seen])[-mode.memory :])


def _with_rows(mode: Mode, memory: Memory, seen: Floats) -> Memory:
    kept = math.exp(-1 / mode.memory)
    weights = kept ** np.arange(len(seen) - 1, -1, -1, dtype=np.float64)
    z = seen.astype(np.float64)
    faded = kept ** len(seen)
    sums = memory.recent * faded + np.stack([weights @ z, weights @ np.square(z)])
    return replace(memory, recent=sums, weight=memory.weight * faded + float(weights.sum()))


def _since_the_swing(mode: Mode, memory: Memory) -> Memory:
    """The pending answers alone where the state's class shares do not explain them: what was before
    would only lag behind.

    A likelihood ratio of the shares that explain them best against the state's, which older answers
    gave and which is as uncertain as those are few (docs/decisions/0029).
    """
    pending, older = memory.recent[-memory.pending :], len(memory.recent) - memory.pending
    if older <= 0:
        return memory
    source, before = np.asarray(mode.source), memory.state.numbers[0].astype(np.float64)
    best = estimated_prior(pending, source, pseudo_rows=mode.pseudo_rows, guess=before)
    ratio = pending.astype(np.float64) / source
    likelihoods = [np.log(np.maximum(ratio @ shares, 1e-300)).sum() for shares in (best, before)]
    limit = _chi_squared(len(source) - 1) * (1 + memory.pending / older)
    return (
        replace(memory, recent=pending) if 2 * (likelihoods[0] - likelihoods[1]) > limit else memory
    )


def _chi_squared(freedom: int) -> float:
    """What chance exceeds with `SWING_LEVEL` (Wilson and Hilferty 1931, within 0.1 from 1 degree of
    freedom on).
    """
    spread = 2 / (9 * freedom)
    return float(
        freedom * (1 - spread + NormalDist().inv_cdf(1 - SWING_LEVEL) * math.sqrt(spread)) ** 3
    )


def _prior_of(mode: Mode, memory: Memory) -> State:
    this = {"pseudo_rows": mode.pseudo_rows, "guess": memory.state.numbers[0]}
    found = estimated_prior(memory.recent, np.asarray(mode.source), **this)
    return State(numbers=found[None].astype(np.float32))


def _scale_of(memory: Memory) -> State:
    mean, squares = memory.recent / memory.weight
    deviation = np.maximum(np.sqrt(np.maximum(squares - np.square(mean), 0.0)), SMALLEST_DEVIATION)
    return State(numbers=np.stack([mean, deviation]).astype(np.float32))


def _shares(values: NDArray[Any]) -> NDArray[np.float64]:
    if values.ndim != 1 or not (np.isfinite(values).all() and (values > 0).all()):
        raise ValueError("class shares must be one positive number a class")
    numbers = values.astype(np.float64)
    return np.asarray(numbers / numbers.sum())
