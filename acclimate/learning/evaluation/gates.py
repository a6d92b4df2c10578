"""Named checks of a challenger: value, limit, n and outcome. Insufficient evidence is not a pass.

A value that is not finite never passes: it is written as None and fails.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from acclimate.learning.data import Flags, Floats, Integers, Part, Rows, Window
from acclimate.learning.models import bundle as bundles
from acclimate.learning.models.bundle import Bundle
from acclimate.learning.models.modes import Plain
from acclimate.learning.models.running import Running
from acclimate.learning.results import Drift, Gate, Verdict
from acclimate.learning.spec import Gates
from acclimate.learning.stats import betting
from acclimate.learning.stats.significance import (
    Doubles,
    level_of_peek,
    paired_lower_bound,
    total_variation,
)
from acclimate.learning.thresholds import DEFAULT, Thresholds

INSTEAD_OF_LABELS = ("class_flow", "agreement_with_champion")
"""Asked of a challenger in place of labels; not binding once labels prove it."""
MODE_DRAWS = 8
ECE_BINS = 15
ECE_DRAWS = 200
ANCHOR_BINDS = ("finite_weights", "self_test", "better_than_chance")

Tick = Callable[[int, int], None]
Evidence = Literal["audited", "label_free"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Trial:
    """What a challenger is judged against: the champion, the anchor, rows, drift and limits.

    `taught`: the challenger learnt from labels alone, so nothing has to stand in for them.
    """

    champion: Bundle
    anchor: Bundle
    judging: Part
    window: Window
    drift: Drift
    gates: Gates
    limits: Thresholds = DEFAULT
    taught: bool = False


def judge(student: Bundle, trial: Trial, *, rng: np.random.Generator, tick: Tick) -> Verdict:
    """All gates of a student: on judging rows, on unlabelled held-out rows, on audited rows if any.

    `evidence` is audited where the labels prove that it is not worse; then what replaces labels
    only informs, as it does for a student that learnt from labels alone. Labels that prove nothing
    may still refuse, and the label-free gates decide. Never raises on a damaged student: it fails.
    """
    checked = [_finite_weights(student), _self_test(student), _enough_evidence(trial)]
    tick(1, 4)
    checked += _against_anchor(student, trial)
    tick(2, 4)
    checked += _calibration(student, trial.judging, trial.gates, rng)
    tick(3, 4)
    checked += _on_held_out(student, trial)
    labelled = len(trial.window.audited) or trial.window.fresh
    proof = _audited(student, trial) if labelled else []
    tick(4, 4)
    proved = any(_proves(gate) for gate in proof)
    if proved or trial.taught:
        checked = [
            replace(gate, binds=gate.binds and gate.gate not in INSTEAD_OF_LABELS)
            for gate in checked
        ]
    evidence: Evidence = "audited" if proved else "label_free"
    return Verdict(gates=(*checked, *proof), evidence=evidence).without(trial.limits.off)


def judge_mode(
    challenger: Bundle, trial: Trial, *, rng: np.random.Generator, tick: Tick
) -> Verdict:
    """Gates of the anchor's networks in another mode, for a window that the anchor answers.

    Challenger and champion answer judging rows drawn with the window's priors, as they would serve
    them: the mode must not be worse by the margin, at 95 %. Labels of the window do not count: they
    are few, and these rows have labels. Plain version 1 is only informed on: the way back to it is
    always open.
    """
    checked = [_finite_weights(challenger), _self_test(challenger), _enough_evidence(trial)]
    drawn = _on_drawn_rows(challenger, trial, rng)
    checked.append(replace(drawn, binds=not isinstance(challenger.mode, Plain)))
    tick(1, 1)
    return Verdict(gates=tuple(checked), evidence="label_free").without(trial.limits.off)


def judge_anchor(
    anchor: Bundle, judging: Part, gates: Gates, *, rng: np.random.Generator, tick: Tick
) -> Verdict:
    """The gates of version 1: `ANCHOR_BINDS` bind, the others are information."""
    checked = [_finite_weights(anchor), _self_test(anchor), _better_than_chance(anchor, judging)]
    checked.append(_enough(len(judging), gates.min_judging_rows))
    checked += _calibration(anchor, judging, gates, rng)
    tick(1, 1)
    return Verdict(gates=tuple(checked)).binding_only(*ANCHOR_BINDS)


def expected_calibration_error(confidence: Floats, correct: Flags) -> float:
    """Mean distance of confidence and accuracy over 15 bins, by rows (Naeini et al. 2015)."""
    return float(np.abs(_surer_than_right(confidence, correct)).sum() / len(confidence))


def overconfidence(confidence: Floats, correct: Flags) -> float:
    """The part of that error that comes from bins whose rows are surer than right."""
    return float(np.maximum(_surer_than_right(confidence, correct), 0.0).sum() / len(confidence))


def _surer_than_right(confidence: Floats, correct: Flags) -> Doubles:
    """Of each bin the sum of confidence less the number of right answers."""
    sure = np.asarray(confidence, dtype=np.float64)
    bins = np.minimum((sure * ECE_BINS).astype(np.int64), ECE_BINS - 1)
    return np.asarray(
        np.bincount(bins, weights=sure - correct, minlength=ECE_BINS), dtype=np.float64
    )


def _proves(gate: Gate) -> bool:
    return gate.gate == "audited_accuracy" and gate.verdict == "pass" and gate.binds


def _on_drawn_rows(challenger: Bundle, trial: Trial, rng: np.random.Generator) -> Gate:
    """`mode_accuracy`: lower bound of the gain on judging rows drawn with the window's priors."""
    judging, gates = trial.judging, trial.gates
    n, limit = len(judging), -gates.accuracy_margin
    if n < gates.min_judging_rows:
        return _too_few("mode_accuracy", limit, n)
    priors = np.asarray(trial.drift.priors)
    counts = np.bincount(judging.y, minlength=len(priors))
    weight = priors[judging.y] / counts[judging.y]
    gained, drawn = np.zeros(n), np.zeros(n)
    for _ in range(MODE_DRAWS):
        rows = rng.choice(n, size=n, p=weight / weight.sum())
        x, y = judging.x[rows], judging.y[rows]
        ours, theirs = (
            _right(Running(bundle).answer(x), y).astype(np.float64)
            for bundle in (challenger, trial.champion)
        )
        np.add.at(gained, rows, ours - theirs)
        np.add.at(drawn, rows, 1)
    # A row that is drawn often is one row: the error is over rows, weighted as they are drawn.
    share, mean = drawn / drawn.sum(), float(gained.sum() / drawn.sum())
    each = gained / np.maximum(drawn, 1)
    error = math.sqrt(float((share**2 * (each - mean) ** 2).sum()))
    return _at_least("mode_accuracy", mean - trial.limits.gate_errors * error, limit, n)


def _finite_weights(student: Bundle) -> Gate:
    return _at_most("finite_weights", bundles.non_finite_weights(student), 0, 0)  # on no rows


def _self_test(student: Bundle) -> Gate:
    deviation, limit = bundles.self_test_deviation(student), DEFAULT.self_test_tolerance
    return _at_most("self_test", deviation, limit, len(student.selftest_x))


def _enough_evidence(trial: Trial) -> Gate:
    """Written for the scarcer of judging and held-out rows."""
    rows = [
        (len(trial.judging), trial.gates.min_judging_rows),
        (len(trial.window.held_out), trial.limits.held_out_rows),
    ]
    have, need = min(rows, key=lambda pair: pair[0] / pair[1])
    return _enough(have, need)


def _enough(have: int, need: int) -> Gate:
    verdict: Literal["pass", "insufficient"] = "pass" if have >= need else "insufficient"
    return Gate(
        gate="enough_evidence", value=float(have), limit=float(need), n=have, verdict=verdict
    )


def _against_anchor(student: Bundle, trial: Trial) -> list[Gate]:
    """Paired accuracy, and the largest loss of recall in one class; margins grow with drift."""
    judging, gates = trial.judging, trial.gates
    n, enough = len(judging), len(judging) >= gates.min_judging_rows
    allowed = gates.accuracy_margin_per_drift * trial.drift.amount
    allowed = allowed if trial.limits.on("drift_margin") else 0.0
    limit, most = -(gates.accuracy_margin + allowed), gates.max_recall_loss + allowed
    if not enough:
        return [
            _too_few("accuracy_against_anchor", limit, n),
            _too_few("class_recall", most, n),
        ]
    answers = student.network_probabilities(judging.x)
    bound = loss = math.nan
    if np.isfinite(answers).all():
        right = _right(answers, judging.y)
        anchor_right = _right(trial.anchor.network_probabilities(judging.x), judging.y)
        bound = paired_lower_bound(
            right.astype(np.float64) - anchor_right, trial.limits.gate_errors
        )
        groups = _class_groups(judging.y, trial.limits.recall_rows)
        loss = max(float(anchor_right[group].mean() - right[group].mean()) for group in groups)
    return [
        _at_least("accuracy_against_anchor", bound, limit, n),
        _at_most("class_recall", loss, most, n),
    ]


def _class_groups(y: Integers, fewest: int) -> list[Flags]:
    """Rows of each class with enough of them; those of the others together.

    If these are still too few, with the smallest class that has enough.
    """
    labels, counts = np.unique(y, return_counts=True)
    by_size = [int(label) for label in labels[np.argsort(counts, kind="stable")]]
    pooled: list[int] = []
    rows = 0
    while by_size and (int((y == by_size[0]).sum()) < fewest or 0 < rows < fewest):
        rows += int((y == by_size[0]).sum())
        pooled.append(by_size.pop(0))
    return [y == label for label in by_size] + ([np.isin(y, pooled)] if pooled else [])


def _calibration(
    student: Bundle, judging: Part, gates: Gates, rng: np.random.Generator
) -> list[Gate]:
    """How much surer than right the student is, above what a calibrated model shows by chance.

    Less sure than right is no reason to refuse: trusted rows have not drifted, and a student is
    made so. The raw error, of both signs, is information.
    """
    n = len(judging)
    if n < gates.min_judging_rows:
        return [
            _too_few("max_ece", gates.max_ece, n),
            _too_few("raw_ece", gates.max_ece, n, binds=False),
        ]
    answers = student.network_probabilities(judging.x)
    raw = above = math.nan
    if np.isfinite(answers).all():
        confidence = answers.max(axis=1)
        right = _right(answers, judging.y)
        raw = expected_calibration_error(confidence, right)
        lucky = rng.random((ECE_DRAWS, n)) < confidence
        by_chance = float(np.mean([overconfidence(confidence, drawn) for drawn in lucky]))
        above = max(0.0, overconfidence(confidence, right) - by_chance)
    return [
        _at_most("max_ece", above, gates.max_ece, n),
        _at_most("raw_ece", raw, gates.max_ece, n, binds=False),
    ]


def _on_held_out(student: Bundle, trial: Trial) -> list[Gate]:
    """Without labels: how far the predicted classes moved, and how often both agree."""
    held_out, gates = trial.window.held_out, trial.gates
    n = len(held_out)
    if n < trial.limits.held_out_rows:
        return [
            _too_few("class_flow", gates.max_class_flow, n),
            _too_few("agreement_with_champion", gates.min_agreement, n),
        ]
    answers, before = _served(student, held_out), _served(trial.champion, held_out)
    flow = agreement = math.nan
    if np.isfinite(answers).all():
        new, old, classes = answers.argmax(axis=1), before.argmax(axis=1), answers.shape[1]
        counts = (np.bincount(labels, minlength=classes) for labels in (new, old))
        flow = total_variation(*counts) / n
        agreement = float((new == old).mean())
    return [
        _at_most("class_flow", flow, gates.max_class_flow, n),
        _at_least("agreement_with_champion", agreement, gates.min_agreement, n),
    ]


def _audited(student: Bundle, trial: Trial) -> list[Gate]:
    """On labelled rows: what is proved of the gain over the champion, and the gain observed.

    Rows that taught are answered by the member that did not learn from them, beside the champion's
    of the same number (cross-fitting).

    The proof counts either way, or is insufficient and does not bind. The gain observed only
    refuses, where losses outnumber gains; each challenger that these labels judged before costs one
    gain more. Fewer than `label_rows` labels inform.
    """
    peeks = trial.window.peeks
    alpha = level_of_peek(peeks, trial.limits)
    pairs = [
        (_served(student, part.x), _served(trial.champion, part.x), part.y)
        for part in (trial.window.audited,)
        if len(part)
    ]
    fresh = trial.window.fresh_rows
    if fresh is not None and len(student.members) > 1:
        pairs.append((_left_out(student, fresh.x), _left_out(trial.champion, fresh.x), fresh.y))
    n = sum(len(y) for _, _, y in pairs)
    enough = n >= trial.limits.label_rows
    if not all(np.isfinite(answers).all() for answers, _, _ in pairs):
        names = ("audited_accuracy", "audited_gain")
        return [_at_least(name, math.nan, 0.0, n, binds=enough) for name in names]
    gains = losses = 0
    for answers, before, y in pairs:
        right, was_right = _right(answers, y), _right(before, y)
        gains += int((right & ~was_right).sum())
        losses += int((was_right & ~right).sum())
    bound = betting.lower_bound(gains, losses, n, alpha=alpha)
    proof = _at_least("audited_accuracy", bound, -trial.gates.audited_margin, n)
    if proof.verdict == "fail" and betting.upper_bound(gains, losses, n, alpha=alpha) >= 0.0:
        proof = replace(proof, verdict="insufficient")
    proof = replace(proof, binds=enough and proof.verdict != "insufficient")
    gain = _at_least("audited_gain", (gains - losses) / n, peeks / n, n, binds=enough)
    return [proof, gain]


def _better_than_chance(anchor: Bundle, judging: Part) -> Gate:
    """Lower bound of the mean recall, strictly above that of an answer that ignores the row."""
    answers = anchor.network_probabilities(judging.x)
    classes = answers.shape[1]
    bound = math.nan
    if np.isfinite(answers).all():
        right = _right(answers, judging.y)
        counts = np.bincount(judging.y, minlength=classes)
        recall = np.bincount(judging.y, weights=right, minlength=classes) / np.maximum(counts, 1)
        variance = float((recall * (1 - recall) / np.maximum(counts, 1)).sum())
        bound = float(recall.mean()) - DEFAULT.gate_errors * (math.sqrt(variance) / classes)
    passes = bound > 1 / classes + 1e-9
    return _gate("better_than_chance", bound, 1 / classes, len(judging), passes, binds=True)


def _served(bundle: Bundle, rows: Rows) -> Floats:
    """The networks' answers to rows as the version starts to read them."""
    return bundle.network_probabilities(rows, bundle.start)


def _left_out(bundle: Bundle, rows: Rows) -> Floats:
    """The answer (N, C) to each row of the member that its fold was left out for."""
    logits = bundle.member_logits(rows, bundle.start)
    member = np.arange(len(rows)) % len(logits)
    return np.asarray(logits[member, np.arange(len(rows))])


def _right(probabilities: Floats, y: Integers) -> Flags:
    return np.asarray(probabilities.argmax(axis=1) == y)


def _at_most(gate: str, value: float, limit: float, n: int, *, binds: bool = True) -> Gate:
    return _gate(gate, value, limit, n, value <= limit, binds=binds)


def _at_least(gate: str, value: float, limit: float, n: int, *, binds: bool = True) -> Gate:
    return _gate(gate, value, limit, n, value >= limit, binds=binds)


def _gate(gate: str, value: float, limit: float, n: int, passes: bool, *, binds: bool) -> Gate:
    finite = math.isfinite(value)
    return Gate(
        gate=gate,
        value=float(value) if finite else None,
        limit=float(limit),
        n=n,
        verdict="pass" if finite and passes else "fail",
        binds=binds,
    )


def _too_few(gate: str, limit: float, n: int, *, binds: bool = True) -> Gate:
    return Gate(gate=gate, value=None, limit=limit, n=n, verdict="insufficient", binds=binds)
