"""What happened to the input since the seed set, seen by the frozen anchor, by the champion, in the
rows, and by people.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import numpy as np

from acclimate.learning.data import Floats, Json, Rows, SeedSet, Window
from acclimate.learning.drift import abrupt_shift, label_evidence
from acclimate.learning.drift.label_shift import Residual, measure
from acclimate.learning.models import rescale
from acclimate.learning.models.features import features
from acclimate.learning.models.network import Bundle
from acclimate.learning.results import Drift, Effect
from acclimate.learning.screening import contamination
from acclimate.learning.screening.contamination import Crowd
from acclimate.learning.screening.duplicates import independent

FULL_RESIDUAL = 4.0
"""The residual, in multiples of what chance shows, at which drift of the inputs counts as full."""
LOST_STRUCTURE = 0.5
"""Share of the seed's squared correlations that is gone in rows of noise, and not in rows that
merely moved.
"""
SCALE_EXPLAINS = 0.5
"""Share of the residual that must go with the columns' own mean and deviation for a drift to count
as one of scale.
"""
COMPARED_COLUMNS = 256
VARYING = 1e-4
"""Standard deviation of a normalised column below which it is constant."""
SHARES_MOVED, SHARES_BEYOND = 0.15, 1.25
"""Total variation of the class shares, and multiple of what chance shows, below which no shift of
them is worth following.
"""
LEAST_AMOUNT = 0.25
"""Of drift of the inputs that is no chance: what its residual is at the limit, tells little of what
it costs.
"""
PROVED = ("concept", "new_class")
"""Kinds of drift that labels alone prove. They alarm: what the champion says of such rows is not to
be learnt from.
"""

Tick = Callable[[int, int], None]
Kind = Literal["none", "covariate", "prior", "concept", "abrupt", "new_class", "junk"]


def diagnose(
    window: Window,
    seed: SeedSet,
    champion: Bundle,
    anchor: Bundle,
    crowded: Crowd,
    *,
    rng: np.random.Generator,
    tick: Tick,
) -> Drift:
    """What drifted between the seed set and the window without what few senders send, and whether
    to learn from it.

    `kind`: covariate where no class shares explain the window (`residual`, on the rows of the seed
    set that the anchor did not learn), in what the members say or in what their last layers read;
    else prior where the shares that explain it moved, none where they did not. Only a drift of what
    they say is learnt from: the others stop the run. Rows that nobody vouches for (`crowd.Crowd`)
    are no drift. `amount` grows with the logarithm of that residual, from a quarter at its limit to
    1 at four times it.

    An alarm stops it too, of a step since the last good window (at the first: since the judging
    part) that gradual drift does not take: the champion's members agree on more than 10 points
    fewer rows, beyond chance at every look; the anchor's confidence, in the scale in which the
    champion reads, falls by more than 14; both come near to that; or the shares that explain
    drifted inputs best are others (docs/decisions/0023). While an alarm stands, less is enough.
    Labels of the window's rows alarm too: `concept` where the anchor is right less often although
    the inputs are the seed's, `new_class` where too many rows are none of the classes.
    """
    whole, window = window, window.most
    rows = window.rows
    found = _residual(anchor, seed, rows, window.number, rng)
    crowded = crowded if found.ratio > found.single else crowded.dispersed
    calm = crowded.without(seed, rows)
    if crowded.rows.any():
        found = _residual(anchor, *calm, window.number, rng)
    tick(1, 3)
    read = _residual(anchor, seed, rows, window.number, rng, of=features)
    scale = _scale(anchor, *calm, window.number, found, rng)
    tick(2, 3)
    agreement, sure = abrupt_shift.measure(window, seed, champion, anchor, found, rng=rng)
    lost = _lost_structure(
        anchor.encoding.features(rows), anchor.encoding.features(_seed_rows(seed)), rng
    )
    effects = {
        **_distances(found, read),
        "scale": scale,
        "drifted": crowded.drifted,
        "crowd": crowded.share,
        **sure,
        "structure": lost,
        **label_evidence.effects(window, seed, anchor),
    }
    tick(3, 3)
    answers = anchor.probabilities(whole.rows).argmax(axis=1)
    told = crowded.told(whole, answers, anchor.input_spec.classes)
    shares = tuple(float(share) for share in found.shares)
    return _conclude(effects, agreement, shares, told, independent(rows))


def _distances(found: Residual, read: Residual) -> dict[str, Effect]:
    """How far the window is from any mixture of the seed's classes, and how far the nearest mixture
    is from the seed's.

    Where the shares of the classes moved, only drift that is beyond chance in the whole series
    counts. Where they did not, what is beyond chance at this look does: late is dear, and a student
    of a window without drift is no worse (docs/decisions/0026).
    """
    limit = max(SHARES_BEYOND * found.moved_by_chance, SHARES_MOVED)
    (low, high), (least, most) = found.ratio_within, found.moved_within
    shares = Effect(value=found.moved, threshold=limit, n=found.n, lower=least, upper=most)
    enough = 1.0 if shares.detected else found.single
    return {
        "input": Effect(value=found.ratio, threshold=enough, n=found.n, lower=low, upper=high),
        "layers": Effect(
            value=read.ratio,
            threshold=1.0,
            n=read.n,
            lower=read.ratio_within[0],
            upper=read.ratio_within[1],
        ),
        "class_shares": shares,
    }


def _conclude(
    effects: dict[str, Effect],
    agreement: float,
    shares: tuple[float, ...],
    told: Json | None,
    independent: float,
) -> Drift:
    taken = [name for name in abrupt_shift.ALARMS if effects[name].detected]
    kind = _kind(effects, taken)
    alarms = bool(taken) or kind in PROVED
    stops = alarms or not effects["input"].detected
    words = [_alarmed(effects, taken, kind, agreement) if alarms else _calm(effects, kind)]
    if stops and told is not None:
        words.append(contamination.said(told, effects["crowd"], effects["drifted"]))
    return Drift(
        kind=kind,
        amount=_amount(effects["input"]),
        effects=effects,
        agreement=agreement,
        shares=shares,
        crowd=told,
        independent=independent,
        stops=stops,
        alarms=alarms,
        detail="; ".join(words),
    )


def _kind(effects: dict[str, Effect], taken: list[str]) -> Kind:
    """Noise is junk whatever people call it. A class that they prove to be new explains a step, a
    change of meaning does not.
    """
    if taken and effects["structure"].detected:
        return "junk"
    if _proved(effects, "unknown_class"):
        return "new_class"
    if taken:
        return "abrupt"
    if effects["input"].detected:
        return "covariate"
    if _proved(effects, "labels"):
        return "concept"
    if effects["layers"].detected:
        return "covariate"
    return "prior" if effects["class_shares"].detected else "none"


def _proved(effects: dict[str, Effect], name: str) -> bool:
    return name in effects and effects[name].detected


def _alarmed(effects: dict[str, Effect], taken: list[str], kind: Kind, agreement: float) -> str:
    words = [
        abrupt_shift.ALARMS[name].format(
            agreement=agreement, fall=effects[name].value, limit=effects[name].threshold
        )
        for name in taken
    ]
    if kind == "junk":
        words.append("the rows have lost the correlations between the seed's columns")
    if _proved(effects, "unknown_class"):
        words.append(label_evidence.said("unknown_class", effects["unknown_class"]))
    if kind == "concept":
        words.append(label_evidence.said("labels", effects["labels"]))
    return "; ".join(words)


def _calm(effects: dict[str, Effect], kind: Kind) -> str:
    if kind == "prior":
        return (
            f"only the shares of the classes moved, by {effects['class_shares'].value:.2f} "
            f"(total variation): "
            "no drift of the inputs to learn from"
        )
    if kind == "none":
        return (
            "no drift to learn from: what the seed's classes do not explain of the window is "
            f"{effects['input'].value:.2f} times what chance shows at most (limit "
            f"{effects['input'].threshold:.2f})"
        )
    if not effects["input"].detected:
        return (
            f"the inputs drifted ({effects['layers'].value:.2f} times what chance shows at "
            f"most), but not what version 1 says of "
            f"them ({effects['input'].value:.2f} times): nothing to learn"
        )
    return ""


def _amount(residual: Effect) -> float:
    if not residual.detected:
        return 0.0
    grown = math.log(max(1.0, residual.value)) / math.log(FULL_RESIDUAL)
    return min(1.0, LEAST_AMOUNT + (1 - LEAST_AMOUNT) * grown)


def _seed_rows(seed: SeedSet) -> Rows:
    return np.concatenate([seed.train.x, seed.held_out.x])


def _residual(
    anchor: Bundle,
    seed: SeedSet,
    rows: Rows,
    number: int,
    rng: np.random.Generator,
    *,
    of: Callable[[Bundle, Rows], Floats] | None = None,
) -> Residual:
    """Against the rows of the seed set that the anchor did not learn: on those it did, it sees more
    than there is.
    """
    held = seed.held_out
    classes = len(anchor.input_spec.classes)
    of = of or _said
    return measure(
        of(anchor, held.x), held.y, of(anchor, rows), classes=classes, looks=number, rng=rng
    )


def _said(anchor: Bundle, rows: Rows) -> Floats:
    """What the members say of each row (N, M * C): a drift that changes nothing of it costs nothing
    either.
    """
    return np.nan_to_num(
        anchor.member_logits(rows).transpose(1, 0, 2).reshape(len(rows), -1), posinf=0.0, neginf=0.0
    )


def _scale(
    anchor: Bundle,
    seed: SeedSet,
    rows: Rows,
    number: int,
    found: Residual,
    rng: np.random.Generator,
) -> Effect:
    """The share of the residual that goes where sensors are read in their own mean and deviation; 0
    without drift of such.
    """
    if found.ratio <= 1 or not rescale.ages(anchor.encoding):
        return Effect(value=0.0, threshold=SCALE_EXPLAINS, n=found.n)
    own = rescale.read(rescale.following(anchor, rows), rows)
    left = _residual(anchor, seed, own, number, rng).ratio
    return Effect(value=1 - left / found.ratio, threshold=SCALE_EXPLAINS, n=found.n)


def _lost_structure(z: Floats, seed_z: Floats, rng: np.random.Generator) -> Effect:
    """Share of the seed's correlation between columns that the rows no longer have.

    Turned, shifted or scaled rows correlate as strongly as before, other columns perhaps; rows of
    noise do not.
    """
    columns = rng.permutation(z.shape[1])[:COMPARED_COLUMNS]
    usual, left = (
        _mean_square_correlation(seed_z[:, columns]),
        _mean_square_correlation(z[:, columns]),
    )
    return Effect(value=1 - left / usual if usual > 0 else 0.0, threshold=LOST_STRUCTURE, n=len(z))


def _mean_square_correlation(x: Floats) -> float:
    """Of all pairs of columns that vary, without what chance alone shows on so many rows."""
    deviation = x.std(axis=0, dtype=np.float64)
    varying = deviation > VARYING
    rows, columns = len(x), int(varying.sum())
    if rows < 3 or columns < 2:
        return 0.0
    standard = (x[:, varying] - x[:, varying].mean(axis=0, dtype=np.float64)) / deviation[varying]
    squares = (standard.T @ standard / rows) ** 2
    mean = float(squares.sum() - np.trace(squares)) / (columns * (columns - 1))
    return max(0.0, mean - 1 / (rows - 1))
