"""Abrupt shift: what changed in one step since the last good window, more than gradual drift does.

Measured are the agreement of the champion's members, the confidence of version 1, and the priors
that explain drifted inputs best.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from acclimate.learning.data import Integers, Past, Rows, SeedSet, Window
from acclimate.learning.drift.label_shift import Residual
from acclimate.learning.drift.scale_shift import in_own_scale
from acclimate.learning.models import augment
from acclimate.learning.models.bundle import Bundle
from acclimate.learning.models.mode_state import State
from acclimate.learning.results import Effect
from acclimate.learning.screening.duplicates import independent_rows
from acclimate.learning.stats.distances import knn_label
from acclimate.learning.stats.significance import (
    chance_of_shares,
    level_of_window,
    standard_errors,
)
from acclimate.learning.thresholds import DEFAULT, Thresholds

NEIGHBOURS = 5
COMPARED_ROWS = 1000
"""At most so many rows are labelled by their neighbours, from as many trusted ones."""
ALARMS = {
    "agreement": (
        "the champion's members agree on {agreement:.0%} of the rows, {fall:.2f} less than before "
        "(limit {limit:.2f})"
    ),
    "confidence_step": (
        "the confidence of version 1 fell by {fall:.2f} in one step (limit {limit:.2f})"
    ),
    "class_shares_step": (
        "nearest class priors against the seed's: changed by {fall:.2f} in one step "
        "(limit {limit:.2f})"
    ),
    "both_steps": (
        "agreement and confidence of version 1 fell together, {fall:.2f} of both limits "
        "(at most {limit:.2f})"
    ),
}
"""The effects that alarm, each a rule of the same name, with what is reported of it."""


@dataclass(frozen=True, kw_only=True)
class _Certainty:
    """How sure a bundle is of rows: confidence, and the share on which all members agree."""

    confidence: float
    deviation: float
    agreement: float
    rows: float
    """Without copies."""


def measure(
    window: Window,
    seed: SeedSet,
    champion: Bundle,
    anchor: Bundle,
    residual: Residual,
    *,
    rng: np.random.Generator,
    limits: Thresholds = DEFAULT,
) -> tuple[float, dict[str, Effect]]:
    """The agreement of the champion's members on the window, and the effects by name.

    Effects are the steps that alarm (`ALARMS`), and how much less sure the anchor is of the window
    than of the judging part.
    """
    rows, judging = window.rows, seed.judging.x
    errors = standard_errors(level_of_window(window.number, limits), tails=2)
    before = _certainty(anchor, judging, rng)
    now = _certainty(anchor, rows, rng)
    serving = champion.caught_up(rows)
    served = _certainty(serving, rows, rng, serving.start)
    past, past_rows = window.past, now.rows
    if past is None:
        first = _certainty(champion, judging, rng)
        past, past_rows = Past(agreement=first.agreement), float(len(seed.judging))
    standing = _against_judging(before, now, len(window), errors)
    standing |= _in_own_scale(anchor, before, rows, errors, rng)
    neighbours = _contradictions(anchor, seed, rows, rng)
    standing["neighbours"] = replace(neighbours, threshold=limits.contradicted_step)
    fall = _confidence_fall(standing, past, champion)
    steps = _steps(past, window, served, now, fall, residual, past_rows, limits)
    step = standing["neighbours"].value - past.neighbours
    if not (step > limits.contradicted_step and limits.on("neighbours")):
        steps["both_steps"] = replace(steps["both_steps"], threshold=limits.both_steps)
    return served.agreement, {**steps, **standing}


def raised(effects: dict[str, Effect], limits: Thresholds = DEFAULT) -> list[str]:
    """The alarms that these effects raise."""
    return [name for name in ALARMS if limits.on(name) and effects[name].detected]


def describe(name: str, effect: Effect, agreement: float) -> str:
    """An alarm in words."""
    return ALARMS[name].format(agreement=agreement, fall=effect.value, limit=effect.threshold)


def _against_judging(
    before: _Certainty, now: _Certainty, n: int, errors: float
) -> dict[str, Effect]:
    """How much less sure the anchor is than on the judging part; beyond chance it is detected."""
    by_chance = _chance_of_confidence(before, now, errors)
    agreement = chance_of_shares(before.agreement, before.rows, now.agreement, now.rows, errors)
    falls = {
        "anchor_confidence": (before.confidence - now.confidence, by_chance),
        "anchor_agreement": (before.agreement - now.agreement, agreement),
    }
    return {
        name: Effect(value=value, threshold=chance, n=n).give_or_take(chance)
        for name, (value, chance) in falls.items()
    }


def _in_own_scale(
    anchor: Bundle, before: _Certainty, rows: Rows, errors: float, rng: np.random.Generator
) -> dict[str, Effect]:
    """How much less sure the anchor is of vectors in their own scale; nothing of other rows."""
    if not anchor.encoding.rescalable:
        return {}
    rescaled = in_own_scale(anchor, rows)
    now = _certainty(rescaled, rows, rng, rescaled.start)
    chance = _chance_of_confidence(before, now, errors)
    value = before.confidence - now.confidence
    return {"own_scale_confidence": Effect(value=value, threshold=chance, n=len(rows))}


def _chance_of_confidence(before: _Certainty, now: _Certainty, errors: float) -> float:
    return errors * math.sqrt(before.deviation**2 / before.rows + now.deviation**2 / now.rows)


def _contradictions(anchor: Bundle, seed: SeedSet, rows: Rows, rng: np.random.Generator) -> Effect:
    """On how many more rows the anchor contradicts their trusted neighbours than when judged."""
    train = _drawn(len(seed.train), rng)
    trusted, y = anchor.encoding.features(seed.train.x[train]), seed.train.y[train]

    def contradicted(x: Rows) -> float:
        some = x[_drawn(len(x), rng)]
        answered = anchor.network_probabilities(some).argmax(axis=1)
        z = anchor.encoding.features(some)
        return float((answered != knn_label(z, trusted, y, neighbours=NEIGHBOURS)).mean())

    value = contradicted(rows) - contradicted(seed.judging.x)
    return Effect(value=value, threshold=0.0, n=len(rows))


def _drawn(rows: int, rng: np.random.Generator) -> Integers:
    return rng.permutation(rows)[:COMPARED_ROWS]


def _confidence_fall(standing: dict[str, Effect], past: Past, champion: Bundle) -> float:
    """How far the anchor's confidence fell since the last good window.

    For a champion that follows the scale, the smaller fall of both readings: a scale that moves
    shows in the seed's scale alone, priors that move in the window's own.
    """
    fall = standing["anchor_confidence"].value - past.anchor_confidence
    own = standing.get("own_scale_confidence")
    if not champion.mode.adapts_scale or own is None or past.own_scale_confidence is None:
        return fall
    return min(fall, own.value - past.own_scale_confidence)


def _steps(
    past: Past,
    window: Window,
    champion: _Certainty,
    now: _Certainty,
    fall: float,
    residual: Residual,
    past_rows: float,
    limits: Thresholds,
) -> dict[str, Effect]:
    """The steps since the last good window, each with its own limit beyond chance.

    `champion` and the anchor `now` are their certainties of the window.
    """
    n, level = len(window), level_of_window(window.number, limits)
    one, two = standard_errors(level), standard_errors(level, tails=2)
    standing = past.standing and limits.on("standing")
    share = limits.standing_share if standing else 1.0

    def of_agreement(errors: float) -> float:
        return chance_of_shares(
            past.agreement, past_rows, champion.agreement, champion.rows, errors
        )

    scatter = one * now.deviation * math.sqrt(1 / past_rows + 1 / now.rows)
    # Without drift of the inputs the priors are the traffic's own: a swing is no alarm.
    step = abs(residual.moved - past.class_shares) if residual.ratio > 1 else 0.0
    agreement = Effect(
        value=past.agreement - champion.agreement,
        threshold=share * limits.agreement_fall + of_agreement(one),
        n=n,
    )
    confidence = Effect(value=fall, threshold=max(share * limits.confidence_fall, scatter), n=n)
    both = sum(max(0.0, effect.value / effect.threshold) for effect in (agreement, confidence))
    return {
        "agreement": agreement.give_or_take(of_agreement(two)),
        "confidence_step": confidence.give_or_take(scatter / one * two),
        "both_steps": Effect(value=both, threshold=limits.both_steps_contradicted, n=n),
        "class_shares_step": Effect(
            value=step,
            threshold=max(share * limits.priors_step, residual.moved_by_chance),
            n=residual.n,
        ),
    }


def _certainty(
    bundle: Bundle, x: Rows, rng: np.random.Generator, state: State | None = None
) -> _Certainty:
    votes_VNC = augment.votes(bundle, x, state, rng=rng)
    confidence = votes_VNC.mean(axis=0).max(axis=1)
    single_VN = votes_VNC.argmax(axis=2)
    return _Certainty(
        confidence=float(confidence.mean()),
        deviation=float(confidence.std()),
        agreement=float((single_VN == single_VN[0]).all(axis=0).mean()),
        rows=independent_rows(x),
    )
