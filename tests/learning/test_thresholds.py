"""The table of decision limits, and what each rule that can be switched off changes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace

import clouds
import numpy as np
import pytest
from answers import drawn, even
from stages import diagnose, screen, select, silent
from turned_digits import window_of

from acclimate.learning.data import NONE_OF_THE_CLASSES, UNLABELLED, Past, Senders, Window
from acclimate.learning.drift import abrupt_shift, detector
from acclimate.learning.drift.label_shift import Residual
from acclimate.learning.evaluation import gates, rollback_monitor
from acclimate.learning.evaluation.accuracy_estimate import HINDSIGHT, Estimate, estimate
from acclimate.learning.evaluation.behaviour import Behaviour
from acclimate.learning.models.modes import PriorAdapted
from acclimate.learning.outcomes import Judged, NothingToLearn
from acclimate.learning.pipeline import _Lesson, _not_learnable, _return_to_anchor
from acclimate.learning.results import Drift, Effect, Gate, Opinion, Verdict
from acclimate.learning.screening import contamination
from acclimate.learning.spec import Gates
from acclimate.learning.thresholds import DEFAULT, GATES, RULES, Thresholds, document
from acclimate.learning.training.calibration import calibrate, calibrate_student

TESTED: set[str] = set()
"""The rules that a test of this file switches off."""
SEED = clouds.seed_set()
VERSION = clouds.version()


def covers(*rules: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Notes which rules a test switches off."""

    def noted(test: Callable[..., None]) -> Callable[..., None]:
        TESTED.update(rules)
        return test

    return noted


def without(rule: str) -> Thresholds:
    return Thresholds(off=frozenset({rule}))


def effect(value: float, threshold: float = 1.0) -> Effect:
    return Effect(value=value, threshold=threshold, n=300)


# The table


def test_every_rule_and_gate_is_switched_off_by_a_test():
    assert set(RULES) | set(GATES) == TESTED


def test_an_unknown_rule_is_refused_with_those_there_are():
    with pytest.raises(ValueError, match="unknown rule 'isolatd'; known: ") as error:
        without("isolatd")
    assert all(name in str(error.value) for name in (*RULES, *GATES))


@pytest.mark.parametrize("name", [each.name for each in fields(Thresholds) if each.name != "off"])
def test_every_limit_has_unit_purpose_and_source(name):
    known = next(each.metadata for each in fields(Thresholds) if each.name == name)
    assert set(known) == {"unit", "protects", "source"}
    assert all(isinstance(text, str) and text for text in known.values())


def test_the_document_lists_every_limit_with_its_value():
    changed = Thresholds(gate_errors=2.5)
    listed = document(changed)
    expected = [each.name for each in fields(Thresholds) if each.name != "off"]
    assert [each["name"] for each in listed] == expected
    assert all(set(each) == {"name", "value", "unit", "protects", "source"} for each in listed)
    assert {each["name"]: each["value"] for each in listed}["gate_errors"] == 2.5


def test_limits_as_json_hold_every_value_and_the_rules_that_are_off():
    kept = Thresholds(off=frozenset({"scale", "layers"}), label_rows=11).as_json()
    assert set(kept) == {each.name for each in fields(Thresholds)}
    assert kept["off"] == ["layers", "scale"]
    assert kept["label_rows"] == 11


def test_a_rule_applies_unless_it_is_off():
    assert all(DEFAULT.on(rule) for rule in (*RULES, *GATES))
    assert not without("scale").on("scale")
    assert without("scale").on("layers")


# Diagnosis


@covers("single_peek")
def test_without_single_peek_drift_counts_beyond_chance_in_the_series():
    residual = Residual(
        ratio=0.9,
        single=0.5,
        priors=np.full(3, 1 / 3),
        moved=0.0,
        moved_by_chance=0.1,
        n=300,
        ratio_within=(0.0, 1.0),
        moved_within=(0.0, 0.1),
    )
    on, off = (
        detector._distances(residual, residual, limits)
        for limits in (DEFAULT, without("single_peek"))
    )
    assert on["input"].detected and not off["input"].detected
    assert off["input"].threshold == 1.0
    assert on["layers"] == off["layers"] and on["class_shares"] == off["class_shares"]


@covers("layers")
def test_without_layers_drift_of_the_last_layers_alone_is_none():
    effects = {"input": effect(0.5), "layers": effect(2.0), "class_shares": effect(0.5)}
    assert detector._kind(effects, [], [], DEFAULT) == "covariate"
    assert detector._kind(effects, [], [], without("layers")) == "none"
    drifted = effects | {"input": effect(2.0)}
    assert detector._kind(drifted, [], [], without("layers")) == "covariate"


@covers("scale")
def test_without_scale_the_champion_teaches_under_drift_of_scale():
    found = clouds.drift("covariate", effects={"scale": effect(0.9, 0.5)})
    window = window_of(clouds.rows(100, 4)[0])
    on, off = (
        _Lesson.of(clouds.inputs(window, VERSION, limits), clouds.diagnosis(found, 100))
        for limits in (DEFAULT, without("scale"))
    )
    assert on.teacher.mode.adapts_scale
    assert off.teacher.mode == VERSION.mode


@covers("prior_mode")
def test_without_prior_mode_version_1_does_not_follow_priors():
    window = window_of(clouds.rows(100, 4)[0])
    found = clouds.diagnosis(clouds.drift("prior", stops=True, over=True), 100)
    nothing = NothingToLearn(diagnosis=found, reason="no_drift")

    def outcome(limits):
        given = clouds.inputs(window, VERSION, limits)
        return _return_to_anchor(nothing, given, lambda *_: Verdict(gates=()))

    on = outcome(DEFAULT)
    assert isinstance(on, Judged) and on.student.mode.adapts_priors
    assert outcome(without("prior_mode")) is nothing


@covers("late_return")
def test_without_late_return_a_drift_is_over_at_its_limit():
    near = effect(0.9)
    assert not detector._over(near, "none", DEFAULT)
    assert detector._over(near, "none", without("late_return"))
    assert not detector._over(effect(1.1), "none", without("late_return"))
    assert not detector._over(near, "covariate", without("late_return"))


@covers("labels", "unknown_class")
@pytest.mark.parametrize(
    ("rule", "relabelled", "kind"),
    [
        ("labels", lambda y: (y + 1) % 3, "concept"),
        ("unknown_class", lambda y: np.full_like(y, NONE_OF_THE_CLASSES), "new_class"),
    ],
)
def test_without_a_rule_of_labels_they_prove_nothing(rule, relabelled, kind):
    x, y = clouds.rows(300, 4)
    labels = np.where(np.arange(len(y)) < 60, relabelled(y), UNLABELLED)
    window = window_of(x, labels=labels)
    on, off = (
        diagnose(window, SEED, VERSION, VERSION, limits=limits)
        for limits in (DEFAULT, without(rule))
    )
    assert (on.kind, on.alarms) == (kind, True)
    assert (off.kind, off.alarms) == ("none", False)
    assert on.effects == off.effects


# Screening


@pytest.fixture(scope="module")
def attacked() -> Window:
    """Undrifted traffic of ten clients, and a heap from another one: 39 % of the rows."""
    x = np.concatenate([clouds.rows(400, 4)[0], clouds.heap(260)])
    client = np.concatenate([np.arange(400) % 10, np.full(260, 10)])
    return window_of(x, senders=Senders(client=client, names=tuple(map(str, range(11)))))


@covers("client_support")
def test_without_client_support_no_row_is_unsupported(attacked):
    on = screen(attacked, SEED, VERSION, VERSION)
    off = screen(attacked, SEED, VERSION, VERSION, limits=without("client_support"))
    assert on.unsupported.any() and not off.unsupported.any()
    assert (on.dense == off.dense).all() and on.drifted == off.drifted


@covers("contamination")
def test_without_contamination_no_row_is_dense(attacked):
    on = screen(attacked, SEED, VERSION, VERSION)
    off = screen(attacked, SEED, VERSION, VERSION, limits=without("contamination"))
    assert on.dense.any() and not off.dense.any()
    assert (on.unsupported == off.unsupported).all() and on.drifted == off.drifted


@covers("contradiction")
def test_without_contradiction_only_suspect_rows_are_refused(attacked):
    screening = screen(attacked, SEED, VERSION, VERSION)
    label = (VERSION.network_probabilities(attacked.x).argmax(axis=1) + 1) % 3
    on, off = (
        contamination.refused_rows(attacked, screening, VERSION, label, limits)
        for limits in (DEFAULT, without("contradiction"))
    )
    assert on.all()
    assert (off == screening.suspect[: len(attacked.x)]).all() and not off.all()


# Selection


def selected(x, rule, client=None, **known):
    """The labels of rows to learn from, with all rules and without one."""
    none = np.empty(0, dtype=np.int64)
    window = Window(x=x, held_out=x[:0], held_out_labels=none, client=client)
    return [
        select(window, VERSION, SEED.train, limits, **known) for limits in (DEFAULT, without(rule))
    ]


def assert_only_reason_that_goes(on, off, reason):
    """The rows that were refused for it are accepted or have a later reason; no other changed."""
    for_it = on.refusal == reason
    assert for_it.any()
    assert not (off.refusal == reason).any()
    assert (off.refusal[~for_it] == on.refusal[~for_it]).all()


@covers("duplicate")
def test_without_duplicate_copies_teach():
    x = clouds.rows(200, 4)[0]
    on, off = selected(np.concatenate([x, x]), "duplicate")
    assert (on.refusal[200:] == "duplicate").all()
    assert "duplicate" not in off.refused
    assert off.accepted[200:].any()


@covers("isolated")
def test_without_isolated_a_row_without_neighbours_teaches():
    far = np.full((1, clouds.SIZE), -6.0, dtype=np.float32)
    far[0, 0] = 6.0
    on, off = selected(np.concatenate([clouds.rows(200, 4)[0], far]), "isolated")
    assert on.refusal[-1] == "isolated"
    assert off.accepted[-1]
    assert_only_reason_that_goes(on, off, "isolated")


@covers("as_served")
def test_without_as_served_the_reading_in_the_served_scale_does_not_count():
    x = clouds.rows(200, 4)[0]
    other = (VERSION.network_probabilities(x).argmax(axis=1) + 1) % 3
    on, off = selected(x, "as_served", as_served=other)
    assert not on.accepted.any()
    assert off.accepted.any()
    assert (off.refusal == selected(x, "as_served")[0].refusal).all()


@covers("disagreement")
def test_without_disagreement_rows_that_members_label_differently_teach():
    on, off = selected(clouds.rows(600, 4)[0], "disagreement")
    assert (on.votes[on.refusal == "disagreement"] < 2).all()
    assert_only_reason_that_goes(on, off, "disagreement")


@covers("low_confidence")
def test_without_low_confidence_unsure_rows_teach():
    on, off = selected(clouds.rows(600, 4)[0], "low_confidence")
    assert off.accepted[on.refusal == "low_confidence"].all()
    assert_only_reason_that_goes(on, off, "low_confidence")


@covers("client_share")
def test_without_client_share_one_client_may_teach_nearly_all():
    x = clouds.rows(200, 4)[0]
    client = (np.arange(200) < 20).astype(np.int64)
    on, off = selected(x, "client_share", client=client, client_share=0.5)
    assert off.accepted[on.refusal == "client_share"].all()
    assert_only_reason_that_goes(on, off, "client_share")


# Alarms


@covers(*abrupt_shift.ALARMS)
@pytest.mark.parametrize("rule", abrupt_shift.ALARMS)
def test_an_alarm_that_is_off_is_not_raised(rule):
    effects = {name: effect(2.0) for name in abrupt_shift.ALARMS}
    assert abrupt_shift.raised(effects) == list(abrupt_shift.ALARMS)
    others = [name for name in abrupt_shift.ALARMS if name != rule]
    assert abrupt_shift.raised(effects, without(rule)) == others


def steps(past: Past, limits: Thresholds) -> dict[str, Effect]:
    """The effects of a window like the seed after this past."""
    window = window_of(clouds.rows(300, 4)[0], past=past)
    return diagnose(window, SEED, VERSION, VERSION, limits=limits).effects


@covers("neighbours")
def test_without_neighbours_a_contradiction_lowers_no_limit():
    past = Past(agreement=0.9, neighbours=-1.0)
    on, off = (steps(past, limits) for limits in (DEFAULT, without("neighbours")))
    assert on["neighbours"].value - past.neighbours > DEFAULT.contradicted_step
    assert on["both_steps"].threshold == DEFAULT.both_steps_contradicted
    assert off["both_steps"].threshold == DEFAULT.both_steps
    assert on | {"both_steps": off["both_steps"]} == off


@covers("standing")
def test_without_standing_an_alarm_before_lowers_no_limit():
    past = Past(agreement=0.9)
    calm = steps(past, DEFAULT)
    on = steps(replace(past, standing=True), DEFAULT)
    off = steps(replace(past, standing=True), without("standing"))
    for name in ("agreement", "confidence_step"):
        assert on[name].threshold < calm[name].threshold
    assert off == calm


# Training


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
def test_without_simulation_what_nobody_simulated_is_learnt():
    window = window_of(clouds.rows(100, 4)[0])
    assert _not_learnable(clouds.inputs(window, VERSION)) == "not_learnable"
    given = clouds.inputs(window, VERSION, without("simulation"))
    assert _not_learnable(given) is None
    forbidden = replace(given, policy=replace(given.policy, learnable="no"))
    assert _not_learnable(forbidden) == "switched_off"


# Gates


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


# Estimate


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


# Rollback monitor


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
