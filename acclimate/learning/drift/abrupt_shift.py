"""How sure version 1 and the champion are of a window: beside the judging part, and in one step
from the last good window.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from statistics import NormalDist

import numpy as np

from acclimate.learning.data import Integers, Past, Rows, SeedSet, Window
from acclimate.learning.drift.label_shift import Residual
from acclimate.learning.models import augment, rescale
from acclimate.learning.models.network import Bundle
from acclimate.learning.results import Effect
from acclimate.learning.screening.duplicates import independent
from acclimate.learning.stats import knn
from acclimate.learning.stats.betting import level_of_look

AGREEMENT_FALL = 0.10
"""Fall of the members' agreement in one window that no gradual drift shows (learning.md: 9 of 9
alarms true).
"""
CONFIDENCE_FALL = 0.14
"""Fall of the anchor's confidence from one window to the next that none of the gradual streams read
for it showed.
"""
SHARES_STEP = 0.55
"""Change from one window to the next of how far the shares nearest to drifted rows are from the
seed's (total variation).
"""
STANDING = 0.7
"""Of the limits of alarms while one stands: a jump is not over because chance brings one window
just below them.
"""
ALARMS = {
    "agreement": "the champion's members agree on {agreement:.0%} of the rows, {fall:.2f} less "
    "than before (limit {limit:.2f})",
    "confidence_step": "the confidence of version 1 fell by {fall:.2f} in one step (limit "
    "{limit:.2f})",
    "class_shares_step": "nearest class shares against the seed's: changed by {fall:.2f} in "
    "one step (limit {limit:.2f})",
    "both_steps": "agreement and confidence of version 1 fell together, {fall:.2f} of both "
    "limits (at most {limit:.2f})",
}
BOTH_STEPS, BOTH_STEPS_CONTRADICTED = 1.6, 1.3
"""Falls of agreement and of confidence, each in its own limit, that together alarm where neither
does alone.
"""
CONTRADICTED = 0.15
"""Step of the share of rows on which version 1 says other than their nearest trusted rows: beyond
it the lower limit holds.
"""
SLIGHT_FALL = 0.02


@dataclass(frozen=True, kw_only=True)
class _Opinion:
    """What a bundle thinks of rows: mean and deviation of confidence, share of rows on which all
    members agree.
    """

    confidence: float
    deviation: float
    agreement: float


def measure(
    window: Window,
    seed: SeedSet,
    champion: Bundle,
    anchor: Bundle,
    found: Residual,
    *,
    rng: np.random.Generator,
) -> tuple[float, dict[str, Effect]]:
    """The share of the window on which the champion's members agree, and the effects: the steps
    that alarm (`ALARMS`), and how much less sure the anchor is of the window than of the judging
    part. `found` is the drift of the inputs.
    """
    rows = window.rows
    before, now = _opinion(anchor, seed.judging.x, rng), _opinion(anchor, rows, rng)
    serving = rescale.caught_up(champion, rows)
    served = _opinion(serving, rescale.read(serving, rows), rng)
    alone, judging = independent(rows), independent(seed.judging.x)
    past, past_rows = window.past, alone
    if past is None:
        past, past_rows = (
            Past(agreement=_opinion(champion, seed.judging.x, rng).agreement),
            float(len(seed.judging)),
        )
    standing = _standing(before, now, (judging, alone), len(window), _z(window.number, tails=2))
    standing |= _in_own_scale(anchor, before, rows, rng)
    standing["neighbours"] = _neighbours(anchor, seed, rows, rng)
    taken = _steps(
        past, window, served, now, _fall(standing, past, champion), found, rows=(past_rows, alone)
    )
    if standing["neighbours"].value - past.neighbours <= CONTRADICTED:
        taken["both_steps"] = replace(taken["both_steps"], threshold=BOTH_STEPS)
    return served.agreement, {**taken, **standing}


def _standing(
    before: _Opinion, now: _Opinion, rows: tuple[float, float], n: int, z: float
) -> dict[str, Effect]:
    """How much less sure the anchor is than on the judging part; rows: how many independent ones
    said so, there and here.
    """
    confidence = Effect(value=before.confidence - now.confidence, threshold=SLIGHT_FALL, n=n)
    agreement = Effect(value=before.agreement - now.agreement, threshold=SLIGHT_FALL, n=n)
    blur = z * math.sqrt(before.deviation**2 / rows[0] + now.deviation**2 / rows[1])
    return {
        "anchor_confidence": confidence.give_or_take(blur),
        "anchor_agreement": agreement.give_or_take(
            _chance(before.agreement, rows[0], now.agreement, rows[1], z)
        ),
    }


def _in_own_scale(
    anchor: Bundle, before: _Opinion, rows: Rows, rng: np.random.Generator
) -> dict[str, Effect]:
    """How much less sure the anchor is of vectors in their own mean and deviation; nothing of other
    rows.
    """
    if not rescale.fits(anchor.encoding):
        return {}
    now = _opinion(anchor, rescale.read(rescale.following(anchor, rows), rows), rng)
    return {
        "own_scale_confidence": Effect(
            value=before.confidence - now.confidence, threshold=SLIGHT_FALL, n=len(rows)
        )
    }


def _neighbours(anchor: Bundle, seed: SeedSet, rows: Rows, rng: np.random.Generator) -> Effect:
    """On how many more rows the anchor says other than their nearest trusted rows are called, than
    on the judging part.
    """
    train = _drawn(len(seed.train), rng)
    trusted, y = anchor.encoding.features(seed.train.x[train]), seed.train.y[train]

    def contradicted(x: Rows) -> float:
        some = x[_drawn(len(x), rng)]
        said = anchor.probabilities(some).argmax(axis=1)
        return float((said != knn.called(anchor.encoding.features(some), trusted, y)).mean())

    return Effect(
        value=contradicted(rows) - contradicted(seed.judging.x), threshold=CONTRADICTED, n=len(rows)
    )


def _drawn(rows: int, rng: np.random.Generator) -> Integers:
    return rng.permutation(rows)[: knn.COMPARED_ROWS]


def _fall(standing: dict[str, Effect], past: Past, champion: Bundle) -> float:
    """How far the anchor's confidence fell since the last good window.

    For a champion that follows the scale the smaller fall of both readings: a scale that moves
    shows in the seed's scale alone, class shares that move in the window's own.
    """
    fall = standing["anchor_confidence"].value - past.anchor_confidence
    own = standing.get("own_scale_confidence")
    if champion.mode.name != "standardise" or own is None or past.own_scale_confidence is None:
        return fall
    return min(fall, own.value - past.own_scale_confidence)


def _steps(
    past: Past,
    window: Window,
    champion: _Opinion,
    now: _Opinion,
    fall: float,
    found: Residual,
    *,
    rows: tuple[float, float],
) -> dict[str, Effect]:
    """The steps since the last good window, beside what alarms: each a limit of its own, and chance
    at this look.

    `champion` and the anchor `now` are what they think of the window; rows: how many said what was
    seen before, and now.
    """
    n, z = len(window), _z(window.number)
    least = STANDING if past.standing else 1.0
    doubt = _chance(past.agreement, rows[0], champion.agreement, rows[1], z)
    blur = z * now.deviation * math.sqrt(1 / rows[0] + 1 / rows[1])
    # Without drift of the inputs the shares are the traffic's own: a swing of the classes alarms
    # nobody.
    step = abs(found.moved - past.class_shares) if found.ratio > 1 else 0.0
    agreement = Effect(
        value=past.agreement - champion.agreement, threshold=least * AGREEMENT_FALL + doubt, n=n
    )
    confidence = Effect(value=fall, threshold=max(least * CONFIDENCE_FALL, blur), n=n)
    both = sum(max(0.0, effect.value / effect.threshold) for effect in (agreement, confidence))
    wide = _z(window.number, tails=2)
    drawn = _chance(past.agreement, rows[0], champion.agreement, rows[1], wide)
    return {
        "agreement": agreement.give_or_take(drawn),
        "confidence_step": confidence.give_or_take(blur / z * wide),
        "both_steps": Effect(value=both, threshold=BOTH_STEPS_CONTRADICTED, n=n),
        "class_shares_step": Effect(
            value=step, threshold=max(least * SHARES_STEP, found.moved_by_chance), n=found.n
        ),
    }


def _z(number: int, *, tails: int = 1) -> float:
    """Standard errors that chance stays within at the `number`-th look, with 95 % over all looks: a
    limit, or on both sides.
    """
    return NormalDist().inv_cdf(1 - level_of_look(number) / tails)


def _chance(before: float, rows_before: float, now: float, rows: float, z: float) -> float:
    """How much of a fall between shares of so many rows chance may show, within z standard
    errors.
    """
    pooled = (before * rows_before + now * rows) / (rows_before + rows)
    return z * math.sqrt(max(pooled * (1 - pooled), 0.0) * (1 / rows_before + 1 / rows))


def _opinion(bundle: Bundle, x: Rows, rng: np.random.Generator) -> _Opinion:
    opinions_VNC = augment.opinions(bundle, x, rng=rng)
    mean_NC = opinions_VNC.mean(axis=0)
    confidence = mean_NC.max(axis=1)
    single_VN = opinions_VNC.argmax(axis=2)
    return _Opinion(
        confidence=float(confidence.mean()),
        deviation=float(confidence.std()),
        agreement=float((single_VN == single_VN[0]).all(axis=0).mean()),
    )
