"""Learner and proved version answer the same rows, and are compared."""

from __future__ import annotations

from acclimate.learning.data import Integers, Rows
from acclimate.learning.evaluation import serving_guard
from acclimate.learning.models.bundle import Bundle
from acclimate.learning.models.running import Running
from acclimate.learning.results import Comparison
from acclimate.learning.stats.neighbourhood import Neighbourhood
from acclimate.learning.thresholds import DEFAULT, Thresholds


def compare(
    learner: Bundle,
    proved: Bundle,
    rows: Rows,
    y: Integers,
    *,
    limits: Thresholds = DEFAULT,
) -> Comparison:
    """Both on the rows x (N, *shape), at least one, as they were answered one after another.

    y (N,) is the label of a row, below 0 where none is known. Costs a forward pass of each.
    """
    near = Neighbourhood.of(proved.encoding.features(rows))
    ours, theirs = (Running(bundle).answer(rows) for bundle in (learner, proved))
    return serving_guard.compare(ours, theirs, y, near, limits=limits)


def won_and_lost(learner: Bundle, proved: Bundle, rows: Rows, y: Integers) -> tuple[int, int]:
    """How many labelled rows the learner alone has right, and how many the proved version alone."""
    if learner is proved or not len(rows):
        return 0, 0
    ours, theirs = (Running(bundle).answer(rows) for bundle in (learner, proved))
    return serving_guard.won_and_lost(ours, theirs, y)
