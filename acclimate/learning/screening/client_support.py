"""Rows that only a minority of the traffic supports. numpy only.

Around each row lies a neighbourhood: its nearest rows of the window. A client supports it when it
sends there at least half of what its share of the window would give. Where the clients that support
a neighbourhood have less than half of the traffic, their rows there are unsupported. A sender gains
nothing by using many keys: the others' traffic does not go there.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from acclimate.learning.data import Flags, Floats, Integers
from acclimate.learning.stats.distances import squared_distances
from acclimate.learning.thresholds import DEFAULT, Thresholds

DRAWS = 400
STEP = 1.25
"""Size of the next neighbourhood that is tried, in that of the one before."""
COMPARED_ROWS = 2000
"""At most so many rows of the window can be neighbours."""

Doubles = NDArray[np.float64]


def unsupported_rows(rows: Floats, client: Integers, limits: Thresholds = DEFAULT) -> Flags:
    """Which rows (N, F) lie where few of the clients (N,) send, and come from one of those.

    Deterministic. None where there is one client, where so few rows of each decide nothing, where
    it would be a handful, and where it would be half of the window: then clients differ, and no
    traffic is common to most of them.
    """
    rng = np.random.default_rng(0)
    who = np.unique(client, return_inverse=True)[1]
    nobody = np.zeros(len(rows), dtype=bool)
    if not len(rows) or who.max() == 0:
        return nobody
    drawn = rng.permutation(len(rows))[:COMPARED_ROWS]
    sent = np.bincount(who[drawn], minlength=who.max() + 1)
    smallest = _smallest_neighbourhood(sent[sent > 0], rng, limits)
    if smallest is None:
        return nobody
    wide = max(smallest, int(limits.support_wide_share * len(drawn)))
    found = _in_minority(rows, who, drawn, sizes=sorted({smallest, wide}), limits=limits)
    fewest = limits.support_rows // 2
    return found if fewest <= found.sum() < limits.majority * len(found) else nobody


def has_majority(rows: Flags, client: Integers, limits: Thresholds = DEFAULT) -> bool:
    """Whether clients (N,) with most of the traffic send such rows (N,)."""
    who = np.unique(client, return_inverse=True)[1]
    sent = np.bincount(who)
    counts = np.bincount(who[rows], minlength=who.max(initial=-1) + 1)
    if not counts.any():
        return False
    size = int(rows.sum())
    supports = _supports(counts[None], sent, size, limits)
    return bool(_traffic(supports, sent, size, limits)[0] > limits.majority)


def _in_minority(
    rows: Floats, who: Integers, drawn: Integers, *, sizes: list[int], limits: Thresholds
) -> Flags:
    """Which rows lie in a neighbourhood of few clients, at one of these sizes, and support it."""
    others, whose = rows[drawn].astype(np.float64), who[drawn]
    sent = np.bincount(whose, minlength=who.max() + 1)
    clients = len(sent)
    out = np.zeros(len(rows), dtype=bool)
    for part, squares in squared_distances(rows.astype(np.float64), others):
        own, each = who[part], np.arange(part.stop - part.start)
        for size in sizes:
            theirs = whose[np.argpartition(squares, size - 1, axis=1)[:, :size]]
            cells = (each[:, None] * clients + theirs).ravel()
            counts = np.bincount(cells, minlength=len(each) * clients)
            supports = _supports(counts.reshape(len(each), clients), sent, size, limits)
            few = _traffic(supports, sent, size, limits) <= limits.majority
            out[part] |= few & supports[each, own]
    return out


def _smallest_neighbourhood(
    sent: Integers, rng: np.random.Generator, limits: Thresholds
) -> int | None:
    """The smallest size that tells a little more than half of the traffic from a little less.

    Both are made of the smallest clients, which show least. None where no size does.
    """
    total, size = int(sent.sum()), float(limits.support_rows)
    certain, half = limits.support_certainty, limits.majority
    while size <= limits.support_largest_share * total:
        shares = (half + limits.support_margin, half - limits.support_margin)
        more, less = (_simulated_traffic(sent, int(size), share, rng, limits) for share in shares)
        if np.quantile(more, 1 - certain) > half > np.quantile(less, certain):
            return int(size)
        size *= STEP
    return None


def _simulated_traffic(
    sent: Integers, size: int, share: float, rng: np.random.Generator, limits: Thresholds
) -> Doubles:
    """The traffic that seems to support a neighbourhood to which clients of that share send."""
    order = np.argsort(sent, kind="stable")
    reached = np.searchsorted(np.cumsum(sent[order]), share * sent.sum())
    there = order[: max(1, int(reached))]
    counts = np.zeros((DRAWS, len(sent)))
    counts[:, there] = rng.multinomial(size, sent[there] / sent[there].sum(), size=DRAWS)
    seen = _traffic(_supports(counts, sent, size, limits), sent, size, limits)
    return seen + share - float(sent[there].sum() / sent.sum())


def _supports(counts: NDArray[Any], sent: Integers, size: int, limits: Thresholds) -> Flags:
    """Which clients (N, K) have a row in the neighbourhood, and half of what is expected."""
    needed = np.maximum(limits.support_share * _expected(sent, size), 1e-9)
    return np.asarray(counts >= needed)


def _traffic(supports: Flags, sent: Integers, size: int, limits: Thresholds) -> Doubles:
    """The share of the traffic (N,) of the clients that support, corrected for those chance hid."""
    seen = _chance_to_support(_expected(sent, size), limits)
    return np.asarray((supports * (sent / seen)).sum(axis=1) / sent.sum())


def _expected(sent: Integers, size: int) -> Doubles:
    """The rows (K,) of a neighbourhood that each client's share of the traffic would give."""
    return np.asarray(size * sent / sent.sum())


def _chance_to_support(expected_rows: Doubles, limits: Thresholds) -> Doubles:
    """How often (K,) a client counts as supporting where a little more than half sends.

    Poisson's upper tail.
    """
    needed = np.ceil(limits.support_share * expected_rows - 1e-9).astype(np.int64)
    rate = expected_rows / (limits.majority + limits.support_margin)
    out = np.ones(len(expected_rows))
    for rows in range(int(needed.max(initial=0))):
        log_chance = rows * np.log(np.maximum(rate, 1e-300)) - rate - math.lgamma(rows + 1)
        out -= np.where(rows < needed, np.exp(log_chance), 0.0)
    return np.maximum(out, 1e-9)
