"""What each rule of diagnosis and alarms changes, seen by switching it off."""

from __future__ import annotations

from dataclasses import replace

import clouds
import numpy as np
import pytest
from rules_off import covers, effect, without
from stages import diagnose
from turned_digits import window_of

from acclimate.learning.data import NONE_OF_THE_CLASSES, UNLABELLED, Past
from acclimate.learning.drift import abrupt_shift, detector
from acclimate.learning.drift.label_shift import Residual
from acclimate.learning.outcomes import Judged, NothingToLearn
from acclimate.learning.pipeline import _return_to_anchor
from acclimate.learning.results import Effect, Verdict
from acclimate.learning.run_inputs import Lesson
from acclimate.learning.thresholds import DEFAULT, Thresholds

SEED = clouds.seed_set()
VERSION = clouds.version()


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
    assert detector._kind(effects, [], DEFAULT) == "covariate"
    assert detector._kind(effects, [], without("layers")) == "none"
    drifted = effects | {"input": effect(2.0)}
    assert detector._kind(drifted, [], without("layers")) == "covariate"


@covers("scale")
def test_without_scale_the_champion_teaches_under_drift_of_scale():
    found = clouds.drift("covariate", effects={"scale": effect(0.9, 0.5)})
    window = window_of(clouds.rows(100, 4)[0])
    on, off = (
        Lesson.of(clouds.inputs(window, VERSION, limits), clouds.diagnosis(found, 100))
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
