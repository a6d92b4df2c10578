"""What drifted between the seed set and a window, and which windows raise an alarm."""

from dataclasses import replace

import numpy as np
import pytest
from stages import diagnose
from turned_digits import window_of

from acclimate.learning.data import NONE_OF_THE_CLASSES, UNLABELLED, Past, Window
from acclimate.learning.drift.abrupt_shift import ALARMS
from acclimate.learning.results import Drift


@pytest.fixture
def detected(parts, anchor):
    """The drift of a window by version 1."""

    def detected(window: Window) -> Drift:
        return diagnose(window, parts, anchor, anchor)

    return detected


def labelled(y, count: int):
    """Labels of the first rows alone."""
    return np.where(np.arange(len(y)) < count, y, UNLABELLED)


def with_unknown_rows(stream, share: float):
    """Upright digits, this share of them replaced by noise labelled none of the classes."""
    rng = np.random.default_rng(6)
    x, y = stream.x[:300].copy(), stream.y[:300].copy()
    odd = rng.random(300) < share
    x[odd], y[odd] = rng.uniform(0, 16, (int(odd.sum()), 64)), NONE_OF_THE_CLASSES
    return x, y


def test_upright_digits_have_no_drift_and_stop_without_alarm(detected, stream):
    drift = detected(window_of(stream.x[:300]))
    assert (drift.kind, drift.stops, drift.alarms) == ("none", True, False)
    assert drift.amount < 0.2
    assert "no drift to learn from" in drift.detail
    assert not drift.effects["class_shares"].detected


def test_slowly_turned_digits_are_drift_to_learn_from(detected, stream):
    drift = detected(window_of(stream.turned(7, rng=np.random.default_rng(1))[0]))
    assert (drift.kind, drift.stops, drift.alarms) == ("covariate", False, False)
    assert drift.amount > 0.2
    assert drift.effects["input"].detected


@pytest.mark.slow
def test_the_input_test_rarely_fires_on_rows_like_the_seed(detected, stream):
    rng = np.random.default_rng(2)
    fired = [
        detected(window_of(stream.x[rng.permutation(900)[:300]])).effects["input"].detected
        for _ in range(20)
    ]
    assert sum(fired) <= 2


def test_a_jump_in_one_window_is_abrupt_and_alarms(detected, stream):
    drift = detected(
        window_of(stream.turned(40, rng=np.random.default_rng(1))[0], past=Past(agreement=0.96))
    )
    assert (drift.kind, drift.stops, drift.alarms) == ("abrupt", True, True)
    assert "less than before" in drift.detail


def test_a_jump_that_the_members_agree_on_alarms_by_the_confidence_of_version_1(detected, stream):
    x = stream.turned(70, rng=np.random.default_rng(1))[0]
    drift = detected(window_of(x, past=Past(agreement=0.5)))
    assert not drift.effects["agreement"].detected
    assert drift.effects["confidence_step"].detected or drift.effects["class_shares_step"].detected
    assert (drift.stops, drift.alarms) == (True, True)
    assert "in one step" in drift.detail


def test_two_steps_that_both_come_near_their_limits_alarm_together(detected, stream):
    x = stream.turned(20, rng=np.random.default_rng(1))[0]
    seen = detected(window_of(x))
    shares, confidence = seen.effects["class_shares"].value, seen.effects["anchor_confidence"].value
    steady = Past(agreement=seen.agreement, anchor_confidence=confidence, class_shares=shares)
    limit = detected(window_of(x, past=steady)).effects["agreement"].threshold
    less_sure = replace(steady, anchor_confidence=confidence - 0.13)
    fewer_agree = replace(steady, agreement=seen.agreement + 0.9 * limit)
    assert not detected(window_of(x, past=less_sure)).alarms
    assert not detected(window_of(x, past=fewer_agree)).alarms
    drift = detected(window_of(x, past=replace(less_sure, agreement=fewer_agree.agreement)))
    assert [name for name in ALARMS if drift.effects[name].detected] == ["both_steps"]
    assert (drift.stops, drift.alarms) == (True, True)
    assert "fell together" in drift.detail


def test_digits_that_turn_are_no_drift_of_scale(detected, stream):
    # They are no sensors: tests/learning/test_pipeline.py has those.
    assert not detected(window_of(stream.turned(7, rng=np.random.default_rng(5))[0])).of_scale


def test_while_an_alarm_stands_a_smaller_step_is_enough(detected, stream):
    x = stream.turned(20, rng=np.random.default_rng(1))[0]
    seen = detected(window_of(x))
    near = seen.effects["anchor_confidence"].value - 0.12
    past = Past(
        agreement=seen.agreement,
        anchor_confidence=near,
        class_shares=seen.effects["class_shares"].value,
    )
    assert not detected(window_of(x, past=past)).alarms
    drift = detected(window_of(x, past=replace(past, standing=True)))
    assert drift.effects["confidence_step"].detected


def test_class_priors_that_swing_among_the_seeds_rows_raise_no_alarm(detected, stream):
    drift = detected(
        window_of(stream.x[stream.y == 3], past=Past(agreement=0.96, class_shares=0.0))
    )
    assert drift.effects["class_shares"].detected and not drift.alarms


def test_permuted_pixels_are_an_abrupt_shift_and_alarm(detected, stream):
    drift = detected(window_of(np.random.default_rng(1).permuted(stream.x[:300], axis=1)))
    assert (drift.kind, drift.stops, drift.alarms) == ("abrupt", True, True)
    assert "members agree" in drift.detail


def test_one_class_alone_is_a_shift_of_the_priors_and_nothing_to_learn_from(detected, stream):
    drift = detected(window_of(stream.x[stream.y == 3]))
    assert (drift.kind, drift.stops, drift.alarms) == ("prior", True, False)
    assert drift.priors[3] > 0.9
    assert "only the class priors moved" in drift.detail


def test_turned_digits_are_drift_of_the_inputs_whatever_their_classes(detected, stream):
    x, y = stream.turned(20, rng=np.random.default_rng(1))
    assert detected(window_of(x[y < 5])).effects["input"].detected


def test_a_later_window_needs_more_evidence(detected, stream):
    x = stream.turned(7, rng=np.random.default_rng(1))[0]
    first, late = (detected(replace(window_of(x), number=number)).effects for number in (1, 300))
    assert late["input"].value < first["input"].value
    assert late["agreement"].threshold > first["agreement"].threshold


def test_the_same_agreement_as_last_time_raises_no_alarm(detected, stream):
    x = stream.turned(40, rng=np.random.default_rng(1))[0]
    before = Past.of(detected(window_of(x)).document)
    assert not detected(window_of(x, past=before)).alarms


def test_agreement_is_measured_on_rows_held_out_too(detected, stream, anchor):
    x = stream.turned(20, rng=np.random.default_rng(1))[0]
    votes = anchor.member_probabilities(x).argmax(axis=2)
    assert detected(window_of(x)).agreement == pytest.approx(
        float((votes == votes[0]).all(axis=0).mean())
    )
    assert detected(window_of(x)).effects["agreement"].n == 300


@pytest.mark.slow
def test_few_rows_show_no_shift_of_the_priors_by_chance(detected, stream):
    rng = np.random.default_rng(4)
    moved = [
        detected(window_of(stream.x[rng.permutation(900)[:20]])).effects["class_shares"].detected
        for _ in range(40)
    ]
    assert sum(moved) <= 2


def test_constant_rows_are_judged_without_a_number_that_is_not_finite(detected):
    drift = detected(window_of(np.zeros((100, 64), dtype=np.float32)))
    assert all(
        np.isfinite([effect.value, effect.threshold]).all() for effect in drift.effects.values()
    )
    assert drift.kind == "covariate"


def test_labels_prove_that_two_pairs_of_classes_swapped_their_meaning(detected, stream):
    x, y = stream.x[:300], stream.y[:300]
    swapped = np.where(y == 3, 8, np.where(y == 8, 3, np.where(y == 1, 7, np.where(y == 7, 1, y))))
    assert detected(window_of(x)).kind == "none"
    drift = detected(window_of(x, labels=labelled(swapped, 60)))
    assert (drift.kind, drift.stops, drift.alarms) == ("concept", True, True)
    assert "by 60 labels version 1 is right" in drift.detail
    effect = drift.effects["labels"]
    assert (
        effect.n == 60
        and effect.threshold < effect.value
        and effect.lower < effect.value < effect.upper
    )


def test_labels_that_agree_with_version_1_leave_the_kind_as_it_was(detected, stream):
    drift = detected(window_of(stream.x[:300], labels=labelled(stream.y[:300], 60)))
    assert (drift.kind, drift.alarms) == ("none", False)
    assert not drift.effects["labels"].detected and not drift.effects["unknown_class"].detected


def test_fewer_than_ten_labels_prove_no_change_of_meaning(detected, stream):
    wrong = (stream.y[:300] + 1) % 10
    assert detected(window_of(stream.x[:300], labels=labelled(wrong, 9))).kind == "none"
    assert detected(window_of(stream.x[:300], labels=labelled(wrong, 10))).kind == "concept"


def test_errors_on_drifted_inputs_are_no_change_of_meaning(detected, stream):
    x, y = stream.turned(7, rng=np.random.default_rng(1))
    drift = detected(window_of(x, labels=labelled((y + 1) % 10, 60)))
    assert drift.effects["labels"].detected
    assert (drift.kind, drift.alarms) == ("covariate", False)


def test_a_swing_to_the_class_of_least_recall_is_no_change_of_meaning(detected, stream, anchor):
    right = anchor.network_probabilities(stream.x).argmax(axis=1) == stream.y
    worst = int(np.argmin([right[stream.y == label].mean() for label in range(10)]))
    x, y = stream.x[stream.y == worst], stream.y[stream.y == worst]
    drift = detected(window_of(x, labels=y))
    assert (drift.kind, drift.alarms) == ("prior", False)


def test_labelled_rows_of_none_of_the_classes_prove_a_new_class(detected, stream):
    x, y = with_unknown_rows(stream, 0.2)
    assert detected(window_of(x)).kind != "new_class"
    drift = detected(window_of(x, labels=labelled(y, 100)))
    assert (drift.kind, drift.stops, drift.alarms) == ("new_class", True, True)
    assert "of 100 labelled rows" in drift.detail
    assert drift.effects["unknown_class"].lower > 0.05


def test_two_labels_of_none_of_the_classes_prove_nothing(detected, stream):
    y = labelled(np.full(300, NONE_OF_THE_CLASSES), 2)
    assert not detected(window_of(stream.x[:300], labels=y)).effects["unknown_class"].detected


def test_noise_that_people_call_none_of_the_classes_alarms(detected, stream):
    x = np.random.default_rng(1).permuted(stream.x[:300], axis=1)
    drift = detected(window_of(x, labels=labelled(np.full(300, NONE_OF_THE_CLASSES), 60)))
    assert (drift.kind, drift.stops, drift.alarms) == ("new_class", True, True)
    assert "members agree" in drift.detail


def test_labels_change_no_effect_that_is_measured_on_rows(detected, stream):
    plain = detected(window_of(stream.x[:300]))
    with_labels = detected(
        Window(x=stream.x[:240], held_out=stream.x[240:300], held_out_labels=stream.y[240:300])
    )
    bare = detected(
        Window(
            x=stream.x[:240], held_out=stream.x[240:300], held_out_labels=np.full(60, UNLABELLED)
        )
    )
    assert not {"labels", "unknown_class"} & set(plain.effects)
    assert {name: with_labels.effects[name] for name in bare.effects} == bare.effects


def test_intervals_of_effects_are_wider_at_a_later_window(detected, stream):
    x = stream.turned(20, rng=np.random.default_rng(1))[0]
    first, late = (
        detected(replace(window_of(x), number=number)).document["effects"] for number in (1, 300)
    )
    for name in (
        "agreement",
        "anchor_agreement",
        "anchor_confidence",
        "confidence_step",
        "class_shares",
    ):
        assert first[name]["lower"] < first[name]["value"] < first[name]["upper"]
        assert (
            late[name]["upper"] - late[name]["lower"] > first[name]["upper"] - first[name]["lower"]
        )
    assert 1 < first["input"]["lower"] < first["input"]["value"] < first["input"]["upper"]
    assert first["both_steps"]["lower"] is None


def test_copies_of_rows_make_no_interval_narrower(detected, stream):
    x = stream.x[:100]
    once, thrice = (
        detected(window_of(rows)).effects["anchor_confidence"]
        for rows in (x, np.repeat(x, 3, axis=0))
    )
    assert thrice.upper - thrice.lower == pytest.approx(once.upper - once.lower, rel=1e-3)
