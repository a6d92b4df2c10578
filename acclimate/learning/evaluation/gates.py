"""Named checks of a challenger; each writes value, limit, n and outcome. Insufficient evidence is
not a pass.

A value that is not finite never passes: it is written as None and fails.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from acclimate.learning.data import Floats, Integers, Part, Rows, Window
from acclimate.learning.models import network, rescale
from acclimate.learning.models.answers import Running
from acclimate.learning.models.network import Bundle
from acclimate.learning.results import Drift, Gate, Verdict
from acclimate.learning.spec import Gates
from acclimate.learning.stats import betting

HELD_OUT_ROWS = 20
AUDITED_ROWS = 10
INSTEAD_OF_LABELS = ("class_flow", "agreement_with_champion")
"""What is asked of a challenger because nobody knows whether it is right; not binding where labels
prove that it is.
"""
MODE_DRAWS = 8
POOLED_ROWS = 20
"""Classes with fewer judging rows than this are judged together: one row of five is no recall."""
ONE_SIDED_95 = 1.645
ECE_BINS = 15
ECE_DRAWS = 200
ANCHOR_BINDS = ("finite_weights", "self_test", "better_than_chance")

Tick = Callable[[int, int], None]


def judge(
    student: Bundle,
    champion: Bundle,
    anchor: Bundle,
    judging: Part,
    window: Window,
    drift: Drift,
    gates: Gates,
    *,
    rng: np.random.Generator,
    tick: Tick,
) -> Verdict:
    """All gates of a student: on the judging part, on the held-out rows without labels, on audited
    rows where there are any.

    `evidence` is audited where the labels prove that it is not worse; then what stands in for
    labels is information. Labels that prove nothing may still refuse, and the label-free gates
    decide. Never raises on a damaged student: it fails.
    """
    checked = [
        _finite_weights(student),
        _self_test(student),
        _enough_evidence(judging, window, gates),
    ]
    tick(1, 4)
    checked += _against_anchor(student, anchor, judging, drift, gates)
    tick(2, 4)
    checked += _calibration(student, judging, gates, rng)
    tick(3, 4)
    checked += _on_held_out(student, champion, window.held_out, gates)
    proof = _audited(student, champion, window, gates) if len(window.audited) else []
    tick(4, 4)
    if not any(
        gate.gate == "audited_accuracy" and gate.verdict == "pass" and gate.binds for gate in proof
    ):
        return Verdict(gates=(*checked, *proof), evidence="label_free")
    relieved = [
        replace(gate, binds=gate.binds and gate.gate not in INSTEAD_OF_LABELS) for gate in checked
    ]
    return Verdict(gates=(*relieved, *proof), evidence="audited")


def judge_mode(
    challenger: Bundle,
    champion: Bundle,
    judging: Part,
    window: Window,
    drift: Drift,
    gates: Gates,
    *,
    rng: np.random.Generator,
    tick: Tick,
) -> Verdict:
    """Gates of the anchor's networks in another mode, for a window that the anchor answers.

    Judging rows drawn with the window's class shares are answered by challenger and champion as
    they would serve them: the mode must not be worse by the margin, sure to 95 %. Labels of the
    window have no say: they are few, and these rows have labels. Of version 1 as it was they only
    inform: the way back to it is open.
    """
    checked = [
        _finite_weights(challenger),
        _self_test(challenger),
        _enough_evidence(judging, window, gates),
    ]
    drawn = _on_drawn_rows(challenger, champion, judging, drift, gates, rng)
    checked.append(replace(drawn, binds=challenger.mode.name != "plain"))
    tick(1, 1)
    return Verdict(gates=tuple(checked), evidence="label_free")


def _on_drawn_rows(
    challenger: Bundle,
    champion: Bundle,
    judging: Part,
    drift: Drift,
    gates: Gates,
    rng: np.random.Generator,
) -> Gate:
    """`mode_accuracy`: the gain over the champion on judging rows drawn with the window's shares,
    at its lower bound.
    """
    n, limit = len(judging), -gates.accuracy_margin
    if n < gates.min_judging_rows:
        return _too_few("mode_accuracy", limit, n)
    weight = (
        np.asarray(drift.shares)[judging.y]
        / np.bincount(judging.y, minlength=len(drift.shares))[judging.y]
    )
    gained = np.zeros(n)
    drawn = np.zeros(n)
    for _ in range(MODE_DRAWS):
        rows = rng.choice(n, size=n, p=weight / weight.sum())
        x, y = judging.x[rows], judging.y[rows]
        right = [
            _right(Running(bundle).answer(x), y).astype(np.float64)
            for bundle in (challenger, champion)
        ]
        np.add.at(gained, rows, right[0] - right[1])
        np.add.at(drawn, rows, 1)
    # A row that is drawn often is one row: what is sure is counted by rows, weighted as they are
    # drawn.
    share, mean = drawn / drawn.sum(), float(gained.sum() / drawn.sum())
    each = gained / np.maximum(drawn, 1)
    error = math.sqrt(float((share**2 * (each - mean) ** 2).sum()))
    return _at_least("mode_accuracy", mean - ONE_SIDED_95 * error, limit, n)


def judge_anchor(
    anchor: Bundle, judging: Part, gates: Gates, *, rng: np.random.Generator, tick: Tick
) -> Verdict:
    """The gates of version 1: finite weights, self-test and better than chance bind, the others are
    information.
    """
    checked = [_finite_weights(anchor), _self_test(anchor), _better_than_chance(anchor, judging)]
    checked.append(_enough(len(judging), gates.min_judging_rows))
    checked += _calibration(anchor, judging, gates, rng)
    tick(1, 1)
    return Verdict(gates=tuple(checked)).as_information(*ANCHOR_BINDS)


def expected_calibration_error(confidence: Floats, correct: NDArray[np.bool_]) -> float:
    """Mean distance between confidence and accuracy over 15 equal bins of confidence, weighted by
    rows (Naeini et al. 2015).
    """
    return float(np.abs(_surer_than_right(confidence, correct)).sum() / len(confidence))


def overconfidence(confidence: Floats, correct: NDArray[np.bool_]) -> float:
    """The part of that error that comes from bins whose rows are surer than right."""
    return float(np.maximum(_surer_than_right(confidence, correct), 0.0).sum() / len(confidence))


def _surer_than_right(confidence: Floats, correct: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Of each bin the sum of confidence less the number of right answers."""
    sure = np.asarray(confidence, dtype=np.float64)
    bins = np.minimum((sure * ECE_BINS).astype(np.int64), ECE_BINS - 1)
    return np.asarray(
        np.bincount(bins, weights=sure - correct, minlength=ECE_BINS), dtype=np.float64
    )


def paired_lower_bound(difference: NDArray[np.float64]) -> float:
    """One-sided 95 % lower bound of the mean of paired differences (N,), by the normal
    approximation.
    """
    deviation = float(difference.std(ddof=1)) if len(difference) > 1 else math.inf
    return float(difference.mean()) - ONE_SIDED_95 * deviation / math.sqrt(len(difference))


def _finite_weights(student: Bundle) -> Gate:
    return _at_most(
        "finite_weights", network.non_finite_weights(student), 0, 0
    )  # weights, on no rows


def _self_test(student: Bundle) -> Gate:
    deviation = network.self_test_deviation(student)
    return _at_most("self_test", deviation, network.SELF_TEST_TOLERANCE, len(student.selftest_x))


def _enough_evidence(judging: Part, window: Window, gates: Gates) -> Gate:
    """Written for the scarcer of judging and held-out rows."""
    rows = [(len(judging), gates.min_judging_rows), (len(window.held_out), HELD_OUT_ROWS)]
    have, need = min(rows, key=lambda pair: pair[0] / pair[1])
    return _enough(have, need)


def _enough(have: int, need: int) -> Gate:
    verdict: Literal["pass", "insufficient"] = "pass" if have >= need else "insufficient"
    return Gate(
        gate="enough_evidence", value=float(have), limit=float(need), n=have, verdict=verdict
    )


def _against_anchor(
    student: Bundle, anchor: Bundle, judging: Part, drift: Drift, gates: Gates
) -> list[Gate]:
    """Paired accuracy and the worst loss of recall in one class; the margins of both grow with
    drift.
    """
    n, enough = len(judging), len(judging) >= gates.min_judging_rows
    allowed = gates.accuracy_margin_per_drift * drift.amount
    limit, most = -(gates.accuracy_margin + allowed), gates.max_recall_loss + allowed
    if not enough:
        return [_too_few("accuracy_against_anchor", limit, n), _too_few("class_recall", most, n)]
    answers = student.probabilities(judging.x)
    bound = loss = math.nan
    if np.isfinite(answers).all():
        right = _right(answers, judging.y)
        anchor_right = _right(anchor.probabilities(judging.x), judging.y)
        bound = paired_lower_bound(right.astype(np.float64) - anchor_right)
        groups = _class_groups(judging.y)
        loss = max(float(anchor_right[group].mean() - right[group].mean()) for group in groups)
    return [
        _at_least("accuracy_against_anchor", bound, limit, n),
        _at_most("class_recall", loss, most, n),
    ]


def _class_groups(y: Integers) -> list[NDArray[np.bool_]]:
    """Rows of each class with at least 20; those of the others together, with the smallest such
    class if still fewer.
    """
    labels, counts = np.unique(y, return_counts=True)
    by_size = [int(label) for label in labels[np.argsort(counts, kind="stable")]]
    pooled: list[int] = []
    rows = 0
    while by_size and (int((y == by_size[0]).sum()) < POOLED_ROWS or 0 < rows < POOLED_ROWS):
        rows += int((y == by_size[0]).sum())
        pooled.append(by_size.pop(0))
    return [y == label for label in by_size] + ([np.isin(y, pooled)] if pooled else [])


def _calibration(
    student: Bundle, judging: Part, gates: Gates, rng: np.random.Generator
) -> list[Gate]:
    """How much surer than right the student is, above what a calibrated model would show on so few
    rows (by simulation).

    Less sure than right is no reason to refuse: a student is made so, since trusted rows have not
    drifted (`calibrate_student`, docs/decisions/0028). The raw error, of both signs, stands beside
    it as information.
    """
    n = len(judging)
    if n < gates.min_judging_rows:
        return [
            _too_few("max_ece", gates.max_ece, n),
            _too_few("raw_ece", gates.max_ece, n, binds=False),
        ]
    answers = student.probabilities(judging.x)
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


def _on_held_out(student: Bundle, champion: Bundle, held_out: Rows, gates: Gates) -> list[Gate]:
    """Without labels: how the share of each class moved, and on how many rows both say the same."""
    n = len(held_out)
    if n < HELD_OUT_ROWS:
        return [
            _too_few("class_flow", gates.max_class_flow, n),
            _too_few("agreement_with_champion", gates.min_agreement, n),
        ]
    answers, before = _served(student, held_out), _served(champion, held_out)
    flow = agreement = math.nan
    if np.isfinite(answers).all():
        new, old, classes = answers.argmax(axis=1), before.argmax(axis=1), answers.shape[1]
        flow = float(
            np.abs(np.bincount(new, minlength=classes) - np.bincount(old, minlength=classes)).sum()
            / 2
            / n
        )
        agreement = float((new == old).mean())
    return [
        _at_most("class_flow", flow, gates.max_class_flow, n),
        _at_least("agreement_with_champion", agreement, gates.min_agreement, n),
    ]


def _audited(student: Bundle, champion: Bundle, window: Window, gates: Gates) -> list[Gate]:
    """On rows that people labelled: what is proved of the gain over the champion, and the gain as
    it was seen.

    The proof counts either way, or is insufficient and does not bind. The gain seen only refuses,
    where losses outnumber gains; each challenger that these labels judged before costs one gain
    more (docs/decisions/0021). Fewer than ten labels inform.
    """
    audited, alpha = window.audited, betting.alpha_of_look(window.looks)
    n, enough = len(audited), len(audited) >= AUDITED_ROWS
    answers = _served(student, audited.x)
    if not np.isfinite(answers).all():
        return [
            _at_least(name, math.nan, 0.0, n, binds=enough)
            for name in ("audited_accuracy", "audited_gain")
        ]
    right, before = _right(answers, audited.y), _right(_served(champion, audited.x), audited.y)
    gains, losses = int((right & ~before).sum()), int((before & ~right).sum())
    proof = _at_least(
        "audited_accuracy",
        betting.lower_bound(gains, losses, n, alpha=alpha),
        -gates.audited_margin,
        n,
    )
    if proof.verdict == "fail" and betting.upper_bound(gains, losses, n, alpha=alpha) >= 0.0:
        proof = replace(proof, verdict="insufficient")
    proof = replace(proof, binds=enough and proof.verdict != "insufficient")
    return [
        proof,
        _at_least("audited_gain", (gains - losses) / n, window.looks / n, n, binds=enough),
    ]


def _better_than_chance(anchor: Bundle, judging: Part) -> Gate:
    """Lower bound of the mean recall of the classes, strictly above that of an answer that ignores
    the row.
    """
    answers = anchor.probabilities(judging.x)
    classes = answers.shape[1]
    bound = math.nan
    if np.isfinite(answers).all():
        right = _right(answers, judging.y)
        counts = np.bincount(judging.y, minlength=classes)
        recall = np.bincount(judging.y, weights=right, minlength=classes) / np.maximum(counts, 1)
        error = math.sqrt(float((recall * (1 - recall) / np.maximum(counts, 1)).sum())) / classes
        bound = float(recall.mean()) - ONE_SIDED_95 * error
    return _gate(
        "better_than_chance", bound, 1 / classes, len(judging), bound > 1 / classes + 1e-9, True
    )


def _served(bundle: Bundle, rows: Rows) -> Floats:
    """The networks' answers, to rows in the scale that the version follows if it does."""
    return bundle.probabilities(rescale.read(bundle, rows))


def _right(probabilities: Floats, y: Integers) -> NDArray[np.bool_]:
    return np.asarray(probabilities.argmax(axis=1) == y)


def _at_most(gate: str, value: float, limit: float, n: int, *, binds: bool = True) -> Gate:
    return _gate(gate, value, limit, n, value <= limit, binds)


def _at_least(gate: str, value: float, limit: float, n: int, *, binds: bool = True) -> Gate:
    return _gate(gate, value, limit, n, value >= limit, binds)


def _gate(gate: str, value: float, limit: float, n: int, passes: bool, binds: bool) -> Gate:
    finite = math.isfinite(value)
    verdict: Literal["pass", "fail"] = "pass" if finite and passes else "fail"
    return Gate(
        gate=gate,
        value=float(value) if finite else None,
        limit=float(limit),
        n=n,
        verdict=verdict,
        binds=binds,
    )


def _too_few(gate: str, limit: float, n: int, *, binds: bool = True) -> Gate:
    return Gate(gate=gate, value=None, limit=limit, n=n, verdict="insufficient", binds=binds)
