"""What each rule of training, gates, estimate and monitor changes, seen by switching it off."""

from __future__ import annotations

from dataclasses import replace

import clouds
import numpy as np
import pytest
from answers import drawn, even
from rules_off import covers, effect, without
from stages import silent
from turned_digits import window_of

from acclimate.learning import pipeline
from acclimate.learning.data import UNLABELLED
from acclimate.learning.evaluation import gates, rollback_monitor
from acclimate.learning.evaluation.accuracy_estimate import HINDSIGHT, Estimate, estimate
from acclimate.learning.evaluation.behaviour import Behaviour
from acclimate.learning.models.modes import PriorAdapted
from acclimate.learning.outcomes import Judged, NothingToLearn
from acclimate.learning.results import Drift, Gate, Opinion, Verdict
from acclimate.learning.spec import Gates
from acclimate.learning.thresholds import DEFAULT, GATES, Thresholds
from acclimate.learning.training.calibration import calibrate, calibrate_student

SEED = clouds.seed_set()
VERSION = clouds.version()


@covers("agreement_temperature")
def test_without_agreement_temperature_trusted_rows_alone_calibrate():
    x, rng = clouds.rows(200, 4)[0], np.random.default_rng(0)
    teacher = clouds.with_rotated_classes(VERSION)
    on, off = (
        calibrate_student(
            VERSION, SEED.calibration, teacher, x, rng=rng, tick=silent, limits=limits
        )
        for limits in (DEFAULT, without("agreement_temperature"))
    )
    alone = calibrate(VERSION, SEED.calibration, rng=rng, tick=silent)
    assert on.temperature > alone.temperature
    assert off.temperature == alone.temperature


@covers("simulation")
def test_without_simulation_a_first_student_serves_at_once():
    window = window_of(clouds.rows(100, 4)[0])
    on, off = (
        pipeline._serving(clouds.inputs(window, VERSION, limits), clouds.student(VERSION))
        for limits in (DEFAULT, without("simulation"))
    )
    assert on.standing.serves == "proved"
    assert off is None


@covers("labels_alone")
def test_without_labels_alone_nothing_is_learnt_where_the_model_cannot_learn_by_itself():
    x, y = clouds.rows(100, 4)
    window = window_of(x, labels=np.where(np.arange(len(y)) < 40, y, UNLABELLED))
    on, off = (
        pipeline.run(clouds.inputs(window, VERSION, limits), pipeline.plain_step(0))
        for limits in (DEFAULT, without("labels_alone"))
    )
    assert isinstance(on, Judged) and on.taught == 40 and on.labels is None
    assert isinstance(off, NothingToLearn)


@covers("serving_guard")
def test_without_the_serving_guard_nothing_is_compared():
    window = window_of(clouds.rows(100, 4)[0])
    wrong = clouds.with_rotated_classes(VERSION)
    on, off = (
        pipeline._compare(replace(clouds.inputs(window, wrong, limits), anchor=VERSION), window)
        for limits in (DEFAULT, without("serving_guard"))
    )
    assert on.divergence.value == 1.0
    assert off is None


def judged(limits: Thresholds, amount: float = 0.0) -> dict[str, Gate]:
    """Every gate of a student that is always wrong, and of version 1 in prior mode."""
    x, y = clouds.rows(400, 4)
    window = window_of(x, labels=np.where(np.arange(len(y)) < 60, y, UNLABELLED))
    trial = gates.Trial(
        champion=VERSION,
        anchor=VERSION,
        judging=SEED.judging,
        window=window,
        drift=clouds.drift("covariate", amount=amount),
        gates=Gates(),
        limits=limits,
    )
    rng = np.random.default_rng(0)
    wrong = clouds.with_rotated_classes(VERSION)
    adapted = VERSION.with_mode(PriorAdapted.of(np.full(3, 1 / 3)))
    verdicts = (
        gates.judge_mode(adapted, trial, rng=rng, tick=silent),
        gates.judge(wrong, trial, rng=rng, tick=silent),
    )
    return {gate.gate: gate for verdict in verdicts for gate in verdict.gates}


@covers(*GATES)
@pytest.mark.parametrize("gate", GATES)
def test_a_gate_that_is_off_informs_and_does_not_bind(gate):
    on, off = judged(DEFAULT), judged(without(gate))
    assert {name for name in on if on[name].binds} == set(GATES)
    assert not off[gate].binds
    assert off == on | {gate: replace(on[gate], binds=False)}


@pytest.mark.parametrize("gate", GATES)
def test_a_failed_gate_that_is_off_does_not_keep_a_verdict_from_passing(gate):
    failed = Gate(gate=gate, value=0.0, limit=1.0, n=60, verdict="fail")
    verdict = Verdict(gates=(failed,))
    assert not verdict.passed
    assert verdict.without(frozenset({gate})).passed


@covers("drift_margin")
def test_without_drift_margin_drift_widens_no_limit():
    calm, on, off = judged(DEFAULT), judged(DEFAULT, 1.0), judged(without("drift_margin"), 1.0)
    assert on["accuracy_against_anchor"].limit < calm["accuracy_against_anchor"].limit
    assert on["class_recall"].limit > calm["class_recall"].limit
    assert off == calm


def estimated(limits: Thresholds, confidence: float = 0.9, **known: object) -> Estimate:
    answers = drawn(300, even(3), confidence=confidence, rng=np.random.default_rng(1))
    given = {"expected": None, "drift": clouds.drift("covariate"), "frozen": False} | known
    return estimate(Behaviour.of(answers), limits=limits, **given)


def fallen() -> Drift:
    return clouds.drift("covariate", effects={"anchor_confidence": effect(0.2, 0.02)})


@covers("second_opinion", "frozen_fall", "expected_fall")
@pytest.mark.parametrize(
    ("rule", "known", "reason"),
    [
        (
            "second_opinion",
            {"second": Opinion(estimator=HINDSIGHT, value=0.5, rows=300)},
            "neither can be believed",
        ),
        ("frozen_fall", {"drift": fallen(), "frozen": True}, "the seed set alone"),
        (
            "expected_fall",
            {
                "expected": Behaviour.of(drawn(300, even(3), rng=np.random.default_rng(0))),
                "confidence": 0.6,
            },
            "does not track",
        ),
    ],
)
def test_without_its_rule_an_estimate_is_not_refused(rule, known, reason):
    on, off = (estimated(limits, **known) for limits in (DEFAULT, without(rule)))
    assert reason in on.refused
    assert off.refused is None and off.value is not None
    others = {"second_opinion", "frozen_fall", "expected_fall"} - {rule}
    assert estimated(Thresholds(off=frozenset(others)), **known) == on


@covers("rollback_confidence", "rollback_classes")
@pytest.mark.parametrize(
    ("rule", "shares", "confidence"),
    [("rollback_confidence", even(3), 0.5), ("rollback_classes", [0.01, 0.01, 0.98], 0.9)],
)
def test_without_its_rule_a_promotion_is_not_rolled_back(rule, shares, confidence):
    rng = np.random.default_rng(0)
    expected = Behaviour.of(drawn(300, even(3), rng=rng))
    live = Behaviour.of(drawn(500, shares, confidence=confidence, rng=rng))
    other = next(each for each in ("rollback_confidence", "rollback_classes") if each != rule)
    states = [
        rollback_monitor.judge(expected, live, needed=500, limits=limits).state
        for limits in (DEFAULT, without(rule), without(other))
    ]
    assert states == ["worse", "passed", "worse"]
