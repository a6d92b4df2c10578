from dataclasses import replace

import numpy as np
import pytest
from turned_digits import window_of

from acclimate.learning.data import NONE_OF_THE_CLASSES, UNLABELLED, Past, Window
from acclimate.learning.drift.abrupt_shift import ALARMS
from acclimate.learning.drift.detector import diagnose
from acclimate.learning.results import Drift
from acclimate.learning.screening import contamination
from acclimate.learning.spec import Policy


@pytest.fixture
def look(parts, anchor):
    def look(window: Window, champion=anchor) -> Drift:
        crowded = contamination.find(window, parts, champion, anchor, Policy())
        return diagnose(
            window,
            parts,
            champion,
            anchor,
            crowded,
            rng=np.random.default_rng(0),
            tick=lambda done, total: None,
        )

    return look


def told(y, count: int):
    """Labels of the first rows alone."""
    return np.where(np.arange(len(y)) < count, y, UNLABELLED)


def strangers(stream, share: float):
    """Upright digits, the given share of them replaced by noise that people call none of
    the classes.
    """
    rng = np.random.default_rng(6)
    x, y = stream.x[:300].copy(), stream.y[:300].copy()
    odd = rng.random(300) < share
    x[odd], y[odd] = rng.uniform(0, 16, (int(odd.sum()), 64)), NONE_OF_THE_CLASSES
    return x, y


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


@pytest.mark.slow
def test_the_input_test_rarely_fires_on_rows_like_the_seed(look, stream):
    rng = np.random.default_rng(2)
    fired = [
        look(window_of(stream.x[rng.permutation(900)[:300]])).effects["input"].detected
        for _ in range(20)
    ]
    assert sum(fired) <= 2


def test_a_jump_in_one_window_is_abrupt_and_alarms(look, stream):
    drift = look(
        window_of(stream.turned(40, rng=np.random.default_rng(1))[0], past=Past(agreement=0.96))
    )
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


def test_digits_that_turn_are_no_drift_of_scale_though_their_own_mean_and_deviation_mend_some_of_it(
    look, stream
):
    # They are no sensors: tests/learning/test_loop.py has those.
    assert not look(window_of(stream.turned(7, rng=np.random.default_rng(5))[0])).of_scale


def test_while_an_alarm_stands_a_smaller_step_is_enough(look, stream):
    x = stream.turned(20, rng=np.random.default_rng(1))[0]
    seen = look(window_of(x))
    near = seen.effects["anchor_confidence"].value - 0.12
    past = Past(
        agreement=seen.agreement,
        anchor_confidence=near,
        class_shares=seen.effects["class_shares"].value,
    )
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
    assert look(window_of(x)).agreement == pytest.approx(
        float((votes == votes[0]).all(axis=0).mean())
    )
    assert look(window_of(x)).effects["agreement"].n == 300


@pytest.mark.slow
def test_few_rows_show_no_shift_of_the_classes_by_chance(look, stream):
    rng = np.random.default_rng(4)
    moved = [
        look(window_of(stream.x[rng.permutation(900)[:20]])).effects["class_shares"].detected
        for _ in range(40)
    ]
    assert sum(moved) <= 2


def test_constant_rows_are_judged_without_a_number_that_is_not_finite(look):
    drift = look(window_of(np.zeros((100, 64), dtype=np.float32)))
    assert all(
        np.isfinite([effect.value, effect.threshold]).all() for effect in drift.effects.values()
    )
    assert drift.kind == "covariate"


def test_two_classes_that_swapped_their_meaning_are_a_change_of_concept_which_labels_alone_prove(
    look, stream
):
    x, y = stream.x[:300], stream.y[:300]
    swapped = np.where(y == 3, 8, np.where(y == 8, 3, np.where(y == 1, 7, np.where(y == 7, 1, y))))
    assert look(window_of(x)).kind == "none"
    drift = look(window_of(x, labels=told(swapped, 60)))
    assert (drift.kind, drift.stops, drift.alarms) == ("concept", True, True)
    assert "by 60 labels version 1 is right" in drift.detail
    effect = drift.effects["labels"]
    assert (
        effect.n == 60
        and effect.threshold < effect.value
        and effect.lower < effect.value < effect.upper
    )


def test_labels_that_agree_with_version_1_leave_the_kind_as_it_was(look, stream):
    drift = look(window_of(stream.x[:300], labels=told(stream.y[:300], 60)))
    assert (drift.kind, drift.alarms) == ("none", False)
    assert not drift.effects["labels"].detected and not drift.effects["unknown_class"].detected


def test_fewer_than_ten_labels_prove_no_change_of_meaning_however_wrong_version_1_is(look, stream):
    wrong = (stream.y[:300] + 1) % 10
    assert look(window_of(stream.x[:300], labels=told(wrong, 9))).kind == "none"
    assert look(window_of(stream.x[:300], labels=told(wrong, 10))).kind == "concept"


def test_what_version_1_gets_wrong_of_drifted_inputs_is_no_change_of_meaning(look, stream):
    x, y = stream.turned(7, rng=np.random.default_rng(1))
    drift = look(window_of(x, labels=told((y + 1) % 10, 60)))
    assert drift.effects["labels"].detected
    assert (drift.kind, drift.alarms) == ("covariate", False)


def test_a_swing_to_the_classes_that_version_1_knows_least_is_no_change_of_meaning(
    look, stream, anchor
):
    right = anchor.probabilities(stream.x).argmax(axis=1) == stream.y
    worst = int(np.argmin([right[stream.y == label].mean() for label in range(10)]))
    x, y = stream.x[stream.y == worst], stream.y[stream.y == worst]
    drift = look(window_of(x, labels=y))
    assert (drift.kind, drift.alarms) == ("prior", False)


def test_strangers_among_the_labelled_rows_prove_a_new_class(look, stream):
    x, y = strangers(stream, 0.2)
    assert look(window_of(x)).kind != "new_class"
    drift = look(window_of(x, labels=told(y, 100)))
    assert (drift.kind, drift.stops, drift.alarms) == ("new_class", True, True)
    assert "of 100 labelled rows" in drift.detail
    assert drift.effects["unknown_class"].lower > 0.05


def test_one_stranger_or_two_are_slips_and_prove_nothing(look, stream):
    y = told(np.full(300, NONE_OF_THE_CLASSES), 2)
    assert not look(window_of(stream.x[:300], labels=y)).effects["unknown_class"].detected


def test_rows_of_noise_stay_junk_whatever_people_call_them(look, stream):
    x = np.random.default_rng(1).permuted(stream.x[:300], axis=1)
    assert look(window_of(x, labels=told(np.full(300, NONE_OF_THE_CLASSES), 60))).kind == "junk"


def test_labels_change_nothing_of_what_the_rows_say(look, stream):
    plain = look(window_of(stream.x[:300]))
    labelled = look(
        Window(x=stream.x[:240], held_out=stream.x[240:300], held_out_labels=stream.y[240:300])
    )
    bare = look(
        Window(
            x=stream.x[:240], held_out=stream.x[240:300], held_out_labels=np.full(60, UNLABELLED)
        )
    )
    assert not {"labels", "unknown_class"} & set(plain.effects)
    assert {name: labelled.effects[name] for name in bare.effects} == bare.effects


def test_effects_are_told_in_intervals_that_are_wider_at_a_later_look(look, stream):
    x = stream.turned(20, rng=np.random.default_rng(1))[0]
    first, late = (
        look(replace(window_of(x), number=number)).document["effects"] for number in (1, 300)
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
    assert first["structure"]["lower"] is None


def test_copies_of_the_same_rows_make_no_interval_narrower(look, stream):
    x = stream.x[:100]
    once, thrice = (
        look(window_of(rows)).effects["anchor_confidence"] for rows in (x, np.repeat(x, 3, axis=0))
    )
    assert thrice.upper - thrice.lower == pytest.approx(once.upper - once.lower, rel=1e-3)
