"""What a window of digits teaches, what is refused, and that a run repeats bit for bit."""

from dataclasses import replace

import numpy as np
import pytest
from sensors import SENSORS, read_out
from turned_digits import LEARNS, accuracy, learn, promoted, spec, window_of

from acclimate.learning import pipeline, seed_split
from acclimate.learning.data import UNLABELLED, Past, Window
from acclimate.learning.drift import detector
from acclimate.learning.evaluation.behaviour import Behaviour
from acclimate.learning.evaluation.simulation_report import Act, Simulation
from acclimate.learning.models import bundle as bundles
from acclimate.learning.models import bundle_format, weights
from acclimate.learning.models.running import Running
from acclimate.learning.outcomes import Judged, NothingToLearn, Quarantined
from acclimate.learning.results import STAGES
from acclimate.learning.spec import Gates, Policy
from acclimate.learning.thresholds import DEFAULT


@pytest.fixture(scope="module")
def turned(stream):
    """A window of digits turned by seven degrees."""
    return window_of(stream.turned(7, rng=np.random.default_rng(1))[0])


def test_digits_that_slowly_turn_are_followed_and_noise_is_quarantined(stream, parts, anchor):
    champion, past, numbers = anchor, None, []
    served, frozen = [], []
    for number in range(1, 11):
        x, y = stream.turned(5 * number, rng=np.random.default_rng([0, number]))
        served.append(accuracy(champion, x, y))
        frozen.append(accuracy(anchor, x, y))
        found = learn(window_of(x, past=past, draw=number), parts, champion, anchor, run=number)
        if promoted(found):
            champion, past = found.student, Past.of(found.diagnosis.drift.document)
            numbers.append(number)
        if number == 3:
            noise = window_of(np.random.default_rng(3).permuted(x, axis=1), past=past)
            refused = learn(noise, parts, champion, anchor, run=99)
            assert isinstance(refused, Quarantined)
            assert refused.diagnosis.drift.alarms
            assert refused.diagnosis.drift.kind == "abrupt"
            assert "members agree" in refused.detail
    assert len(numbers) >= 3
    assert 4 in numbers  # the next good window after the noise
    assert np.mean(served) > np.mean(frozen) + 0.2
    assert accuracy(champion, x, y) > 0.6


def test_a_released_window_is_learnt_and_judged_whatever_alarm_it_raises(stream, parts, anchor):
    x = stream.turned(15, rng=np.random.default_rng([0, 3]))[0]
    noise = window_of(np.random.default_rng(3).permuted(x, axis=1))
    found = learn(replace(noise, released=True), parts, anchor, anchor, run=99)
    assert found.diagnosis.drift.alarms
    assert found.labels is not None
    # What is not drift at all teaches nothing, whoever releases it.
    same = replace(window_of(parts.judging.x), released=True)
    assert learn(same, parts, anchor, anchor, run=99).labels is None


def test_a_run_repeats_bit_for_bit_with_its_seed_and_differs_with_another(turned, parts, anchor):
    first, again, other = (learn(turned, parts, anchor, anchor, run=run) for run in (4, 4, 5))
    manifest, arrays = bundle_format.pack(first.student)
    manifest_again, arrays_again = bundle_format.pack(again.student)
    assert manifest == manifest_again
    assert all(arrays[name].tobytes() == arrays_again[name].tobytes() for name in arrays)
    assert first.verdict == again.verdict
    assert first.diagnosis.drift == again.diagnosis.drift
    changed = bundle_format.pack(other.student)[1]
    assert any(arrays[name].tobytes() != changed[name].tobytes() for name in arrays)


def test_a_run_resumed_from_stored_stages_equals_an_unbroken_one(turned, parts, anchor):
    unbroken = learn(turned, parts, anchor, anchor, run=4)
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
        learn(turned, parts, anchor, anchor, step=dies_before_judging)
    resumed = learn(turned, parts, anchor, anchor, step=resumes)
    assert set(stored) == {"diagnose", "pseudo_label", "train", "calibrate"}
    assert resumed.verdict == unbroken.verdict
    arrays = bundle_format.pack(resumed.student)[1]
    expected = bundle_format.pack(unbroken.student)[1]
    assert all(arrays[name].tobytes() == expected[name].tobytes() for name in expected)


def test_a_finished_student_carries_a_self_test_that_it_passes(turned, parts, anchor):
    found = learn(turned, parts, anchor, anchor)
    assert len(found.student.selftest_x) == bundles.SELF_TEST_ROWS
    bundles.self_test(found.student)


def test_a_window_of_one_class_teaches_nothing_and_gets_a_running_prior(stream, parts, anchor):
    found = learn(window_of(stream.x[stream.y == 3]), parts, anchor, anchor)
    assert found.labels is None
    assert weights.same(found.student, anchor)
    assert found.student.mode.name == "prior"
    assert {gate.gate for gate in found.verdict.gates} >= {"self_test", "mode_accuracy"}


def test_a_champion_gives_way_to_the_anchor_after_the_drift(stream, turned, parts, anchor):
    away = learn(turned, parts, anchor, anchor)
    back = learn(window_of(stream.x[:300]), parts, away.student, anchor)
    assert back.labels is None
    assert weights.same(back.student, anchor)
    assert back.student.mode.name == "plain"
    # The way back is open, whatever the judging rows say: they inform.
    assert back.promoted
    drawn = next(gate for gate in back.verdict.gates if gate.gate == "mode_accuracy")
    assert not drawn.binds


@pytest.mark.parametrize(("share", "stays"), [(0.9, True), (0.6, False)])
def test_a_champion_stays_until_its_drift_is_over(stream, turned, parts, anchor, share, stays):
    away = learn(turned, parts, anchor, anchor)
    step = _with_input_at(share, pipeline.plain_step(1))
    found = learn(window_of(stream.x[:300]), parts, away.student, anchor, step=step)
    assert found.diagnosis.drift.kind == "none" and found.labels is None
    assert isinstance(found, NothingToLearn) == stays


def test_a_running_prior_ends_when_unlearnable_inputs_drift(stream, turned, parts, anchor):
    swung = learn(window_of(stream.x[stream.y == 3]), parts, anchor, anchor)
    assert swung.student.mode.name == "prior"
    given = {"policy": Policy(), "simulation": _simulated(0.0)}
    found = learn(turned, parts, swung.student, anchor, **given)
    assert found.diagnosis.drift.kind == "covariate"
    assert found.promoted
    assert found.student.mode.name == "plain"
    assert weights.same(found.student, anchor)
    # Where version 1 answers alone there is nothing to leave.
    again = learn(turned, parts, found.student, anchor, **given)
    assert isinstance(again, NothingToLearn)


@pytest.mark.parametrize(
    ("gain", "words"), [(None, "never simulated"), (0.0, "cannot learn drift")]
)
def test_what_no_simulation_found_learnable_is_not_learnt(turned, parts, anchor, gain, words):
    simulation = None if gain is None else _simulated(gain)
    found = learn(turned, parts, anchor, anchor, policy=Policy(), simulation=simulation)
    assert isinstance(found, NothingToLearn)
    assert words in found.detail


def test_a_policy_that_forbids_learning_promotes_not_even_a_mode(stream, parts, anchor):
    window = window_of(stream.x[stream.y == 3])
    found = learn(window, parts, anchor, anchor, policy=Policy(learnable="no"))
    assert found.diagnosis.drift.kind == "prior"
    assert isinstance(found, NothingToLearn)


def test_what_a_simulation_found_learnable_is_learnt(turned, parts, anchor):
    found = learn(turned, parts, anchor, anchor, policy=Policy(), simulation=_simulated(0.2))
    assert isinstance(found, Judged)


def test_a_window_like_the_seed_teaches_nothing_without_an_alarm(stream, parts, anchor):
    found = learn(window_of(stream.x[:300]), parts, anchor, anchor)
    assert not found.diagnosis.drift.alarms
    assert found.labels is None
    assert found.detail.startswith("no drift to learn from")


def test_a_window_that_keeps_too_few_rows_says_how_many_and_why(stream, parts, anchor):
    x = stream.turned(7, rng=np.random.default_rng(1))[0]
    none = np.full(60, UNLABELLED)
    window = Window(x=np.repeat(x[:2], 120, axis=0), held_out=x[2:62], held_out_labels=none)
    step = _without_stopping(pipeline.plain_step(1))
    found = learn(window, parts, anchor, anchor, step=step)
    assert isinstance(found, NothingToLearn)
    assert "238 duplicate" in found.detail
    assert "24 needed" in found.detail


def test_a_model_that_may_not_learn_is_only_diagnosed(turned, parts, anchor):
    found = learn(turned, parts, anchor, anchor, policy=Policy(learnable="no"))
    assert found.diagnosis.drift.kind == "covariate"
    assert isinstance(found, NothingToLearn)
    assert 'learnable = "no"' in found.detail


def test_a_refused_student_is_handed_back_with_the_reason(turned, parts, anchor):
    strict = Gates(min_agreement=1.0, max_class_flow=0.0)
    found = learn(turned, parts, anchor, anchor, gates=strict)
    assert isinstance(found, Judged)
    assert not found.promoted
    assert "agreement_with_champion fail" in found.detail


def test_stages_run_in_order_and_draw_from_random_states_of_their_own(turned, parts, anchor):
    asked, plain = [], pipeline.plain_step(1)

    def step(stage, verb, *args):
        asked.append(stage)
        return plain(stage, verb, *args)

    learn(turned, parts, anchor, anchor, step=step)
    assert asked == [stage for stage in STAGES if stage not in ("snapshot", "publish")]
    draws = {pipeline.stage_rng(run, stage).integers(2**62) for run in (1, 2) for stage in STAGES}
    assert len(draws) == 2 * len(STAGES)


def test_a_plan_is_the_diagnosis_and_the_labels_that_a_run_would_train_on(turned, parts, anchor):
    given = {"seed": parts, "champion": anchor, "anchor": anchor, "policy": LEARNS}
    inputs = pipeline.RunInputs(window=turned, gates=Gates(), **given)
    planned = pipeline.plan(inputs, pipeline.plain_step(4))
    ran = learn(turned, parts, anchor, anchor, run=4)
    assert planned.diagnosis.drift == ran.diagnosis.drift
    assert (planned.labels.label == ran.labels.label).all()
    assert (planned.labels.refusal == ran.labels.refusal).all()


def test_a_model_of_one_member_runs_all_stages(turned, parts):
    alone = pipeline.begin(spec(members=1), parts, step=pipeline.plain_step(0)).student
    found = learn(turned, parts, alone, alone)
    assert found.diagnosis.drift.kind == "covariate"
    assert found.verdict is not None
    assert len(found.student.members) == 1


@pytest.fixture(scope="module")
def sensors():
    """Seed set and version 1 of sensors, and a run on a released window of aged ones."""
    parts = seed_split.split(*read_out(600, draw=0), SENSORS, rng=np.random.default_rng(0))
    anchor = pipeline.begin(spec(SENSORS), parts, step=pipeline.plain_step(0)).student
    window = window_of(read_out(300, draw=1, aged=True)[0], released=True)
    return parts, anchor, learn(window, parts, anchor, anchor)


def test_drift_of_scale_is_learnt_in_the_windows_own_scale_and_left_with_it(sensors):
    parts, anchor, aged = sensors
    assert aged.diagnosis.drift.of_scale
    assert aged.promoted, aged.detail
    assert aged.student.mode.name == "standardise"
    following, y = read_out(300, draw=2, aged=True)
    assert accuracy(aged.student, following, y) > accuracy(anchor, following, y) + 0.05
    # The sensors are the seed's again: so is the model.
    mended = learn(window_of(read_out(300, draw=3)[0]), parts, aged.student, anchor)
    assert mended.diagnosis.drift.kind == "none"
    assert mended.promoted
    assert mended.student.mode.name == "plain"


def test_expected_answers_are_those_to_held_out_rows_without_labels(stream, parts, anchor):
    x, y = stream.turned(7, rng=np.random.default_rng(1))
    labels = np.where(np.arange(len(x)) < 30, y, UNLABELLED)
    window = window_of(x, labels=labels)
    found = learn(window, parts, anchor, anchor, run=4)
    drawn = window.held_out[window.held_out_labels == UNLABELLED]
    assert len(drawn) == len(window.held_out) - 30 > 0
    assert found.expected == {
        "student": Behaviour.of(Running(found.student).answer(drawn)),
        "champion": Behaviour.of(anchor.network_probabilities(drawn)),
    }


def _simulated(gain: float) -> Simulation:
    return Simulation(acts=(Act(drift="inputs", frozen=0.6, served=0.6 + gain),))


def _with_drift(change, plain):
    """A step after whose diagnosis the drift is changed."""

    def step(stage, verb, /, *args):
        result = plain(stage, verb, *args)
        return replace(result, drift=change(result.drift)) if stage == "diagnose" else result

    return step


def _with_input_at(share, plain):
    """A step after whose diagnosis the residual of the inputs is this share of its limit."""

    def changed(drift):
        found = drift.effects["input"]
        found = replace(found, value=share * found.threshold)
        over = detector._over(found, drift.kind, DEFAULT)
        return replace(drift, effects={**drift.effects, "input": found}, over=over)

    return _with_drift(changed, plain)


def _without_stopping(plain):
    """Diagnosis would stop this window first; what follows it is what the test is about."""
    return _with_drift(lambda drift: replace(drift, stops=False), plain)
