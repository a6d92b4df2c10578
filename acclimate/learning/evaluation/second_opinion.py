"""A second estimate of the accuracy of a window's answers, beside their own confidence."""

from __future__ import annotations

import numpy as np

from acclimate.learning.data import Floats, Part, Rows
from acclimate.learning.evaluation.accuracy_estimate import HINDSIGHT, SEED_RECALL
from acclimate.learning.models.bundle import Bundle
from acclimate.learning.models.mode_state import State
from acclimate.learning.models.modes import PriorAdapted
from acclimate.learning.results import Drift, Opinion


def from_seed(champion: Bundle, judging: Part, drift: Drift) -> Opinion | None:
    """The champion's recall of each class on judging rows, weighted by the window's priors.

    Right where nothing but the priors moved (Lipton, Wang and Smola 2018); None where inputs
    drifted.
    """
    if drift.kind not in ("none", "prior") or not drift.priors or not len(judging):
        return None
    priors = np.asarray(drift.priors)
    answers = _at_priors(champion, judging.x, priors)
    right = (answers.argmax(axis=1) == judging.y).astype(np.float64)
    counts = np.bincount(judging.y, minlength=len(priors))
    weight = (priors / np.maximum(counts, 1))[judging.y]
    if weight.sum() <= 0:
        return None
    rows = float(weight.sum() ** 2 / np.square(weight).sum())
    value = float(np.average(right, weights=weight))
    return Opinion(estimator=SEED_RECALL, value=value, rows=rows)


def in_hindsight(champion: Bundle, student: Bundle, rows: Rows) -> Opinion:
    """On how many rows the student, trained on all of them, agrees with the champion.

    Too high by the errors that both make. It does not rely on confidence.
    """
    before, after = (
        bundle.network_probabilities(rows, bundle.start).argmax(axis=1)
        for bundle in (champion, student)
    )
    value = float((before == after).mean())
    return Opinion(estimator=HINDSIGHT, value=value, rows=float(len(rows)))


def _at_priors(champion: Bundle, x: Rows, priors: Floats) -> Floats:
    """The champion's answers once a running prior has reached these priors, if it has one."""
    raw = champion.network_probabilities(x)
    if not isinstance(champion.mode, PriorAdapted):
        return raw
    state = State(numbers=priors[None].astype(np.float32))
    return champion.mode.adapted(raw, state)
