"""One turn of the loop, and the first version: the stages in order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from acclimate.learning.data import (
    UNLABELLED,
    PseudoLabels,
    Rows,
    SeedSet,
    Window,
)
from acclimate.learning.drift.detector import detect
from acclimate.learning.evaluation import lineage, second_opinion, serving_guard, shadowing
from acclimate.learning.evaluation.behaviour import Behaviour
from acclimate.learning.evaluation.gates import judge, judge_anchor, judge_mode
from acclimate.learning.evaluation.serving_guard import Serving
from acclimate.learning.evaluation.simulation import simulate
from acclimate.learning.evaluation.simulation_report import Simulation
from acclimate.learning.models import prior_estimation
from acclimate.learning.models.bundle import Bundle
from acclimate.learning.models.modes import PLAIN, PriorAdapted
from acclimate.learning.models.running import Running
from acclimate.learning.models.weights import same
from acclimate.learning.outcomes import (
    FirstVersion,
    Judged,
    Learnable,
    NothingToLearn,
    Outcome,
    Quarantined,
    Reason,
)
from acclimate.learning.results import STAGES, Comparison, Diagnosis, DriftKind, Verdict
from acclimate.learning.run_inputs import Lesson, RunInputs, trial
from acclimate.learning.screening import contamination
from acclimate.learning.spec import ModelSpec, Policy
from acclimate.learning.thresholds import DEFAULT, Thresholds
from acclimate.learning.training import recipes
from acclimate.learning.training.calibration import calibrate, calibrate_student
from acclimate.learning.training.pseudo_labels import relabeller, select
from acclimate.learning.training.recipes import Recipe
from acclimate.learning.training.replay import Replay
from acclimate.learning.training.self_training import self_train
from acclimate.learning.training.student import bring, train_anchor, train_on_labels

Tick = Callable[[int, int], None]


class Step(Protocol):
    """Runs one stage: calls `verb(*args, rng=..., tick=...)`, or returns its stored result."""

    def __call__(self, stage: str, verb: Callable[..., Any], /, *args: Any) -> Any: ...


def run(inputs: RunInputs, step: Step) -> Outcome:
    """Learns from one window what the champion can teach about it, and judges the student.

    Where the inputs have not drifted, nothing is learnt: version 1 answers them, and follows the
    class priors where only these moved. Raises `recipes.UnknownRecipe`, and `student.NonFiniteLoss`
    where training breaks down. The same inputs and random states of `step` give the same outcome,
    bit for bit on a CPU.
    """
    outcome = _turn(inputs, step)
    return replace(outcome, serving=_serving(inputs, outcome))


def _serving(inputs: RunInputs, outcome: Outcome) -> Serving | None:
    """Who answers from here on; None where nothing changes.

    The first student serves at once where the simulation showed that the model can learn by itself;
    else labels have to say so first. From the next window on it has to be ahead, unless the policy
    says that the model learns; after alarms it has to be before.
    """
    found, limits = outcome.diagnosis.comparison, inputs.limits
    if found is not None:
        return serving_guard.decide(
            inputs.standing,
            found,
            alarm=outcome.diagnosis.drift.alarms,
            by_labels=not _learns_by_itself(inputs),
            at_once=inputs.policy.learnable == "yes",
            max_unproved=inputs.policy.max_unproved,
            limits=limits,
        )
    learnt = isinstance(outcome, Judged) and outcome.promoted and outcome.learnt
    if not learnt or _serves_at_once(inputs) or not limits.on("serving_guard"):
        return None
    return serving_guard.shadowed(inputs.standing)


def _turn(inputs: RunInputs, step: Step) -> Outcome:
    """The outcome, before who serves is decided."""
    recipe = recipes.named(inputs.policy.recipe)
    found, lesson = _plan(inputs, step)
    labels = found.labels if isinstance(found, Learnable) else None
    if labels is None:
        lesson = _labelled(found, inputs)
        if lesson is None:
            if isinstance(found, NothingToLearn):
                return _return_to_anchor(found, inputs, step)
            assert isinstance(found, Quarantined)
            return found
        student = step("train", _train_on_labels, lesson, inputs, recipe)
    else:
        assert lesson is not None, "what is learnable has a teacher"
        student = step("train", _train, lesson, labels, inputs, recipe)
    student = step("calibrate", _calibrate, student, lesson, inputs)
    student = student.with_self_test(inputs.seed.judging.x)
    trial = lesson.trial(inputs, found.diagnosis, taught=labels is None)
    verdict = step("judge", judge, student, trial)
    return Judged(
        diagnosis=found.diagnosis,
        labels=labels,
        taught=lesson.taught,
        student=student,
        verdict=verdict,
        expected=_expected(inputs.window, student=student, champion=lesson.served),
        opinion=second_opinion.in_hindsight(lesson.served, student, inputs.window.rows),
        lineage=lineage.trace(student, inputs.anchor, inputs.seed, lesson.window.taught),
    )


def _labelled(found: NothingToLearn | Quarantined | Learnable, inputs: RunInputs) -> Lesson | None:
    """The lesson of labels alone, where nothing else teaches; None where there are too few."""
    if inputs.policy.learnable == "no" or not inputs.limits.on("labels_alone"):
        return None
    lesson = Lesson.of(inputs, found.diagnosis)
    return lesson if lesson.taught >= inputs.limits.label_rows else None


def plan(inputs: RunInputs, step: Step) -> Learnable | NothingToLearn | Quarantined:
    """The first part of a run: what drifted, and what the champion can teach about it."""
    return _plan(inputs, step)[0]


def begin(
    spec: ModelSpec,
    seed: SeedSet,
    *,
    step: Step,
    allowlist: tuple[str, ...] = (),
    weights: dict[str, NDArray[Any]] | None = None,
    limits: Thresholds = DEFAULT,
) -> FirstVersion:
    """Version 1, the anchor, from the seed set alone, or from brought weights.

    Trained, calibrated and judged; only finite weights, self-test and better than chance bind.
    Raises `networks.BundleError` where the network cannot be made, and `student.NonFiniteLoss`.
    """
    if weights is None:
        recipe = recipes.anchor(len(seed.train))
        made = (train_anchor, spec.input, spec.network, seed.train, recipe, allowlist)
        anchor = step("train", *made)
    else:
        anchor = step("train", bring, spec.input, spec.network, seed.train, weights, allowlist)
    anchor = step("calibrate", calibrate, anchor, seed.calibration)
    anchor = anchor.with_self_test(seed.judging.x)
    verdict = step("judge", _judge_and_simulate, anchor, seed, spec, limits)
    simulated = verdict.simulation
    return FirstVersion(
        student=anchor,
        verdict=verdict,
        expected=_answers(seed.judging.x, student=anchor),
        lineage=lineage.trace(anchor, anchor, seed),
        simulation=None if simulated is None else Simulation.from_json(simulated),
    )


def run_seed(policy: Policy, windows: Sequence[int]) -> int:
    """The seed of all randomness of a run over these windows (none for version 1)."""
    return policy.seed * 1_000_003 + max(windows, default=0)


def stage_rng(seed: int, stage: str) -> np.random.Generator:
    """The random state of one stage of one run, the same in every attempt."""
    return np.random.default_rng([seed, STAGES.index(stage)])


def plain_step(seed: int) -> Step:
    """A step that only calls, for tests and benchmarks.

    It leaves torch's global generator alone: the built-in networks draw from `rng`. Who trains a
    user's module that draws from the global one (dropout) seeds it before.
    """

    def step(stage: str, verb: Callable[..., Any], /, *args: Any) -> Any:
        return verb(*args, rng=stage_rng(seed, stage), tick=lambda done, total: None)

    return step


def _plan(
    inputs: RunInputs, step: Step
) -> tuple[Learnable | NothingToLearn | Quarantined, Lesson | None]:
    """`plan`, with the lesson where one was made."""
    diagnosis = step("diagnose", _diagnose, inputs)
    drift, window = diagnosis.drift, inputs.window
    released = window.released and drift.alarms and drift.effects["input"].detected
    if drift.stops and not released:
        opinion = second_opinion.from_seed(inputs.champion, inputs.seed.judging, drift)
        if drift.alarms:
            return Quarantined(diagnosis=diagnosis, opinion=opinion), None
        return NothingToLearn(diagnosis=diagnosis, reason="no_drift", opinion=opinion), None
    reason = _not_learnable(inputs)
    if reason is not None:
        simulation = inputs.simulation
        return NothingToLearn(diagnosis=diagnosis, reason=reason, simulation=simulation), None
    lesson = Lesson.of(inputs, diagnosis)
    labels = step("pseudo_label", _pseudo_label, lesson, inputs)
    if labels.too_few:
        too_few = NothingToLearn(diagnosis=diagnosis, reason="too_few_labels", labels=labels)
        return too_few, lesson
    return Learnable(diagnosis=diagnosis, labels=labels), lesson


def _diagnose(inputs: RunInputs, *, rng: np.random.Generator, tick: Tick) -> Diagnosis:
    """Screens the rows, then detects drift in those that are measured."""
    window, seed, limits = inputs.window, inputs.seed, inputs.limits
    champion, anchor = inputs.champion, inputs.anchor
    screening = contamination.screen(
        window, seed, champion, anchor, inputs.policy, tick=tick, limits=limits
    )
    window = replace(window, set_aside=screening.set_aside)
    drift = detect(window, seed, champion, anchor, screening, rng=rng, tick=tick, limits=limits)
    comparison = _compare(inputs, window.measured)
    return Diagnosis(screening=screening, drift=drift, comparison=comparison)


def _compare(inputs: RunInputs, window: Window) -> Comparison | None:
    """The learner beside the proved version on the measured rows; None where they are the same.

    Labels that lean to version 1 withdraw the proof of another: a window that labels come from is
    one kind of day.
    """
    proved = inputs.anchor if inputs.proved is None else inputs.proved
    learner, limits = inputs.champion, inputs.limits
    if not limits.on("serving_guard") or not len(window):
        return None
    labels = np.full(len(window), UNLABELLED, dtype=np.int64)
    labels[len(window.x) :] = window.held_out_labels
    audited = window.audited
    proof = shadowing.won_and_lost(proved, inputs.anchor, audited.x, audited.y)
    standing = inputs.standing
    counts = standing.proof_gains + proof[0], standing.proof_losses + proof[1]
    withdraws = serving_guard.leaning(*counts) < 0
    reference = inputs.anchor if withdraws else proved
    if learner is reference:
        return None
    found = shadowing.compare(learner, reference, window.rows, labels, limits=limits)
    found = replace(found, proof=proof, withdraws=withdraws)
    late = window.late
    if late is None:
        return found
    gains, losses = shadowing.won_and_lost(learner, reference, late.x, late.y)
    return replace(found, gains=found.gains + gains, losses=found.losses + losses)


def _pseudo_label(
    lesson: Lesson, inputs: RunInputs, *, rng: np.random.Generator, tick: Tick
) -> PseudoLabels:
    return select(
        lesson.window,
        lesson.teacher,
        inputs.seed.train,
        lesson.candidates,
        rng=rng,
        tick=tick,
        limits=inputs.limits,
    )


def _train(
    lesson: Lesson,
    labels: PseudoLabels,
    inputs: RunInputs,
    recipe: Recipe,
    *,
    rng: np.random.Generator,
    tick: Tick,
) -> Bundle:
    """The student serves in its teacher's scale; only the anchor's networks follow priors."""
    seed, teacher = inputs.seed, lesson.teacher
    relabel = relabeller(lesson.window, seed.train, lesson.candidates, labels, inputs.limits)
    student = self_train(teacher, lesson.window, labels, seed, recipe, relabel, rng=rng, tick=tick)
    return student.with_mode(teacher.mode if teacher.mode.adapts_scale else PLAIN)


def _train_on_labels(
    lesson: Lesson, inputs: RunInputs, recipe: Recipe, *, rng: np.random.Generator, tick: Tick
) -> Bundle:
    """As `_train`, where nobody but people taught."""
    replay = Replay.of(inputs.seed, lesson.window, lesson.teacher.network_spec.members)
    student = train_on_labels(lesson.teacher, replay, recipe, rng=rng, tick=tick)
    return student.with_mode(lesson.teacher.mode if lesson.teacher.mode.adapts_scale else PLAIN)


def _calibrate(
    student: Bundle, lesson: Lesson, inputs: RunInputs, *, rng: np.random.Generator, tick: Tick
) -> Bundle:
    return calibrate_student(
        student,
        inputs.seed.calibration,
        lesson.teacher,
        lesson.window.measured.rows,
        rng=rng,
        tick=tick,
        limits=inputs.limits,
    )


def _return_to_anchor(found: NothingToLearn, inputs: RunInputs, step: Step) -> Outcome:
    """The anchor's networks answer: with running priors where only these moved, else plain.

    A champion that learnt gives way to them only where its drift is over: too little evidence to
    learn is not enough.
    """
    drift = found.diagnosis.drift
    champion, anchor = inputs.champion, inputs.anchor
    undrifted = drift.stops or champion.mode.adapts_priors
    if drift.alarms or inputs.policy.learnable == "no" or not undrifted:
        return found
    follows = drift.kind == "prior" and inputs.limits.on("prior_mode")
    kind: DriftKind = "none" if drift.kind == "prior" and not follows else drift.kind
    is_anchor = same(champion, anchor)
    if champion.mode.suits(kind) if is_anchor else not drift.over:
        return found
    window = replace(inputs.window, set_aside=found.diagnosis.screening.set_aside)
    served = champion.caught_up(window.measured.rows)
    priors = prior_estimation.class_priors(inputs.seed.train.y, len(anchor.input_spec.classes))
    challenger = anchor.with_mode(PriorAdapted.of(priors) if follows else PLAIN)
    challenger = challenger.with_self_test(inputs.seed.judging.x)
    against = trial(inputs, found.diagnosis, served, window.measured)
    verdict = step("judge", judge_mode, challenger, against)
    return Judged(
        diagnosis=found.diagnosis,
        student=challenger,
        verdict=verdict,
        expected=_expected(window, student=challenger, champion=served),
        opinion=found.opinion,
        lineage=lineage.trace(challenger, anchor, inputs.seed),
    )


def _not_learnable(inputs: RunInputs) -> Reason | None:
    """Why nothing may be learnt, whatever drifted."""
    if inputs.policy.learnable == "no":
        return "switched_off"
    if inputs.policy.learnable == "yes" or not inputs.limits.on("simulation"):
        return None
    simulation = inputs.simulation
    return None if simulation is not None and simulation.worth_a_try else "not_learnable"


def _serves_at_once(inputs: RunInputs) -> bool:
    """Whether the first student may serve before it is ahead: no alarm stood."""
    past = inputs.window.past
    return _learns_by_itself(inputs) and not (past is not None and past.anew)


def _learns_by_itself(inputs: RunInputs) -> bool:
    """Whether it is known that the model can learn without labels."""
    if inputs.policy.learnable == "yes" or not inputs.limits.on("simulation"):
        return True
    return inputs.simulation is not None and inputs.simulation.learnable


def _judge_and_simulate(
    anchor: Bundle,
    seed: SeedSet,
    spec: ModelSpec,
    limits: Thresholds,
    *,
    rng: np.random.Generator,
    tick: Tick,
) -> Verdict:
    """The gates of version 1 and, unless the policy decides it, what it could learn by itself."""
    verdict = judge_anchor(anchor, seed.judging, spec.gates, rng=rng, tick=tick)
    if spec.policy.learnable != "auto" or not verdict.passed:
        return verdict
    recipe = recipes.named(spec.policy.recipe)
    simulation = simulate(anchor, seed, recipe, rng=rng, tick=tick, limits=limits)
    return replace(verdict, simulation=simulation.as_json())


def _expected(window: Window, **bundles: Bundle) -> dict[str, Behaviour]:
    """How bundles answer held-out rows as traffic has them."""
    return _answers(window.unlabelled_held_out, **bundles)


def _answers(x: Rows, **bundles: Bundle) -> dict[str, Behaviour]:
    if not len(x):
        return {}
    return {name: Behaviour.of(Running(bundle).answer(x)) for name, bundle in bundles.items()}
