"""Which rows' labels to ask a person for: uniform draws whose probability is known. numpy only; no
torch here.

Rows that teach are drawn uniformly over the window: rows by margin or disagreement of the members
lost 3 to 4 points (docs/decisions/0015), and what is measured on them is about such rows only. Rows
that judge are drawn uniformly over the rows on which versions differ, since the others say nothing
about which version is better.

Both draws are bottom-k samples (Cohen and Kaplan, Summarizing Data using Bottom-k Sketches, PODC
2007): each row has a fixed random priority from its address, and the k rows of the lowest
priorities are asked for. Whoever asks again gets the same rows while the window grows, but for
newcomers of a lower priority; labelling from the top and asking again goes on in the same order.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

import numpy as np
from numpy.typing import NDArray

Priorities = NDArray[np.uint64]
Places = NDArray[np.intp]
Labelled = Callable[[Places], NDArray[np.bool_]]
CHUNK = 500
JUDGE, TEACH = "judge", "teach"


@dataclass(frozen=True, kw_only=True, eq=False)
class Asked:
    """The places (K,) of the rows to ask for, first things first, and the probability with which
    any row was drawn.
    """

    places: Places
    propensity: float


def priorities(prediction_ids: Sequence[str], rows: NDArray[np.int32], *, key: str) -> Priorities:
    """(N,) uniform over 64 bits, equal for equal (key, prediction id, row) everywhere and for ever,
    else independent.

    `key` names model, window and draw, and should not be known to who chooses prediction ids: else
    they choose priorities too.
    """
    salt = hashlib.blake2b(key.encode(), digest_size=32).digest()
    by_id: dict[str, int] = {}
    for prediction_id in prediction_ids:
        if prediction_id not in by_id:
            digest = hashlib.blake2b(prediction_id.encode(), key=salt, digest_size=8).digest()
            by_id[prediction_id] = int.from_bytes(digest, "little")
    start = np.fromiter(
        (by_id[prediction_id] for prediction_id in prediction_ids), np.uint64, len(prediction_ids)
    )
    return _mixed(start + (rows.astype(np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15))


@dataclass(frozen=True, kw_only=True, eq=False)
class Candidates:
    """The places (M,) of the rows on which versions differ, and their priorities (M,) of the draw
    that judges.
    """

    places: Places
    priority: Priorities


NO_CANDIDATES = Candidates(places=np.empty(0, dtype=np.intp), priority=np.empty(0, dtype=np.uint64))


@dataclass(frozen=True, kw_only=True)
class Item:
    """A row to ask for: its place, why it was drawn, and the probability of that draw."""

    place: int
    why: str
    propensity: float

    @property
    def value(self) -> float:
        """How many rows the label represents, of those that the draw is over (Horvitz and Thompson
        1952).
        """
        return 1.0 / self.propensity


def differ(labels: Sequence[NDArray[np.integer[Any]]]) -> NDArray[np.bool_]:
    """Whether the labels (N,) of two or more versions are not all equal, by row (N,)."""
    first = labels[0]
    return np.asarray(np.any([other != first for other in labels[1:]], axis=0))


def queue(
    priority: Priorities, candidates: Candidates, labelled: Labelled, *, limit: int
) -> list[Item]:
    """Up to `limit` rows without a label: those that judge and those that teach in turn.

    Half are rows that judge, the first one included. Where there are fewer, rows that teach fill
    the list up. A row that both draws have is in the list once, as one that judges, and counts as
    drawn in the propensity of those that teach.

    Args:
        priority: of the draw that teaches (N,), by place.
        candidates: the rows that may judge.
        labelled: as of `choose`.
    """
    judge = choose(
        candidates.priority,
        lambda found: labelled(candidates.places[found]),
        limit=(limit + 1) // 2,
    )
    judges = candidates.places[judge.places]
    # By priority, which copies of a row share.
    taken = priority[judges]
    teach = choose(
        priority,
        lambda places: np.isin(priority[places], taken) | labelled(places),
        limit=limit - len(judges),
    )
    by_turns = zip_longest(
        _items(judges, JUDGE, judge.propensity), _items(teach.places, TEACH, teach.propensity)
    )
    return [item for turn in by_turns for item in turn if item is not None]


def _items(places: Places, why: str, propensity: float) -> list[Item]:
    return [Item(place=place, why=why, propensity=propensity) for place in places.tolist()]


def choose(priority: Priorities, labelled: Labelled, *, limit: int) -> Asked:
    """Up to `limit` rows without a label, those of the lowest priorities; of copies of one row the
    first alone counts.

    `labelled` says of places whether somebody labelled their rows; it is asked of few more than it
    takes. The propensity counts the labelled rows that come before the last one asked for: they
    were drawn by the same rule, so that over all rows asked for so far each of the window was drawn
    with this probability.
    """
    if limit == 0:
        return Asked(places=np.empty(0, dtype=np.intp), propensity=1.0)
    _, first = np.unique(priority, return_index=True)
    chosen: list[int] = []
    drawn = 0
    for start in range(0, len(first), CHUNK):
        chunk = first[start : start + CHUNK]
        free = np.flatnonzero(~labelled(chunk))[: limit - len(chosen)]
        chosen += chunk[free].tolist()
        if len(chosen) >= limit:
            drawn = start + int(free[-1]) + 1
            break
    else:
        drawn = len(first)
    return Asked(
        places=np.array(chosen, dtype=np.intp), propensity=drawn / len(first) if len(first) else 1.0
    )


def _mixed(x: Priorities) -> Priorities:
    """The finalizer of splitmix64 (Steele, Lea and Flood 2014), a bijection: no two rows of one
    prediction meet.
    """
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
