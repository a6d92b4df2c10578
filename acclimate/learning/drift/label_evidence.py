"""What people's labels prove of a window and no row by itself: another meaning of known inputs,
rows of no known class.
"""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from acclimate.learning.data import NONE_OF_THE_CLASSES, Integers, SeedSet, Window
from acclimate.learning.results import Effect
from acclimate.learning.stats.betting import least_share, level_of_look, most_share

if TYPE_CHECKING:
    from acclimate.learning.models.network import Bundle

Doubles = NDArray[np.float64]

LEAST_LABELS = 10
"""Fewer prove nothing of what version 1 gets right."""
MOST_UNKNOWN = 0.05
"""Share of rows of none of the classes that traffic may have."""
LEAST_UNKNOWN = 3
"""Labels that name none of the classes: fewer are slips of those who label."""


def effects(window: Window, seed: SeedSet, anchor: Bundle) -> dict[str, Effect]:
    """`labels` and `unknown_class`, as far as labels of the window's own rows came; nothing without
    any.

    The bounds hold whenever somebody looks, at however many labels, on rows that were drawn for it.
    Labels that came late for earlier windows are left out: what their inputs were then is not
    diagnosed here.
    """
    y, level = window.held_out_labels, level_of_look(window.number)
    known, unknown = y >= 0, int((y == NONE_OF_THE_CLASSES).sum())
    labels = int(known.sum()) + unknown
    found = {}
    if known.sum() >= LEAST_LABELS:
        right = anchor.probabilities(window.held_out[known]).argmax(axis=1) == y[known]
        found["labels"] = _fall(right, y[known], *_recalls(seed, anchor), level=level)
    if labels:
        found["unknown_class"] = _unknown(unknown, labels, level)
    return found


def said(name: str, effect: Effect) -> str:
    """What the labels prove, in words."""
    if name == "unknown_class":
        return (
            f"people gave none of the classes to {round(effect.value * effect.n)} of "
            f"{effect.n} labelled rows, "
            f"which proves more than {MOST_UNKNOWN:.0%} of such rows"
        )
    return (
        f"by {effect.n} labels version 1 is right {effect.value:.2f} less often than on the "
        f"seed's rows of the same classes "
        f"(limit {effect.threshold:.2f}), although the inputs are the seed's: their meaning "
        f"changed, label more of them"
    )


def _recalls(seed: SeedSet, anchor: Bundle) -> tuple[Integers, Integers]:
    """Of each class (C): how often the anchor is right on rows that it did not learn, and how many
    there are.
    """
    held, classes = seed.held_out, len(anchor.input_spec.classes)
    right = anchor.probabilities(held.x).argmax(axis=1) == held.y
    hits, rows = (
        np.bincount(labels, minlength=classes).astype(np.int64)
        for labels in (held.y[right], held.y)
    )
    return hits, rows


def _fall(
    right: NDArray[np.bool_],
    y: Integers,
    seed_right: Integers,
    seed_rows: Integers,
    *,
    level: float,
) -> Effect:
    """Accuracy expected minus accuracy seen.

    Expected is the anchor's accuracy on the seed's rows in the classes that the labels have: what
    it says of a class stays the same when only the shares of the classes move, which how often it
    is right when it says so does not.
    """
    n, hits = len(y), int(right.sum())
    shares = np.bincount(y, minlength=len(seed_rows)) / n
    expected, seen = float(shares @ (seed_right / np.maximum(seed_rows, 1))), hits / n

    def doubted(part: float) -> tuple[float, float, float, float]:
        """Least and most of what is expected and of what is seen, each but for so much."""
        low, high = _expected(shares, seed_right, seed_rows, level=part)
        return low, high, least_share(hits, n, alpha=part), most_share(hits, n, alpha=part)

    least_expected, _, _, most_seen = doubted(level / 2)
    low, high, worst, best = doubted(level / 4)
    return Effect(
        value=expected - seen,
        threshold=expected - least_expected + most_seen - seen,
        n=n,
        lower=min(expected - seen, low - best),
        upper=max(expected - seen, high - worst),
    )


def _expected(
    shares: Doubles, right: Integers, rows: Integers, *, level: float
) -> tuple[float, float]:
    """Least and most accuracy in these shares of the classes.

    Each class counts two rows more than it has, right as often as all are: otherwise a class of two
    rows, both right, would promise never to be wrong (Agresti and Coull 1998).
    """
    recall = (right + 2 * (right.sum() + 1) / (rows.sum() + 2)) / (rows + 2)
    middle = float(shares @ recall)
    doubt = NormalDist().inv_cdf(1 - level) * math.sqrt(
        float(shares**2 @ (recall * (1 - recall) / (rows + 2)))
    )
    return max(0.0, middle - doubt), min(1.0, middle + doubt)


def _unknown(unknown: int, labels: int, level: float) -> Effect:
    share = unknown / labels
    proved = least_share(unknown, labels, alpha=level)
    return Effect(
        value=share,
        threshold=max(MOST_UNKNOWN + share - proved, (LEAST_UNKNOWN - 1) / labels),
        n=labels,
        lower=least_share(unknown, labels, alpha=level / 2),
        upper=most_share(unknown, labels, alpha=level / 2),
    )
