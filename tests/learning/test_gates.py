import copy
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from turned_digits import DIGITS, learn, spec, window_of

from acclimate.learning import pipeline, seed_split
from acclimate.learning.data import UNLABELLED, Part, Window
from acclimate.learning.evaluation import gates
from acclimate.learning.evaluation.gates import Trial
from acclimate.learning.results import Gate, Verdict
from acclimate.learning.spec import Gates
from acclimate.learning.stats.significance import paired_lower_bound


@pytest.fixture(scope="module")
def learnt(stream, parts, anchor):
    """A window and the real, promoted student that learnt from it."""
    x, y = stream.turned(7, rng=np.random.default_rng(1))
    found = learn(window_of(x), parts, anchor, anchor)
    assert found.promoted, found.detail
    return x, y, found


@pytest.fixture
def judge(parts, anchor, learnt):
    x, _, found = learnt

    def judge(
        student,
        *,
        window: Window | None = None,
        judging: Part | None = None,
        limits: Gates | None = None,
    ) -> Verdict:
        trial = Trial(
            champion=anchor,
            anchor=anchor,
            judging=judging or parts.judging,
            window=window or window_of(x),
            drift=found.diagnosis.drift,
            gates=limits or Gates(),
        )
        return pipeline.plain_step(1)("judge", gates.judge, student, trial)

    return judge


def by_name(verdict: Verdict) -> dict[str, Gate]:
    return {gate.gate: gate for gate in verdict.gates}


def damaged(bundle, change):
    members = tuple(copy.deepcopy(member) for member in bundle.members)
    with torch.no_grad():
        for member in members:
            change(member.layers[-1])
    return replace(bundle, members=members)


def rotate_labels(layer):
    layer.weight.copy_(layer.weight.roll(1, 0))
    layer.bias.copy_(layer.bias.roll(1, 0))


def one_class(layer):
    layer.bias[3] += 1e3


def not_a_number(layer):
    layer.weight[0, 0] = float("nan")


def blow_up(layer):
    layer.weight.fill_(3e38)  # finite weights, infinite logits


def test_a_real_student_passes_every_gate_label_free(learnt):
    verdict = learnt[2].verdict
    assert verdict.passed
    assert verdict.evidence == "label_free"
    assert list(by_name(verdict)) == [
        "finite_weights",
        "self_test",
        "enough_evidence",
        "accuracy_against_anchor",
        "class_recall",
        "max_ece",
        "raw_ece",
        "class_flow",
        "agreement_with_champion",
    ]


@pytest.mark.parametrize(
    ("change", "failing"),
    [
        (rotate_labels, {"accuracy_against_anchor", "class_recall", "agreement_with_champion"}),
        (
            one_class,
            {"accuracy_against_anchor", "class_recall", "class_flow", "agreement_with_champion"},
        ),
        (not_a_number, {"finite_weights", "accuracy_against_anchor", "max_ece", "class_flow"}),
        (blow_up, {"accuracy_against_anchor", "max_ece", "agreement_with_champion"}),
    ],
)
def test_a_damaged_student_fails_even_with_a_new_self_test(judge, learnt, parts, change, failing):
    student = damaged(learnt[2].student, change)
    for challenger in (student, student.with_self_test(parts.train.x)):
        verdict = judge(challenger)
        assert not verdict.passed
        found = by_name(verdict)
        assert {name for name in failing if found[name].verdict == "fail"} == failing
        assert all(gate.value is None or math.isfinite(gate.value) for gate in verdict.gates)
        assert verdict.reasons


def test_the_self_test_gate_refuses_weights_swapped_after_the_student_was_finished(judge, learnt):
    assert by_name(judge(damaged(learnt[2].student, rotate_labels)))["self_test"].verdict == "fail"


def test_too_few_judging_rows_are_insufficient_and_no_pass(judge, learnt, parts):
    few = Part(x=parts.judging.x[:59], y=parts.judging.y[:59])
    verdict = judge(learnt[2].student, judging=few)
    found = by_name(verdict)
    assert not verdict.passed
    for name in ("enough_evidence", "accuracy_against_anchor", "class_recall", "max_ece"):
        assert found[name].verdict == "insufficient"
    assert (found["enough_evidence"].value, found["enough_evidence"].limit) == (59, 60)


def test_too_few_held_out_rows_are_insufficient_and_no_pass(judge, learnt):
    x = learnt[0]
    window = Window(x=x[19:], held_out=x[:19], held_out_labels=np.full(19, UNLABELLED))
    verdict = judge(learnt[2].student, window=window)
    found = by_name(verdict)
    assert not verdict.passed
    assert (found["enough_evidence"].verdict, found["enough_evidence"].n) == ("insufficient", 19)
    assert found["class_flow"].verdict == found["agreement_with_champion"].verdict == "insufficient"


def audited(learnt, labels, count):
    x, _, _ = learnt
    known = np.full(len(x), UNLABELLED)
    known[:count] = labels[:count]
    return window_of(x, labels=known)


def contest(learnt, anchor, gains, losses, ties, **known):
    """A window of audited rows where the student is right and the champion not, the other way
    round, and both say the same.
    """
    x, _, found = learnt
    old, new = (
        anchor.network_probabilities(x).argmax(axis=1),
        found.student.network_probabilities(x).argmax(axis=1),
    )
    differ, same = np.flatnonzero(old != new), np.flatnonzero(old == new)
    assert len(differ) >= gains + losses and len(same) >= ties
    labels = np.full(len(x), UNLABELLED)
    labels[differ[:gains]] = new[differ[:gains]]
    labels[differ[gains : gains + losses]] = old[differ[gains : gains + losses]]
    labels[same[:ties]] = old[same[:ties]]
    window = window_of(x, labels=labels)
    rest = np.random.default_rng(0).permutation(len(window.x))
    few = {
        "x": window.x[rest[60:]],
        "held_out": np.concatenate([window.held_out, window.x[rest[:60]]]),
    }
    few["held_out_labels"] = np.concatenate([window.held_out_labels, np.full(60, UNLABELLED)])
    return replace(window, **few, **known)


def test_labels_that_prove_the_student_not_worse_replace_agreement(judge, learnt, anchor):
    strict = Gates(min_agreement=1.0, max_class_flow=0.0)
    window = contest(learnt, anchor, 3, 0, 60)
    verdict = judge(learnt[2].student, window=window, limits=strict)
    found = by_name(verdict)
    proof = found["audited_accuracy"]
    assert (proof.n, proof.limit, proof.verdict, proof.binds, verdict.evidence) == (
        63,
        -0.10,
        "pass",
        True,
        "audited",
    )
    assert -0.10 < proof.value < 3 / 63 == found["audited_gain"].value
    assert (
        found["agreement_with_champion"].verdict == "fail"
        and not found["agreement_with_champion"].binds
    )
    assert not found["class_flow"].binds and verdict.passed
    unlabelled = replace(window, held_out_labels=np.full(len(window.held_out), UNLABELLED))
    alone = judge(learnt[2].student, window=unlabelled, limits=strict)
    assert (
        alone.evidence == "label_free"
        and not alone.passed
        and "agreement_with_champion" in alone.reasons
    )


def test_labels_too_few_to_prove_anything_leave_it_to_the_other_gates(judge, learnt, anchor):
    verdict = judge(learnt[2].student, window=contest(learnt, anchor, 1, 1, 23))
    found = by_name(verdict)
    assert (found["audited_accuracy"].verdict, found["audited_accuracy"].binds) == (
        "insufficient",
        False,
    )
    assert (found["audited_gain"].verdict, found["audited_gain"].binds) == ("pass", True)
    assert (
        verdict.passed
        and verdict.evidence == "label_free"
        and found["agreement_with_champion"].binds
    )


def test_nine_audit_labels_are_information_only(judge, learnt, anchor):
    for gains, losses in ((3, 0), (0, 3)):
        verdict = judge(learnt[2].student, window=contest(learnt, anchor, gains, losses, 6))
        found = by_name(verdict)
        assert (found["audited_gain"].n, found["audited_gain"].binds, verdict.evidence) == (
            9,
            False,
            "label_free",
        )
        assert verdict.passed


def test_more_losses_than_gains_on_audited_rows_refuse_the_student(judge, learnt, anchor):
    verdict = judge(learnt[2].student, window=contest(learnt, anchor, 1, 2, 22))
    gate = by_name(verdict)["audited_gain"]
    assert (gate.verdict, gate.value, gate.limit) == ("fail", -1 / 25, 0.0)
    assert not verdict.passed and verdict.reasons.startswith(
        "audited_gain fail: -0.04 against a limit of 0 on 25 rows"
    )


def test_losses_that_prove_the_student_worse_fail_the_proof_itself(judge, learnt, anchor):
    differ = int(
        (
            anchor.network_probabilities(learnt[0]).argmax(1)
            != learnt[2].student.network_probabilities(learnt[0]).argmax(1)
        ).sum()
    )
    gate = by_name(judge(learnt[2].student, window=contest(learnt, anchor, 0, min(differ, 12), 4)))[
        "audited_accuracy"
    ]
    assert (gate.verdict, gate.binds) == ("fail", True)


def test_each_earlier_challenger_on_the_same_labels_costs_one_gain_and_alpha(judge, learnt, anchor):
    found = [
        by_name(judge(learnt[2].student, window=contest(learnt, anchor, 1, 0, 44, peeks=n)))
        for n in range(3)
    ]
    assert [gates["audited_gain"].verdict for gates in found] == ["pass", "pass", "fail"]
    values = [gates["audited_accuracy"].value for gates in found]
    assert values[0] > values[1] > values[2]


def test_labels_of_earlier_windows_that_came_late_judge_too(judge, learnt, anchor):
    window = contest(learnt, anchor, 0, 0, 5)
    x, y = learnt[0][:40], learnt[2].student.network_probabilities(learnt[0][:40]).argmax(axis=1)
    verdict = judge(learnt[2].student, window=replace(window, late=Part(x=x, y=y)))
    assert by_name(verdict)["audited_accuracy"].n == 45


def test_the_accuracy_limit_widens_with_drift(learnt, parts, anchor):
    limits = []
    for amount in (0.25, 1.0):
        trial = Trial(
            champion=anchor,
            anchor=anchor,
            judging=parts.judging,
            window=window_of(learnt[0]),
            drift=replace(learnt[2].diagnosis.drift, amount=amount),
            gates=Gates(),
        )
        found = by_name(pipeline.plain_step(1)("judge", gates.judge, anchor, trial))
        limits.append(found["accuracy_against_anchor"].limit)
    assert limits == pytest.approx([-0.065, -0.20])


def test_the_lower_bound_covers_the_truth_in_95_of_100_draws():
    rng = np.random.default_rng(0)
    below = [
        paired_lower_bound(rng.choice([-1.0, 0, 1], 270, p=[0.06, 0.9, 0.04])) <= -0.02
        for _ in range(2000)
    ]
    assert 0.93 < np.mean(below) < 0.97


def test_scarce_classes_are_judged_together(judge, learnt, parts):
    groups = gates._class_groups(np.repeat([0, 1, 2, 3], [40, 5, 8, 30]), 20)
    assert sorted(int(group.sum()) for group in groups) == [
        40,
        43,
    ]  # 13 pooled rows are still few: the next class joins
    groups = gates._class_groups(np.repeat([0, 1, 2], [40, 12, 12]), 20)
    assert sorted(int(group.sum()) for group in groups) == [24, 40]
    groups = gates._class_groups(np.repeat([0, 1], [3, 4]), 20)
    assert [int(group.sum()) for group in groups] == [7]


def test_the_calibration_error_of_a_calibrated_answer_is_near_0_after_debiasing(anchor):
    """Labels drawn from the answer itself: calibrated by construction, and the raw error is still
    not 0 on 100 rows.
    """
    rng = np.random.default_rng(0)
    x = rng.uniform(0, 16, (100, 64)).astype(np.float32)
    answers = anchor.network_probabilities(x)
    raws, values = [], []
    for draw in range(40):
        y = np.array([rng.choice(10, p=row / row.sum()) for row in answers.astype(np.float64)])
        found = {
            g.gate: g
            for g in gates._calibration(
                anchor, Part(x=x, y=y), Gates(), np.random.default_rng(draw)
            )
        }
        raws.append(found["raw_ece"].value)
        values.append(found["max_ece"].value)
    assert np.mean(raws) > 0.06
    assert np.mean(values) < 0.025


def test_expected_calibration_error_of_four_rows_by_hand():
    confidence, correct = np.array([0.95, 0.95, 0.65, 0.65]), np.array([True, False, True, True])
    assert gates.expected_calibration_error(confidence, correct) == pytest.approx(
        (2 * 0.45 + 2 * 0.35) / 4
    )


def test_only_what_is_surer_than_right_counts_against_a_student(anchor, parts):
    """A student made less sure for drifted rows keeps the gate; one surer than right does not."""
    hot, cold = (
        {
            g.gate: g
            for g in gates._calibration(
                replace(anchor, temperature=t), parts.judging, Gates(), np.random.default_rng(0)
            )
        }
        for t in (5.0, 0.05)
    )
    assert hot["max_ece"].verdict == "pass" and hot["raw_ece"].value > 0.2
    confidence, correct = np.array([0.95, 0.95, 0.65, 0.65]), np.array([True, False, True, True])
    assert gates.overconfidence(confidence, correct) == pytest.approx(2 * 0.45 / 4)
    assert cold["max_ece"].value > hot["max_ece"].value


def test_the_anchor_is_bound_by_three_gates_and_the_others_inform(first):
    assert first.promoted
    assert first.verdict.evidence is None
    assert {gate.gate for gate in first.verdict.gates if gate.binds} == {
        "finite_weights",
        "self_test",
        "better_than_chance",
    }
    assert {gate.gate for gate in first.verdict.gates if not gate.binds} == {
        "enough_evidence",
        "max_ece",
        "raw_ece",
    }


def test_an_anchor_of_shuffled_labels_is_no_better_than_chance(stream):
    y = np.random.default_rng(7).permutation(stream.seed_y)
    parts = seed_split.split(stream.seed_x, y, DIGITS, rng=np.random.default_rng(0))
    found = pipeline.begin(spec(members=1), parts, step=pipeline.plain_step(0))
    assert not found.promoted
    assert "better_than_chance" in found.detail


def test_an_anchor_that_always_says_one_class_is_exactly_chance_and_refused(anchor, parts):
    arguments = (damaged(anchor, one_class), parts.judging, Gates())
    gate = by_name(pipeline.plain_step(0)("judge", gates.judge_anchor, *arguments))[
        "better_than_chance"
    ]
    assert gate.verdict == "fail"
    assert gate.value == pytest.approx(gate.limit)
