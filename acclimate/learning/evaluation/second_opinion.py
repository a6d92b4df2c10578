"""What a window's answers are worth, asked of the seed set or of the next version instead of their
own confidence.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from acclimate.learning.evaluation.accuracy_estimate import HINDSIGHT, SEED_RECALL, Opinion
from acclimate.learning.models import modes, rescale
from acclimate.learning.results import Drift

if TYPE_CHECKING:
    from acclimate.learning.data import Floats, Part, Rows
    from acclimate.learning.models.network import Bundle


def from_seed(champion: Bundle, judging: Part, drift: Drift) -> Opinion | None:
    """The champion's recall of each class on the judging rows, weighted by the class shares of the
    window.

    Right where nothing but the shares moved (Lipton, Wang and Smola 2018); None where inputs
    drifted.
    """
    if drift.kind not in ("none", "prior") or not drift.shares or not len(judging):
        return None
    shares = np.asarray(drift.shares)
    right = (_fixed(champion, judging.x, shares).argmax(axis=1) == judging.y).astype(np.float64)
    counts = np.bincount(judging.y, minlength=len(shares))
    weight = (shares / np.maximum(counts, 1))[judging.y]
    if weight.sum() <= 0:
        return None
    rows = float(weight.sum() ** 2 / np.square(weight).sum())
    return Opinion(estimator=SEED_RECALL, value=float(np.average(right, weights=weight)), rows=rows)


def in_hindsight(champion: Bundle, student: Bundle, rows: Rows) -> Opinion:
    """On how many rows the student, who learnt from all of them, says what the champion said.

    Too high by the mistakes that both make; it needs no confidence to mean anything.
    """
    before, after = (
        bundle.probabilities(rescale.read(bundle, rows)).argmax(axis=1)
        for bundle in (champion, student)
    )
    return Opinion(
        estimator=HINDSIGHT, value=float((before == after).mean()), rows=float(len(rows))
    )


def _fixed(champion: Bundle, x: Rows, shares: Floats) -> Floats:
    """The champion's answers once its running prior has found these shares; in another mode its
    networks' own.
    """
    raw = champion.probabilities(x)
    if champion.mode.name != "prior":
        return raw
    return modes.reweighted(
        champion.mode, modes.State(numbers=shares[None].astype(np.float32)), raw
    )
