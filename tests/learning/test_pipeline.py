"""The demo of the digits in memory: what a window teaches, what is refused, and that a run can be
repeated bit for bit.
"""

from dataclasses import replace

import numpy as np
import pytest
from sensors import SENSORS, read_out
from turned_digits import accuracy, learn, spec, window_of

from acclimate.learning import pipeline, seed_split
from acclimate.learning.data import UNLABELLED, Past, Window
from acclimate.learning.evaluation.behaviour import Behaviour
from acclimate.learning.evaluation.simulation_report import Act, Rehearsal
from acclimate.learning.models import bundle as bundles
from acclimate.learning.models import bundle_format, weights
from acclimate.learning.models.running import Running
from acclimate.learning.results import STAGES
from acclimate.learning.spec import Gates, Policy


def test_digits_that_slowly_turn_are_followed_and_junk_in_between_is_not_learnt(
    stream, parts, anchor
):
    champion, past, promoted = anchor, None, []
    served, frozen = [], []
    for number in range(1, 11):
        x, y = stream.turned(5 * number, rng=np.random.default_rng([0, number]))
        served.append(accuracy(champion, x, y))
        frozen.append(accuracy(anchor, x, y))
        turn = learn(window_of(x, past=past, draw=number), parts, champion, anchor, run=number)
        if turn.promoted:
            champion, past = turn.student, Past.of(turn.drift.document)
            promoted.append(number)
        if number == 3:
            junk = window_of(np.random.default_rng(3).permuted(x, axis=1), past=past)
            refused = learn(junk, parts, champion, anchor, run=99)
            assert refused.drift.alarms
            assert refused.drift.kind == "junk"
            assert not refused.promoted
            assert refused.student is None
            assert "members agree" in refused.detail
    assert len(promoted) >= 3
    assert 4 in promoted  # the next good window after the junk
    assert np.mean(served) > np.mean(frozen) + 0.2
    assert accuracy(champion, x, y) > 0.6


def test_a_window_that_an_operator_vouched_for_is_learnt_from_and_judged_whatever_alarm_it_raises(
    stream, parts, anchor
):
    x = stream.turned(15, rng=np.random.default_rng([0, 3]))[0]
    junk = window_of(np.random.default_rng(3).permuted(x, axis=1))
    turn = learn(replace(junk, vouched=True), parts, anchor, anchor, run=99)
    assert turn.drift.alarms
    assert turn.labels is not None
    # What is not drift at all teaches nothing, whoever vouches for it.
    same = replace(window_of(parts.judging.x), vouched=True)
    assert learn(same, parts, anchor, anchor, run=99).labels is None


def test_a_turn_repeats_bit_for_bit_with_the_same_seed_and_differs_with_another(
    stream, parts, anchor
):
    window = window_of(stream.turned(7, rng=np.random.default_rng(1))[0])
    first, again, other = (learn(window, parts, anchor, anchor, run=run) for run in (4, 4, 5))
    (manifest, arrays), (manifest_again, arrays_again) = (
        bundle_format.pack(first.student),
        bundle_format.pack(again.student),
    )
    assert manifest == manifest_again
    assert all(arrays[name].tobytes() == arrays_again[name].tobytes() for name in arrays)
    assert first.verdict == again.verdict
    assert first.drift == again.drift
    changed = bundle_format.pack(other.student)[1]
    assert any(arrays[name].tobytes() != changed[name].tobytes() for name in arrays)


def test_a_turn_resumed_from_stored_stages_equals_an_unbroken_one(stream, parts, anchor):
    window = window_of(stream.turned(7, rng=np.random.default_rng(1))[0])
    unbroken = learn(window, parts, anchor, anchor, run=4)
    stored = {}
    plain = pipeline.plain_step(4)

    def dies_before_judging(stage, verb, *args):
        if stage == "judge":
            raise KeyboardInterrupt
        stored[stage] = plain(stage, verb, *args)
        return stored[stage]

    def resumes(stage, verb, *args):
        return stored[stage] if stage in stored else plain(stage, verb, *args)

    with pytest.raises(KeyboardInterrupt):
        pipeline.turn(
            window,
            parts,
            anchor,
            anchor,
            Policy(learnable="yes"),
            Gates(),
            step=dies_before_judging,
        )
    resumed = pipeline.turn(
        window, parts, anchor, anchor, Policy(learnable="yes"), Gates(), step=resumes
    )
    assert set(stored) == {"diagnose", "pseudo_label", "train", "calibrate"}
    assert resumed.verdict == unbroken.verdict
    arrays, expected = (
        bundle_format.pack(resumed.student)[1],
        bundle_format.pack(unbroken.student)[1],
    )
    assert all(arrays[name].tobytes() == expected[name].tobytes() for name in expected)


def test_a_finished_student_carries_a_self_test_that_it_passes(stream, parts, anchor):
    turn = learn(
        window_of(stream.turned(7, rng=np.random.default_rng(1))[0]), parts, anchor, anchor
    )
    assert len(turn.student.selftest_x) == bundles.SELF_TEST_ROWS
    bundles.self_test(turn.student)


def test_a_window_of_one_class_teaches_nothing_and_is_answered_with_a_running_prior(
    stream, parts, anchor
):
    turn = learn(window_of(stream.x[stream.y == 3]), parts, anchor, anchor)
    assert turn.labels is None
    assert weights.same(turn.student, anchor)
    assert turn.student.mode.name == "prior"
    assert {gate.gate for gate in turn.verdict.gates} >= {"self_test", "mode_accuracy"}


def test_a_champion_that_followed_drift_gives_way_to_the_anchor_when_it_ends(stream, parts, anchor):
    away = learn(
        window_of(stream.turned(7, rng=np.random.default_rng(1))[0]), parts, anchor, anchor
    )
    back = learn(window_of(stream.x[:300]), parts, away.student, anchor)
    assert back.labels is None
    assert weights.same(back.student, anchor)
    assert back.student.mode.name == "plain"
    # The way back is open, whatever the judging rows say: they inform.
    assert back.promoted
    drawn = next(gate for gate in back.verdict.gates if gate.gate == "mode_accuracy")
    assert not drawn.binds


def test_a_champion_that_learnt_stays_where_evidence_of_drift_is_scarce_but_not_gone(
    stream, parts, anchor
):
    away = learn(
        window_of(stream.turned(7, rng=np.random.default_rng(1))[0]), parts, anchor, anchor
    )
    for share, stays in ((0.9, True), (0.6, False)):
        step = _with_input_at(share, pipeline.plain_step(1))
        turn = pipeline.turn(
            window_of(stream.x[:300]),
            parts,
            away.student,
            anchor,
            Policy(learnable="yes"),
            Gates(),
            step=step,
        )
        assert turn.drift.kind == "none" and turn.labels is None
        assert (turn.student is None) == stays


def test_a_running_prior_is_left_when_the_inputs_drift_even_where_nothing_can_be_learnt(
    stream, parts, anchor
):
    swung = learn(window_of(stream.x[stream.y == 3]), parts, anchor, anchor)
    assert swung.student.mode.name == "prior"
    window = window_of(stream.turned(7, rng=np.random.default_rng(1))[0])
    step = pipeline.plain_step(1)
    turn = pipeline.turn(
        window,
        parts,
        swung.student,
        anchor,
        Policy(),
        Gates(),
        step=step,
        rehearsal=_rehearsed(0.0),
    )
    assert turn.drift.kind == "covariate"
    assert turn.promoted
    assert (turn.student.mode.name, weights.same(turn.student, anchor)) == ("plain", True)
    # Where version 1 answers alone there is nothing to leave.
    again = pipeline.turn(
        window, parts, turn.student, anchor, Policy(), Gates(), step=step, rehearsal=_rehearsed(0.0)
    )
    assert again.student is None


def test_what_was_never_rehearsed_is_not_learnt_and_says_so(stream, parts, anchor):
    window = window_of(stream.turned(7, rng=np.random.default_rng(1))[0])
    for rehearsal, words in ((None, "never rehearsed"), (_rehearsed(0.0), "cannot learn drift")):
        step = pipeline.plain_step(1)
        turn = pipeline.turn(
            window, parts, anchor, anchor, Policy(), Gates(), step=step, rehearsal=rehearsal
        )
        assert turn.student is None
        assert words in turn.detail


def test_a_policy_that_forbids_learning_promotes_nothing_not_even_a_mode(stream, parts, anchor):
    window, policy = window_of(stream.x[stream.y == 3]), Policy(learnable="no")
    turn = pipeline.turn(
        window, parts, anchor, anchor, policy, Gates(), step=pipeline.plain_step(1)
    )
    assert turn.drift.kind == "prior"
    assert turn.student is None and not turn.promoted


def test_what_a_rehearsal_found_learnable_is_learnt(stream, parts, anchor):
    window = window_of(stream.turned(7, rng=np.random.default_rng(1))[0])
    step = pipeline.plain_step(1)
    turn = pipeline.turn(
        window, parts, anchor, anchor, Policy(), Gates(), step=step, rehearsal=_rehearsed(0.2)
    )
    assert turn.student is not None


def _rehearsed(gain: float) -> Rehearsal:
    return Rehearsal(acts=(Act(drift="inputs", frozen=0.6, served=0.6 + gain),))


def test_a_window_like_the_seed_is_refused_without_an_alarm_and_says_so(stream, parts, anchor):
    turn = learn(window_of(stream.x[:300]), parts, anchor, anchor)
    assert not turn.drift.alarms
    assert turn.labels is None
    assert turn.detail.startswith("no drift to learn from")


def test_a_window_that_keeps_too_few_rows_says_how_many_and_why(stream, parts, anchor):
    x = stream.turned(7, rng=np.random.default_rng(1))[0]
    window = Window(
        x=np.repeat(x[:2], 120, axis=0), held_out=x[2:62], held_out_labels=np.full(60, UNLABELLED)
    )
    turn = pipeline.turn(
        window,
        parts,
        anchor,
        anchor,
        Policy(learnable="yes"),
        Gates(),
        step=_without_stopping(pipeline.plain_step(1)),
    )
    assert turn.student is None
    assert "238 duplicate" in turn.detail
    assert "24 needed" in turn.detail


def test_a_model_that_may_not_learn_is_only_diagnosed(stream, parts, anchor):
    window = window_of(stream.turned(7, rng=np.random.default_rng(1))[0])
    turn = pipeline.turn(
        window, parts, anchor, anchor, Policy(learnable="no"), Gates(), step=pipeline.plain_step(1)
    )
    assert turn.drift.kind == "covariate"
    assert turn.student is None
    assert 'learnable = "no"' in turn.detail


def test_a_refused_student_is_handed_back_with_the_reason(stream, parts, anchor):
    window = window_of(stream.turned(7, rng=np.random.default_rng(1))[0])
    strict = Gates(min_agreement=1.0, max_class_flow=0.0)
    turn = pipeline.turn(
        window, parts, anchor, anchor, Policy(learnable="yes"), strict, step=pipeline.plain_step(1)
    )
    assert turn.student is not None
    assert not turn.promoted
    assert "agreement_with_champion fail" in turn.detail


def test_stages_are_asked_for_in_order_and_draw_from_states_of_their_own(stream, parts, anchor):
    asked, plain = [], pipeline.plain_step(1)

    def step(stage, verb, *args):
        asked.append(stage)
        return plain(stage, verb, *args)

    window = window_of(stream.turned(7, rng=np.random.default_rng(1))[0])
    pipeline.turn(window, parts, anchor, anchor, Policy(learnable="yes"), Gates(), step=step)
    assert asked == [stage for stage in STAGES if stage not in ("snapshot", "publish")]
    draws = {pipeline.stage_rng(run, stage).integers(2**62) for run in (1, 2) for stage in STAGES}
    assert len(draws) == 2 * len(STAGES)


def test_a_model_of_one_member_walks_the_whole_turn(stream, parts):
    alone = pipeline.begin(spec(members=1), parts, step=pipeline.plain_step(0)).student
    turn = learn(window_of(stream.turned(7, rng=np.random.default_rng(1))[0]), parts, alone, alone)
    assert turn.drift.kind == "covariate"
    assert turn.verdict is not None
    assert len(turn.student.members) == 1


def _with_input_at(share, plain):
    """A step after whose diagnosis the residual of the inputs is this share of its limit."""

    def step(stage, verb, /, *args):
        result = plain(stage, verb, *args)
        if stage != "diagnose":
            return result
        found = result.effects["input"]
        return replace(
            result,
            effects={**result.effects, "input": replace(found, value=share * found.threshold)},
        )

    return step


def _without_stopping(plain):
    """Diagnosis would stop this window first; what follows it is what the test is about."""

    def step(stage, verb, *args):
        result = plain(stage, verb, *args)
        return replace(result, stops=False) if stage == "diagnose" else result

    return step


def test_drift_of_scale_is_learnt_and_served_in_the_windows_own_scale_and_left_with_it():
    parts = seed_split.split(*read_out(600, draw=0), SENSORS, rng=np.random.default_rng(0))
    anchor = pipeline.begin(spec(SENSORS), parts, step=pipeline.plain_step(0)).student
    aged = learn(
        replace(window_of(read_out(300, draw=1, aged=True)[0]), vouched=True), parts, anchor, anchor
    )
    assert aged.drift.of_scale
    assert aged.promoted, aged.detail
    assert aged.student.mode.name == "standardise"
    following, y = read_out(300, draw=2, aged=True)
    assert accuracy(aged.student, following, y) > accuracy(anchor, following, y) + 0.05
    # The sensors are the seed's again: so is the model.
    mended = learn(window_of(read_out(300, draw=3)[0]), parts, aged.student, anchor)
    assert mended.drift.kind == "none"
    assert mended.promoted
    assert mended.student.mode.name == "plain"


def test_what_is_expected_of_a_student_is_how_it_answers_rows_that_nobody_asked_a_label_for(
    stream, parts, anchor
):
    x, y = stream.turned(7, rng=np.random.default_rng(1))
    labels = np.where(np.arange(len(x)) < 30, y, UNLABELLED)
    window = window_of(x, labels=labels)
    turn = learn(window, parts, anchor, anchor, run=4)
    drawn = window.held_out[window.held_out_labels == UNLABELLED]
    assert len(drawn) == len(window.held_out) - 30 > 0
    assert turn.expected == {
        "student": Behaviour.of(Running(turn.student).answer(drawn)),
        "champion": Behaviour.of(anchor.network_probabilities(drawn)),
    }
