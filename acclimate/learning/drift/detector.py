"""The drift of a window: what changed since the seed set, and whether to learn from it."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from acclimate.learning.data import Floats, Json, Rows, SeedSet, Window
from acclimate.learning.drift import abrupt_shift, label_evidence
from acclimate.learning.drift.label_shift import Residual, label_shift_residual
from acclimate.learning.drift.scale_shift import in_own_scale, may_age
from acclimate.learning.models.bundle import Bundle
from acclimate.learning.models.features import penultimate_features
from acclimate.learning.results import Drift, DriftKind, Effect, Screening
from acclimate.learning.screening import contamination
from acclimate.learning.screening.duplicates import independent_rows
from acclimate.learning.thresholds import DEFAULT, Thresholds

PROVED: dict[str, DriftKind] = {"labels": "concept", "unknown_class": "new_class"}
"""Effects that labels alone prove, and the drift they are. They alarm."""

Tick = Callable[[int, int], None]


def detect(
    window: Window,
    seed: SeedSet,
    champion: Bundle,
    anchor: Bundle,
    screening: Screening,
    *,
    rng: np.random.Generator,
    tick: Tick,
    limits: Thresholds = DEFAULT,
) -> Drift:
    """What drifted between the seed set and the measured rows of the window.

    `kind`: covariate where no class priors explain the window (`label_shift`, on the seed rows that
    the anchor was not trained on), in the members' answers or in their penultimate features; else
    prior where the priors that explain it moved; none where they did not. Only drift of the answers
    is learnt from; the others stop the run. Dense rows (`Screening`) are no drift. `amount` grows
    with the logarithm of the residual, from `drift_least_amount` at its limit to 1 at
    `drift_full_ratio`.

    An alarm stops the run too: an abrupt shift (`abrupt_shift`), or labels of the window's rows
    that prove a new meaning (`concept`) or rows of none of the classes (`new_class`).
    """
    whole, window = window, window.measured
    measure = _Measure(anchor, window.number, rng, limits)
    screening, calm_seed, calm_rows, residual = measure.without_dense(seed, window.rows, screening)
    tick(1, 3)
    layers = measure.layers(seed, window.rows)
    scale = measure.scale(calm_seed, calm_rows, residual)
    tick(2, 3)
    agreement, steps = abrupt_shift.measure(
        window, seed, champion, anchor, residual, rng=rng, limits=limits
    )
    effects = {
        **_distances(residual, layers, limits),
        "scale": scale,
        **screening.effects,
        **steps,
        **label_evidence.effects(window, seed, anchor, limits),
    }
    tick(3, 3)
    raised = abrupt_shift.raised(effects, limits)
    kind = _kind(effects, raised, limits)
    alarms = bool(raised) or kind in PROVED.values()
    stops = alarms or not effects["input"].detected
    reported = _reported(screening, whole, anchor)
    detail = _describe(effects, raised, kind, agreement)
    if stops and reported is not None:
        detail = f"{detail}; {contamination.describe(reported, screening)}"
    return Drift(
        kind=kind,
        amount=_amount(effects["input"], limits),
        effects=effects,
        agreement=agreement,
        priors=tuple(float(prior) for prior in residual.priors),
        contamination=reported,
        independent=independent_rows(window.rows),
        stops=stops,
        alarms=alarms,
        over=_over(effects["input"], kind, limits),
        detail=detail,
    )


def _reported(screening: Screening, window: Window, anchor: Bundle) -> Json | None:
    """What the screening found among all rows of the window, by the anchor's labels."""
    answers = anchor.network_probabilities(window.rows).argmax(axis=1)
    return contamination.report(screening, window, answers, anchor.input_spec.classes)


class _Measure:
    """Label-shift residuals of one window, as the anchor sees its rows.

    Against held-out seed rows: on rows that it was trained on, the anchor separates classes better.
    """

    def __init__(
        self, anchor: Bundle, number: int, rng: np.random.Generator, limits: Thresholds
    ) -> None:
        self.anchor, self.number, self.rng, self.limits = anchor, number, rng, limits

    def without_dense(
        self, seed: SeedSet, rows: Rows, screening: Screening
    ) -> tuple[Screening, SeedSet, Rows, Residual]:
        """The residual of the answers without dense rows, and the seed set and rows without them.

        Rows are dense only where the inputs have drifted; the screening says so.
        """
        residual = self.answers(seed, rows)
        dense = residual.ratio > residual.single
        screening = screening if dense else screening.without_density
        calm_seed, calm_rows = screening.without_dense(seed, rows)
        if screening.dense.any():
            residual = self.answers(calm_seed, calm_rows)
        return screening, calm_seed, calm_rows, residual

    def answers(self, seed: SeedSet, rows: Rows) -> Residual:
        """In the members' answers: drift that changes none of them costs nothing."""
        return self._residual(seed, _logits(self.anchor, seed.held_out.x), self._of(rows))

    def layers(self, seed: SeedSet, rows: Rows) -> Residual:
        """In the members' penultimate features."""
        held = penultimate_features(self.anchor, seed.held_out.x)
        return self._residual(seed, held, penultimate_features(self.anchor, rows))

    def scale(self, seed: SeedSet, rows: Rows, residual: Residual) -> Effect:
        """The share of the residual that goes where sensors are read in their own scale."""
        limit, n = self.limits.scale_explains, residual.n
        if residual.ratio <= 1 or not may_age(self.anchor, self.limits):
            return Effect(value=0.0, threshold=limit, n=n)
        rescaled = in_own_scale(self.anchor, rows)
        own = _finite(rescaled.member_logits(rows, rescaled.start))
        left = self._residual(seed, _logits(self.anchor, seed.held_out.x), own).ratio
        return Effect(value=1 - left / residual.ratio, threshold=limit, n=n)

    def _of(self, rows: Rows) -> Floats:
        return _logits(self.anchor, rows)

    def _residual(self, seed: SeedSet, held: Floats, window: Floats) -> Residual:
        return label_shift_residual(
            held,
            seed.held_out.y,
            window,
            classes=len(self.anchor.input_spec.classes),
            number=self.number,
            rng=self.rng,
            limits=self.limits,
        )


def _logits(anchor: Bundle, rows: Rows) -> Floats:
    return _finite(anchor.member_logits(rows))


def _finite(logits_MNC: Floats) -> Floats:
    """The members' logits side by side (N, M * C)."""
    flat = logits_MNC.transpose(1, 0, 2).reshape(logits_MNC.shape[1], -1)
    return np.nan_to_num(flat, posinf=0.0, neginf=0.0)


def _distances(residual: Residual, layers: Residual, limits: Thresholds) -> dict[str, Effect]:
    """How far the window is from any mixture of the seed's classes, and how far the priors moved.

    Where the priors moved, only drift beyond chance in the whole series counts. Where they did not,
    drift beyond chance in this window does: detecting late costs more than a false positive, since
    a student of an undrifted window is no worse.
    """
    moved = Effect(
        value=residual.moved,
        threshold=max(
            limits.priors_moved_by_chance * residual.moved_by_chance, limits.priors_moved
        ),
        n=residual.n,
        lower=residual.moved_within[0],
        upper=residual.moved_within[1],
    )
    strict = moved.detected or not limits.on("single_peek")
    return {
        "input": _of_residual(residual, 1.0 if strict else residual.single),
        "layers": _of_residual(layers, 1.0),
        "class_shares": moved,
    }


def _of_residual(residual: Residual, threshold: float) -> Effect:
    low, high = residual.ratio_within
    return Effect(value=residual.ratio, threshold=threshold, n=residual.n, lower=low, upper=high)


def _kind(effects: dict[str, Effect], raised: list[str], limits: Thresholds) -> DriftKind:
    """Rows that people prove to be of a new class explain a step; a change of meaning does not."""
    proved = [name for name in PROVED if limits.on(name) and _detected(effects, name)]
    if "unknown_class" in proved:
        return "new_class"
    if raised:
        return "abrupt"
    if effects["input"].detected:
        return "covariate"
    if "labels" in proved:
        return "concept"
    if effects["layers"].detected and limits.on("layers"):
        return "covariate"
    return "prior" if effects["class_shares"].detected else "none"


def _detected(effects: dict[str, Effect], name: str) -> bool:
    return name in effects and effects[name].detected


def _over(found: Effect, kind: DriftKind, limits: Thresholds) -> bool:
    """Whether a drift that was learnt is gone: by chance's measure, and clearly below its limit."""
    share = limits.drift_over_share if limits.on("late_return") else 1.0
    return kind in ("none", "prior") and found.value <= share * found.threshold


def _amount(residual: Effect, limits: Thresholds) -> float:
    if not residual.detected:
        return 0.0
    grown = math.log(max(1.0, residual.value)) / math.log(limits.drift_full_ratio)
    least = limits.drift_least_amount
    return min(1.0, least + (1 - least) * grown)


def _describe(
    effects: dict[str, Effect], raised: list[str], kind: DriftKind, agreement: float
) -> str:
    alarms = [abrupt_shift.describe(name, effects[name], agreement) for name in raised]
    alarms += [
        label_evidence.describe(name, effects[name])
        for name, proved in PROVED.items()
        if proved == kind
    ]
    return "; ".join(alarms) if alarms else _describe_calm(effects, kind)


def _describe_calm(effects: dict[str, Effect], kind: DriftKind) -> str:
    found, layers = effects["input"], effects["layers"]
    if kind == "prior":
        moved = effects["class_shares"].value
        return (
            f"only the class priors moved, by {moved:.2f} (total variation): "
            "no drift of the inputs to learn from"
        )
    if kind == "none":
        return (
            "no drift to learn from: what the seed's classes do not explain of the window is "
            f"{found.value:.2f} times what chance shows at most (limit {found.threshold:.2f})"
        )
    if not found.detected:
        return (
            f"the inputs drifted ({layers.value:.2f} times what chance shows at most), but not "
            f"version 1's answers to them ({found.value:.2f} times): nothing to learn"
        )
    return ""
