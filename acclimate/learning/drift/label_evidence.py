"""What people's labels prove of a window: a new meaning of known inputs, rows of no known class."""

from __future__ import annotations

import math

import numpy as np

from acclimate.learning.data import NONE_OF_THE_CLASSES, Flags, Integers, SeedSet, Window
from acclimate.learning.models.bundle import Bundle
from acclimate.learning.results import Effect
from acclimate.learning.stats.betting import least_share, most_share
from acclimate.learning.stats.random_features import Doubles
from acclimate.learning.stats.significance import level_of_window, standard_errors
from acclimate.learning.thresholds import DEFAULT, Thresholds


def effects(
    window: Window, seed: SeedSet, anchor: Bundle, limits: Thresholds = DEFAULT
) -> dict[str, Effect]:
    """`labels` and `unknown_class`, as far as labels of the window's own rows came.

    The bounds hold at any peek, at however many labels, on rows that were drawn for them. Labels
    that came late for earlier windows are left out: their inputs are not diagnosed here.
    """
    y, level = window.held_out_labels, level_of_window(window.number, limits)
    known, unknown = y >= 0, int((y == NONE_OF_THE_CLASSES).sum())
    labels = int(known.sum()) + unknown
    found = {}
    if known.sum() >= limits.label_rows:
        answered = anchor.network_probabilities(window.held_out[known]).argmax(axis=1)
        right = answered == y[known]
        found["labels"] = _accuracy_fall(right, y[known], *_recalls(seed, anchor), level=level)
    if labels:
        found["unknown_class"] = _unknown_share(unknown, labels, level, limits)
    return found


def describe(name: str, effect: Effect) -> str:
    """What the labels prove, in words."""
    if name == "unknown_class":
        unknown = round(effect.value * effect.n)
        return (
            f"people gave none of the classes to {unknown} of {effect.n} labelled rows: "
            "proved to be more than ordinary traffic holds"
        )
    return (
        f"by {effect.n} labels version 1 is right {effect.value:.2f} less often than on the "
        f"seed's rows of the same classes (limit {effect.threshold:.2f}), although the inputs are "
        "the seed's: their meaning changed, label more of them"
    )


def _recalls(seed: SeedSet, anchor: Bundle) -> tuple[Integers, Integers]:
    """Of each class (C): right answers of the anchor on held-out seed rows, and how many rows."""
    held, classes = seed.held_out, len(anchor.input_spec.classes)
    right = anchor.network_probabilities(held.x).argmax(axis=1) == held.y
    hits, rows = (
        np.bincount(labels, minlength=classes).astype(np.int64)
        for labels in (held.y[right], held.y)
    )
    return hits, rows


def _accuracy_fall(
    right: Flags,
    y: Integers,
    seed_right: Integers,
    seed_rows: Integers,
    *,
    level: float,
) -> Effect:
    """Accuracy expected minus accuracy observed.

    Expected is the anchor's recall on the seed's rows, weighted by the classes that the labels
    have: recall stays the same when only the priors move; precision does not.
    """
    n, hits = len(y), int(right.sum())
    shares = np.bincount(y, minlength=len(seed_rows)) / n
    expected, seen = float(shares @ (seed_right / np.maximum(seed_rows, 1))), hits / n

    def bounds(part: float) -> tuple[float, float, float, float]:
        """Bounds of what is expected and of what is observed, each at this level."""
        low, high = _expected(shares, seed_right, seed_rows, level=part)
        return low, high, least_share(hits, n, alpha=part), most_share(hits, n, alpha=part)

    least_expected, _, _, most_seen = bounds(level / 2)
    low, high, worst, best = bounds(level / 4)
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
    """Bounds of the accuracy at these class priors.

    Each class counts two rows more than it has, right as often as all are: otherwise two rows, both
    right, would bound the recall at 1 (Agresti and Coull 1998).
    """
    recall = (right + 2 * (right.sum() + 1) / (rows.sum() + 2)) / (rows + 2)
    middle = float(shares @ recall)
    error = standard_errors(level) * math.sqrt(
        float(shares**2 @ (recall * (1 - recall) / (rows + 2)))
    )
    return max(0.0, middle - error), min(1.0, middle + error)


def _unknown_share(unknown: int, labels: int, level: float, limits: Thresholds) -> Effect:
    share = unknown / labels
    proved = least_share(unknown, labels, alpha=level)
    return Effect(
        value=share,
        threshold=max(limits.unknown_share + share - proved, (limits.unknown_rows - 1) / labels),
        n=labels,
        lower=least_share(unknown, labels, alpha=level / 2),
        upper=most_share(unknown, labels, alpha=level / 2),
    )
