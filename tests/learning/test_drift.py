from dataclasses import replace

import numpy as np
import pytest
from turned_digits import window_of

from acclimate.learning.diagnosis import Drift
from acclimate.learning.drift import ALARMS, diagnose
from acclimate.learning.values import Past, Window


@pytest.fixture
def look(parts, anchor):
    def look(window: Window, champion=anchor) -> Drift:
        return diagnose(window, parts, champion, anchor, rng=np.random.default_rng(0), tick=lambda done, total: None)

    return look


def test_upright_digits_have_no_drift_and_stop_without_alarm(look, stream):
    drift = look(window_of(stream.x[:300]))
    assert (drift.kind, drift.stops, drift.alarms) == ("none", True, False)
    assert drift.amount < 0.2
    assert "no drift to learn from" in drift.detail
    assert not drift.effects["class_shares"].detected


def test_slowly_turned_digits_are_drift_to_learn_from(look, stream):
    drift = look(window_of(stream.turned(7, rng=np.random.default_rng(1))[0]))
    assert (drift.kind, drift.stops, drift.alarms) == ("covariate", False, False)
    assert drift.amount > 0.2
    assert drift.effects["input"].detected


def test_the_input_test_rarely_fires_on_rows_like_the_seed(look, stream):
    rng = np.random.default_rng(2)
    fired = [look(window_of(stream.x[rng.permutation(900)[:300]])).effects["input"].detected for _ in range(20)]
    assert sum(fired) <= 2


def test_a_jump_in_one_window_is_abrupt_and_alarms(look, stream):
    drift = look(window_of(stream.turned(40, rng=np.random.default_rng(1))[0], past=Past(agreement=0.96)))
    assert (drift.kind, drift.stops, drift.alarms) == ("abrupt", True, True)
    assert "less than before" in drift.detail


def test_a_jump_that_the_members_agree_on_alarms_by_what_version_1_makes_of_it(look, stream):
    x = stream.turned(70, rng=np.random.default_rng(1))[0]
    drift = look(window_of(x, past=Past(agreement=0.5)))
    assert not drift.effects["agreement"].detected
    assert drift.effects["confidence_step"].detected or drift.effects["class_shares_step"].detected
    assert (drift.stops, drift.alarms) == (True, True)
    assert "in one step" in drift.detail


def test_two_steps_that_both_come_near_their_limits_alarm_together(look, stream):
    x = stream.turned(20, rng=np.random.default_rng(1))[0]
    seen = look(window_of(x))
    shares, confidence = seen.effects["class_shares"].value, seen.effects["anchor_confidence"].value
    steady = Past(agreement=seen.agreement, anchor_confidence=confidence, class_shares=shares)
    limit = look(window_of(x, past=steady)).effects["agreement"].threshold
    less_sure = replace(steady, anchor_confidence=confidence - 0.13)
    fewer_agree = replace(steady, agreement=seen.agreement + 0.9 * limit)
    assert not look(window_of(x, past=less_sure)).alarms
    assert not look(window_of(x, past=fewer_agree)).alarms
    drift = look(window_of(x, past=replace(less_sure, agreement=fewer_agree.agreement)))
    assert [name for name in ALARMS if drift.effects[name].detected] == ["both_steps"]
    assert (drift.stops, drift.alarms) == (True, True)
    assert "fell together" in drift.detail


def test_offset_and_scale_of_the_columns_are_told_from_other_drift(look, stream):
    rng = np.random.default_rng(5)
    x = stream.x[:300] * rng.uniform(0.7, 1.3, size=64).astype(np.float32) + rng.uniform(0, 6, size=64).astype(
        np.float32
    )
    assert look(window_of(x)).of_scale
    assert not look(window_of(stream.turned(60, rng=rng)[0])).of_scale
    assert not look(window_of(stream.x[:300])).of_scale


def test_while_an_alarm_stands_a_smaller_step_is_enough(look, stream):
    x = stream.turned(20, rng=np.random.default_rng(1))[0]
    seen = look(window_of(x))
    near = seen.effects["anchor_confidence"].value - 0.12
    past = Past(agreement=seen.agreement, anchor_confidence=near, class_shares=seen.effects["class_shares"].value)
    assert not look(window_of(x, past=past)).alarms
    assert look(window_of(x, past=replace(past, standing=True))).effects["confidence_step"].detected


def test_classes_that_swing_among_the_seeds_rows_alarm_nobody(look, stream):
    drift = look(window_of(stream.x[stream.y == 3], past=Past(agreement=0.96, class_shares=0.0)))
    assert drift.effects["class_shares"].detected and not drift.alarms


def test_permuted_pixels_are_junk_and_alarm(look, stream):
    drift = look(window_of(np.random.default_rng(1).permuted(stream.x[:300], axis=1)))
    assert (drift.kind, drift.stops, drift.alarms) == ("junk", True, True)
    assert drift.effects["structure"].detected


def test_one_class_alone_is_a_shift_of_the_classes_and_nothing_to_learn_from(look, stream):
    drift = look(window_of(stream.x[stream.y == 3]))
    assert (drift.kind, drift.stops, drift.alarms) == ("prior", True, False)
    assert drift.shares[3] > 0.9
    assert "shares of the classes moved" in drift.detail


def test_turned_digits_are_drift_of_the_inputs_whatever_their_classes(look, stream):
    x, y = stream.turned(20, rng=np.random.default_rng(1))
    assert look(window_of(x[y < 5])).effects["input"].detected


def test_a_later_look_asks_for_more_before_it_believes(look, stream):
    x = stream.turned(7, rng=np.random.default_rng(1))[0]
    first, late = (look(replace(window_of(x), number=number)).effects for number in (1, 300))
    assert late["input"].value < first["input"].value
    assert late["agreement"].threshold > first["agreement"].threshold


def test_the_same_agreement_as_last_time_raises_no_alarm(look, stream):
    x = stream.turned(40, rng=np.random.default_rng(1))[0]
    before = Past.of(look(window_of(x)).document)
    assert not look(window_of(x, past=before)).alarms


def test_agreement_is_measured_on_rows_held_out_too(look, stream, anchor):
    x = stream.turned(20, rng=np.random.default_rng(1))[0]
    votes = anchor.member_probabilities(x).argmax(axis=2)
    assert look(window_of(x)).agreement == pytest.approx(float((votes == votes[0]).all(axis=0).mean()))
    assert look(window_of(x)).effects["agreement"].n == 300


def test_few_rows_show_no_shift_of_the_classes_by_chance(look, stream):
    rng = np.random.default_rng(4)
    moved = [look(window_of(stream.x[rng.permutation(900)[:20]])).effects["class_shares"].detected for _ in range(40)]
    assert sum(moved) <= 2


def test_constant_rows_are_judged_without_a_number_that_is_not_finite(look):
    drift = look(window_of(np.zeros((100, 64), dtype=np.float32)))
    assert all(np.isfinite([effect.value, effect.threshold]).all() for effect in drift.effects.values())
    assert drift.kind == "covariate"
