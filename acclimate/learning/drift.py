"""What happened to the input since the seed set, seen by the frozen anchor, by the champion, and in the rows themselves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from acclimate.learning import augment
from acclimate.learning.network import Bundle
from acclimate.learning.values import Drift, Effect, Floats, Integers, Rows, SeedSet, Window

FULL_FALL = 0.10
"""Fall of the anchor's confidence or agreement that counts as full drift."""
NO_DRIFT = 0.2
"""Less of it than this is none."""
AGREEMENT_FALL = 0.10
"""Fall of the members' agreement in one window that no gradual drift shows (learning.md: 9 of 9 alarms true)."""
HISTOGRAM_SHIFT = 0.3
LOST_STRUCTURE = 0.5
"""Share of the seed's squared correlations that is gone in rows of noise, and not in rows that merely moved."""
COMPARED_COLUMNS = 256
VARYING = 1e-4
"""Standard deviation of a normalised column below which it is constant."""
NULL_DRAWS = 200
PERMUTATIONS = 100
COMPARED_ROWS = 256
"""Rows of each side of the two-sample test: its cost is their square."""

Tick = Callable[[int, int], None]
Kind = Literal["none", "covariate", "prior", "abrupt", "junk"]


@dataclass(frozen=True, kw_only=True)
class _Opinion:
    """What a bundle thinks of rows: labels (N,), mean confidence, share of rows on which all members agree."""

    labels: Integers
    confidence: float
    agreement: float


def diagnose(
    window: Window, seed: SeedSet, champion: Bundle, anchor: Bundle, *, rng: np.random.Generator, tick: Tick
) -> Drift:
    """How far the whole window lies from the seed set, and whether to learn from it.

    `amount` = fall of the anchor's confidence or agreement below that on the judging part / 0.10, clipped to 0..1. Below 0.2
    there is nothing to learn and the run stops. It also stops, with an alarm, where the champion's members agree on more than
    0.10 fewer rows than on the last good window (at the first: than on the judging part), and where the champion's classes
    moved by more than 0.3 (total variation) from the seed's. Confidence falls too late to alarm: after a jump a served model
    is sure and wrong.
    """
    rows = np.concatenate([window.x, window.held_out])
    before, now = _opinion(anchor, seed.judging.x, rng), _opinion(anchor, rows, rng)
    tick(1, 4)
    served = _opinion(champion, rows, rng)
    past = window.past_agreement
    if past is None:
        past = _opinion(champion, seed.judging.x, rng).agreement
    tick(2, 4)
    z, seed_z = anchor.encoding.features(rows), anchor.encoding.features(_seed_rows(seed))
    n, slight = len(rows), NO_DRIFT * FULL_FALL
    effects = {
        "anchor_confidence": Effect(value=before.confidence - now.confidence, threshold=slight, n=n),
        "anchor_agreement": Effect(value=before.agreement - now.agreement, threshold=slight, n=n),
        "agreement": Effect(value=past - served.agreement, threshold=AGREEMENT_FALL, n=n),
        "class_histogram": _histogram_shift(served.labels, seed, len(anchor.input_spec.classes), rng),
        "input": _two_sample(z, seed_z, rng),
        "structure": _lost_structure(z, seed_z, rng),
    }
    tick(4, 4)
    return _conclude(effects, served.agreement)


def _conclude(effects: dict[str, Effect], agreement: float) -> Drift:
    fall = max(effects["anchor_confidence"].value, effects["anchor_agreement"].value)
    amount = float(np.clip(fall / FULL_FALL, 0, 1))
    kind: Kind = "none" if amount < NO_DRIFT else "covariate"
    alarms: list[str] = []
    if effects["agreement"].detected:
        kind = "junk" if effects["structure"].detected else "abrupt"
        alarms.append(
            f"the champion's members agree on {agreement:.0%} of the rows, {100 * effects['agreement'].value:.0f} points "
            f"fewer than before (limit {100 * AGREEMENT_FALL:.0f})"
        )
        if kind == "junk":
            alarms.append("the rows have lost the correlations between the seed's columns")
    if effects["class_histogram"].detected:
        kind = kind if alarms else "prior"
        shift = effects["class_histogram"]
        alarms.append(
            f"the predicted classes moved by {shift.value:.2f} from the seed set's (limit {shift.threshold:.2f}, total variation)"
        )
    detail = "; ".join(alarms)
    if kind == "none":
        detail = (
            f"no drift to learn from: the anchor's confidence or agreement fell by {100 * fall:.1f} points, "
            f"less than {100 * NO_DRIFT * FULL_FALL:.0f}"
        )
    return Drift(
        kind=kind,
        amount=amount,
        effects=effects,
        agreement=agreement,
        stops=bool(alarms) or kind == "none",
        alarms=bool(alarms),
        detail=detail,
    )


def _opinion(bundle: Bundle, x: Rows, rng: np.random.Generator) -> _Opinion:
    opinions_VNC = augment.opinions(bundle, x, rng=rng)
    mean_NC = opinions_VNC.mean(axis=0)
    single_VN = opinions_VNC.argmax(axis=2)
    return _Opinion(
        labels=mean_NC.argmax(axis=1).astype(np.int64),
        confidence=float(mean_NC.max(axis=1).mean()),
        agreement=float((single_VN == single_VN[0]).all(axis=0).mean()),
    )


def _seed_rows(seed: SeedSet) -> Rows:
    return np.concatenate([seed.train.x, seed.calibration.x, seed.judging.x])


def _histogram_shift(labels: Integers, seed: SeedSet, classes: int, rng: np.random.Generator) -> Effect:
    """Total variation from the seed's class shares; with few rows or many classes the limit is what chance alone shows."""
    truth = np.concatenate([seed.train.y, seed.calibration.y, seed.judging.y])
    prior = np.bincount(truth, minlength=classes) / len(truth)
    share = np.bincount(labels, minlength=classes) / len(labels)
    null = np.abs(rng.multinomial(len(labels), prior, size=NULL_DRAWS) / len(labels) - prior).sum(axis=1) / 2
    threshold = max(HISTOGRAM_SHIFT, float(np.quantile(null, 0.99)))
    return Effect(value=float(np.abs(share - prior).sum() / 2), threshold=threshold, n=len(labels))


def _two_sample(a: Floats, b: Floats, rng: np.random.Generator) -> Effect:
    """Energy distance (Szekely and Rizzo 2013) of two sets of normalised rows, beside the 99 % quantile of its permutations."""
    a, b = a[rng.permutation(len(a))[:COMPARED_ROWS]], b[rng.permutation(len(b))[:COMPARED_ROWS]]
    pooled = np.concatenate([a, b]).astype(np.float64)
    squares = (pooled**2).sum(axis=1)
    distances = np.sqrt(np.maximum(squares[:, None] + squares[None, :] - 2 * pooled @ pooled.T, 0))

    def energy(order: Integers) -> float:
        weight = np.full(len(pooled), -1 / len(b))
        weight[order[: len(a)]] = 1 / len(a)
        return float(-weight @ distances @ weight)

    null = [energy(rng.permutation(len(pooled))) for _ in range(PERMUTATIONS)]
    return Effect(value=energy(np.arange(len(pooled))), threshold=float(np.quantile(null, 0.99)), n=len(a))


def _lost_structure(z: Floats, seed_z: Floats, rng: np.random.Generator) -> Effect:
    """Share of the seed's correlation between columns that the rows no longer have.

    Turned, shifted or scaled rows correlate as strongly as before, other columns perhaps; rows of noise do not.
    """
    columns = rng.permutation(z.shape[1])[:COMPARED_COLUMNS]
    usual, left = _mean_square_correlation(seed_z[:, columns]), _mean_square_correlation(z[:, columns])
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
