"""Rows that few of a window's senders send: who has less than half of the traffic does not decide
what is learnt. numpy only.

Around each row lies a place, its nearest rows of the window. A sender who sends there what his
share of the window would give, or at least half of that, counts as one who sends it. Where those
who do have less than half of the traffic, their rows there teach nothing. However many keys a
sender spreads himself over, and whatever else they send, the others' traffic does not go there.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from acclimate.learning.data import Floats, Integers

MOST = 0.5
"""Who has less of the traffic than this does not decide."""
SENDS = 0.5
"""Of the rows that a sender's share of the window would give a place: as many make him one who
sends there.
"""
TELLING = 0.09
"""So much more or less than half of the traffic must show in a place, if its rows are to be that
many ...
"""
SURELY = 0.98
"""... in this share of draws."""
DRAWS = 400
SMALLEST, LARGEST, STEP = 40, 0.4, 1.25
"""Rows of the smallest place that is tried, share of the window in the largest, and the next place
in the one before.
"""
FEWEST = SMALLEST // 2
"""Less than half of the smallest place is chance."""
WIDE = 0.2
"""Share of the window in the second place that is looked at: a large heap has a middle from where
nothing else is near.
"""
COMPARED_ROWS = 2000
"""At most so many rows of the window are what a place can be made of."""
CHUNK = 1024

Doubles = NDArray[np.float64]
Flags = NDArray[np.bool_]


def few(rows: Floats, client: Integers) -> Flags:
    """Which rows (N, F) lie where few of the clients (N,) send, and come from one of those. The
    same rows give the same.

    None where there is one client, where so few rows of each tell nothing, where it would be a
    handful, and where it would be half of the window: then senders differ, and no traffic is
    everybody's.
    """
    rng = np.random.default_rng(0)
    who = np.unique(client, return_inverse=True)[1]
    nobody = np.zeros(len(rows), dtype=bool)
    if not len(rows) or who.max() == 0:
        return nobody
    drawn = rng.permutation(len(rows))[:COMPARED_ROWS]
    sent = np.bincount(who[drawn], minlength=who.max() + 1)
    smallest = _place(sent[sent > 0], rng)
    if smallest is None:
        return nobody
    wide = max(smallest, int(WIDE * len(drawn)))
    found = _theirs_alone(rows, who, drawn, sent, sorted({smallest, wide}))
    return found if FEWEST <= found.sum() < MOST * len(found) else nobody


def most(rows: Flags, client: Integers) -> bool:
    """Whether clients (N,) who have most of the traffic send such rows (N,), each at least half of
    what its share would give.
    """
    who = np.unique(client, return_inverse=True)[1]
    sent, theirs = np.bincount(who), np.bincount(who[rows], minlength=who.max(initial=-1) + 1)
    if not theirs.any():
        return False
    place = int(rows.sum())
    return bool(_traffic(_sends(theirs[None], sent, place), sent, place)[0] > MOST)


def _theirs_alone(
    rows: Floats, who: Integers, drawn: Integers, sent: Integers, places: list[int]
) -> Flags:
    """Which rows lie, at one of these sizes, in a place of few, and are of one who sends there."""
    others, whose = rows[drawn].astype(np.float64), who[drawn]
    norms = (others**2).sum(axis=1)
    out = np.zeros(len(rows), dtype=bool)
    for start in range(0, len(rows), CHUNK):
        part, own = rows[start : start + CHUNK].astype(np.float64), who[start : start + CHUNK]
        squares, each = norms - 2 * part @ others.T, np.arange(len(part))
        for place in places:
            theirs = whose[np.argpartition(squares, place - 1, axis=1)[:, :place]]
            cells = np.bincount(
                (each[:, None] * len(sent) + theirs).ravel(), minlength=len(part) * len(sent)
            )
            sends = _sends(cells.reshape(len(part), len(sent)), sent, place)
            out[start : start + CHUNK] |= (_traffic(sends, sent, place) <= MOST) & sends[each, own]
    return out


def _place(sent: Integers, rng: np.random.Generator) -> int | None:
    """The smallest place that tells a little more than half of the traffic from a little less; None
    where none does.

    Both are made of the smallest senders, who show least.
    """
    total, place = int(sent.sum()), float(SMALLEST)
    while place <= LARGEST * total:
        size = int(place)
        more, less = (_shown(sent, size, share, rng) for share in (MOST + TELLING, MOST - TELLING))
        if np.quantile(more, 1 - SURELY) > MOST > np.quantile(less, SURELY):
            return size
        place *= STEP
    return None


def _shown(sent: Integers, place: int, share: float, rng: np.random.Generator) -> Doubles:
    """How much of the traffic seems to be of senders who send to a place where that share of it
    goes, in so many draws.
    """
    order = np.argsort(sent, kind="stable")
    there = order[: max(1, int(np.searchsorted(np.cumsum(sent[order]), share * sent.sum())))]
    counts = np.zeros((DRAWS, len(sent)))
    counts[:, there] = rng.multinomial(place, sent[there] / sent[there].sum(), size=DRAWS)
    return (
        _traffic(_sends(counts, sent, place), sent, place)
        + share
        - float(sent[there].sum() / sent.sum())
    )


def _sends(counts: NDArray[Any], sent: Integers, place: int) -> Flags:
    """Which clients (N, K) have at least one row of a place, and half of what is due to them."""
    return np.asarray(counts >= np.maximum(SENDS * _due(sent, place), 1e-9))


def _traffic(sends: Flags, sent: Integers, place: int) -> Doubles:
    """The share of the traffic (N,) of the clients (N, K) who send to a place, of whom chance hides
    some.
    """
    seen = _chance_to_show(_due(sent, place))
    return np.asarray((sends * (sent / seen)).sum(axis=1) / sent.sum())


def _due(sent: Integers, place: int) -> Doubles:
    """The rows (K,) of a place that each client's share of the traffic would give."""
    return np.asarray(place * sent / sent.sum())


def _chance_to_show(due: Doubles) -> Doubles:
    """How often (K,) a client counts as one who sends where a little more than half of the traffic
    goes: Poisson's upper tail.
    """
    needed = np.ceil(SENDS * due - 1e-9).astype(np.int64)
    expected = due / (MOST + TELLING)
    out = np.ones(len(due))
    for rows in range(int(needed.max(initial=0))):
        chance = np.exp(
            rows * np.log(np.maximum(expected, 1e-300)) - expected - math.lgamma(rows + 1)
        )
        out -= np.where(rows < needed, chance, 0.0)
    return np.maximum(out, 1e-9)
