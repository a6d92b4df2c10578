"""Which rows' labels to ask a person for: a uniform draw whose probability is known. numpy only; no
torch here.

Rows asked for at random with a known propensity are the safe choice (learning.md: rows by margin or
disagreement of the members lost 3 to 4 points, and what is measured on them is about such rows
only). The draw is a bottom-k sample (Cohen and Kaplan, Summarizing Data using Bottom-k Sketches,
PODC 2007): each row has a fixed random priority from its address, and the k rows of the lowest
priorities are asked for. Whoever asks again gets the same rows while the window grows, but for
newcomers of a lower priority; labelling from the top and asking again goes on in the same order.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Priorities = NDArray[np.uint64]
Places = NDArray[np.intp]
CHUNK = 500


@dataclass(frozen=True, kw_only=True, eq=False)
class Asked:
    """The places (K,) of the rows to ask for, first things first, and the probability with which
    any row was drawn.
    """

    places: Places
    propensity: float

    @property
    def value(self) -> float:
        """What the label of one of them is worth: so many rows of the window it stands for (Horvitz
        and Thompson 1952).
        """
        return 1.0 / self.propensity


def priorities(prediction_ids: Sequence[str], rows: NDArray[np.int32], *, key: str) -> Priorities:
    """(N,) uniform over 64 bits, equal for equal (key, prediction id, row) everywhere and for ever,
    else independent.

    `key` names model and window, and should not be known to who chooses prediction ids: else they
    choose priorities too.
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


def choose(
    priority: Priorities, labelled: Callable[[Places], NDArray[np.bool_]], *, limit: int
) -> Asked:
    """Up to `limit` rows without a label, those of the lowest priorities; of copies of one row the
    first alone counts.

    `labelled` says of places whether somebody labelled their rows; it is asked of few more than it
    takes. The propensity counts the labelled rows that come before the last one asked for: they
    were drawn by the same rule, so that over all rows asked for so far each of the window was drawn
    with this probability.
    """
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
