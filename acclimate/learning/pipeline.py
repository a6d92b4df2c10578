"""One turn of the loop, and the first version: the steps in order. They share values and know
nothing of each other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from acclimate.learning.data import UNLABELLED, Floats, Integers, PseudoLabels, SeedSet, Window
from acclimate.learning.drift.detector import diagnose
from acclimate.learning.evaluation import lineage, second_opinion
from acclimate.learning.evaluation.accuracy_estimate import Opinion
from acclimate.learning.evaluation.behaviour import Behaviour
from acclimate.learning.evaluation.gates import judge, judge_anchor, judge_mode
from acclimate.learning.evaluation.lineage import Lineage
from acclimate.learning.evaluation.simulation import rehearse
from acclimate.learning.evaluation.simulation_report import NOT_REHEARSED, Rehearsal
from acclimate.learning.models import modes, network, rescale
from acclimate.learning.models.answers import Running
from acclimate.learning.models.modes import Mode
from acclimate.learning.models.network import Bundle
from acclimate.learning.models.weights import same
from acclimate.learning.results import STAGES, Drift, Verdict
from acclimate.learning.screening import contamination
from acclimate.learning.spec import Gates, ModelSpec, Policy
from acclimate.learning.training import recipes
from acclimate.learning.training.calibration import calibrate, calibrate_student
from acclimate.learning.training.pseudo_labels import choose
from acclimate.learning.training.self_training import learn
from acclimate.learning.training.student import bring, train_anchor


class Step(Protocol):
    """Runs one stage: calls `verb(*args, rng=..., tick=...)` and returns its result, or the one
    stored for this run.
    """

    def __call__(self, stage: str, verb: Callable[..., Any], /, *args: Any) -> Any: ...


@dataclass(frozen=True, kw_only=True, eq=False)
class Turn:
    """What one run found out, as far as it came; `detail` says in words why nothing was promoted.

    `apart` (N,) are the window's rows that few senders send, and that nothing was measured on
    (`Crowd.apart`). `expected` is how `student` and `champion` answered the rows held out from
    training (the anchor: the judging part): what live answers are compared with. `second`: what the
    champion's answers to the window are worth by another way than their confidence. `lineage`: what
    `student` comes of. `rehearsal`: of version 1, what it could learn by itself.
    """

    drift: Drift | None = None
    apart: NDArray[np.bool_] | None = None
    labels: PseudoLabels | None = None
    student: Bundle | None = None
    verdict: Verdict | None = None
    expected: dict[str, Behaviour] = field(default_factory=dict)
    second: Opinion | None = None
    lineage: Lineage | None = None
    rehearsal: Rehearsal | None = None
    detail: str | None = None

    @property
    def promoted(self) -> bool:
        return self.verdict is not None and self.verdict.passed


def turn(
    window: Window,
    seed: SeedSet,
    champion: Bundle,
    anchor: Bundle,
    policy: Policy,
    gates: Gates,
    *,
    step: Step,
    rehearsal: Rehearsal | None = None,
) -> Turn:
    """Learns from one window what the champion can teach about it, and judges the student; the
    champion stays as it was.

    Where the anchor says of the inputs what it said of the seed's, nothing is learnt: it answers
    them itself, and follows the shares of the classes where nothing else moved. That it stops as
    soon as the inputs drift, learnable or not. `rehearsal` is version 1's; without one, nothing is
    learnt unless the policy says that it can be.

    Raises `recipes.UnknownRecipe`, and `student.NonFiniteLoss` where training breaks down. The same
    arguments and the same random states of `step` give the same turn, bit for bit on a CPU.
    """
    recipe = recipes.named(policy.recipe)
    seen = survey(window, seed, champion, anchor, policy, step=step, rehearsal=rehearsal)
    window = replace(window, apart=seen.apart)
    if seen.drift is None:
        return seen
    if seen.labels is None or seen.detail is not None:
        at_home = seen.drift.stops or champion.mode.name == "prior"
        if seen.drift.alarms or policy.learnable == "no" or not at_home:
            return seen
        return _return_to_anchor(seen, window, seed, champion, anchor, gates, step=step)
    drift, labels = seen.drift, seen.labels
    teacher = _teacher(drift, window, champion, anchor)
    as_read = rescale.window_read(teacher, window)
    student = step("train", learn, teacher, as_read, labels, seed, recipe, policy.client_share)
    student = network.with_mode(student, _kept(teacher.mode))
    student = step(
        "calibrate", calibrate_student, student, seed.calibration, teacher, as_read.most.rows
    )
    student = network.with_self_test(student, seed.judging.x)
    champion, judged = rescale.caught_up(champion, window.most.rows), window.most
    judged = (
        judged if teacher.mode.name != "standardise" else replace(judged, late=None)
    )  # their scale was another
    verdict = step("judge", judge, student, champion, anchor, seed.judging, judged, drift, gates)
    expected = _answers(_usual(window), student=student, champion=champion)
    return Turn(
        drift=drift,
        labels=labels,
        student=student,
        verdict=verdict,
        expected=expected,
        second=second_opinion.in_hindsight(champion, student, window.rows),
        lineage=lineage.trace(student, anchor, seed, as_read.taught),
        detail=_refusal(verdict),
    )


def _return_to_anchor(
    seen: Turn,
    window: Window,
    seed: SeedSet,
    champion: Bundle,
    anchor: Bundle,
    gates: Gates,
    *,
    step: Step,
) -> Turn:
    """The anchor's networks answer: with a running prior where only the class shares moved, plain
    where inputs drifted.

    A champion that learnt gives way to them only where its drift is over: too little evidence to
    learn is not enough.
    """
    assert seen.drift is not None
    moved = seen.drift.kind == "prior"
    fitting = {"none": ("plain", "prior"), "prior": ("prior",)}.get(seen.drift.kind, ("plain",))
    stays = champion.mode.name in fitting if same(champion, anchor) else not seen.drift.over
    if stays:
        return seen
    champion = rescale.caught_up(champion, window.most.rows)
    shares = modes.class_shares(seed.train.y, len(anchor.input_spec.classes))
    challenger = network.with_mode(anchor, modes.prior(shares) if moved else modes.PLAIN)
    challenger = network.with_self_test(challenger, seed.judging.x)
    verdict = step(
        "judge", judge_mode, challenger, champion, seed.judging, window.most, seen.drift, gates
    )
    expected = _answers(_usual(window), student=challenger, champion=champion)
    detail = _refusal(verdict)
    origin = lineage.trace(challenger, anchor, seed)
    return replace(
        seen,
        labels=None,
        student=challenger,
        verdict=verdict,
        expected=expected,
        lineage=origin,
        detail=detail,
    )


def survey(
    window: Window,
    seed: SeedSet,
    champion: Bundle,
    anchor: Bundle,
    policy: Policy,
    *,
    step: Step,
    rehearsal: Rehearsal | None = None,
) -> Turn:
    """The first part of a turn: what drifted, and what the champion can teach. `detail` says why
    nothing is to be learnt.
    """
    crowded = contamination.find(window, seed, champion, anchor, policy)
    window, apart = replace(window, apart=crowded.apart), crowded.apart
    drift = step("diagnose", diagnose, window, seed, champion, anchor, crowded)
    vouched = window.vouched and drift.alarms and drift.effects["input"].detected
    if drift.stops and not vouched:
        second = second_opinion.from_seed(champion, seed.judging, drift)
        return Turn(drift=drift, apart=apart, second=second, detail=drift.detail)
    unlearnable = _unlearnable(policy, rehearsal)
    if unlearnable is not None:
        return Turn(drift=drift, apart=apart, detail=unlearnable)
    teacher = _teacher(drift, window, champion, anchor)
    as_read, as_served = rescale.window_read(teacher, window), _as_served(teacher, champion, window)
    said = np.asarray(teacher.probabilities(as_read.x).argmax(axis=1), dtype=np.int64)
    unvouched = contamination.unvouched(window, crowded, anchor, said)
    labels = step(
        "pseudo_label",
        choose,
        as_read,
        teacher,
        seed.train,
        policy.client_share,
        as_served,
        unvouched,
    )
    return Turn(
        drift=drift,
        apart=apart,
        labels=labels,
        detail=_scarcity(labels) if labels.too_few else None,
    )


def _teacher(drift: Drift, window: Window, champion: Bundle, anchor: Bundle) -> Bundle:
    """Who teaches about a window: the champion, or the anchor read in the window's scale, where the
    drift is one of scale.

    What a champion learnt of drift in the seed's scale says nothing in another; one that follows
    the scale goes on in it.
    """
    if drift.of_scale and champion.mode.name != "standardise":
        return rescale.following(anchor, window.most.rows)
    return rescale.caught_up(champion, window.most.rows)


def _as_served(teacher: Bundle, champion: Bundle, window: Window) -> Integers | None:
    """What the champion says of the rows in the scale it has; None where the teacher reads them no
    other way.

    Own mean and deviation are also those of the window's class mix: rows of which both readings say
    the same are surer.
    """
    if teacher.mode.name != "standardise":
        return None
    return np.asarray(
        champion.probabilities(rescale.read(champion, window.x)).argmax(axis=1), dtype=np.int64
    )


def _kept(mode: Mode) -> Mode:
    """A student serves in its teacher's scale; class shares are followed by the anchor's networks
    alone.
    """
    return mode if mode.name == "standardise" else modes.PLAIN


def begin(
    spec: ModelSpec,
    seed: SeedSet,
    *,
    step: Step,
    allowlist: tuple[str, ...] = (),
    weights: dict[str, np.ndarray[Any, Any]] | None = None,
) -> Turn:
    """Version 1, the anchor, from the seed set alone, or from weights that were brought: trained,
    calibrated and judged.

    Only finite weights, self-test and better than chance bind. Raises `network.BundleError` where
    the network cannot be made, and `student.NonFiniteLoss`.
    """
    if weights is None:
        recipe = recipes.anchor(len(seed.train))
        anchor = step(
            "train", train_anchor, spec.input, spec.network, seed.train, recipe, allowlist
        )
    else:
        anchor = step("train", bring, spec.input, spec.network, seed.train, weights, allowlist)
    anchor = step("calibrate", calibrate, anchor, seed.calibration)
    anchor = network.with_self_test(anchor, seed.judging.x)
    verdict = step("judge", _judge_and_rehearse, anchor, seed, spec)
    expected = _answers(seed.judging.x, student=anchor)
    rehearsal = Rehearsal.from_json(verdict.rehearsal) if verdict.rehearsal is not None else None
    origin = lineage.trace(anchor, anchor, seed)
    return Turn(
        student=anchor,
        verdict=verdict,
        expected=expected,
        lineage=origin,
        rehearsal=rehearsal,
        detail=_refusal(verdict),
    )


def _judge_and_rehearse(
    anchor: Bundle,
    seed: SeedSet,
    spec: ModelSpec,
    *,
    rng: np.random.Generator,
    tick: Callable[[int, int], None],
) -> Verdict:
    """The gates of version 1 and, where nobody decided it already, what it could learn."""
    verdict = judge_anchor(anchor, seed.judging, spec.gates, rng=rng, tick=tick)
    if spec.policy.learnable != "auto" or not verdict.passed:
        return verdict
    rehearsal = rehearse(anchor, seed, recipes.named(spec.policy.recipe), rng=rng, tick=tick)
    return replace(verdict, rehearsal=rehearsal.as_json())


def run_seed(policy: Policy, windows: Sequence[int]) -> int:
    """What all randomness of a run over these windows (none for version 1) follows from."""
    return policy.seed * 1_000_003 + max(windows, default=0)


def stage_rng(seed: int, stage: str) -> np.random.Generator:
    """The random state of one stage of one run: a resumed run draws what an unbroken one would have
    drawn.
    """
    return np.random.default_rng([seed, STAGES.index(stage)])


def plain_step(seed: int) -> Step:
    """A step that only calls, for tests and benchmarks.

    It leaves torch's global generator alone: the built-in networks draw from `rng`. Who trains a
    user's module that draws from the global one (dropout) seeds it before.
    """

    def step(stage: str, verb: Callable[..., Any], /, *args: Any) -> Any:
        return verb(*args, rng=stage_rng(seed, stage), tick=lambda done, total: None)

    return step


def _usual(window: Window) -> Floats:
    """Held-out rows as traffic has them: those that a person labelled were asked for because they
    are doubtful.
    """
    drawn = window.held_out[window.held_out_labels == UNLABELLED]
    return drawn if len(drawn) else window.held_out


def _answers(x: Floats, **bundles: Bundle) -> dict[str, Behaviour]:
    if not len(x):
        return {}
    return {name: Behaviour.of(Running(bundle).answer(x)) for name, bundle in bundles.items()}


def _unlearnable(policy: Policy, rehearsal: Rehearsal | None) -> str | None:
    if policy.learnable == "no":
        return 'the policy says learnable = "no": this model is served and watched only'
    if policy.learnable == "yes":
        return None
    if rehearsal is None:
        return NOT_REHEARSED
    return None if rehearsal.learnable else rehearsal.detail


def _scarcity(labels: PseudoLabels) -> str:
    refused = ", ".join(f"{count} {reason}" for reason, count in sorted(labels.refused.items()))
    return (
        f"too little to learn from: {int(labels.accepted.sum())} of {len(labels.label)} rows "
        f"accepted, "
        f"{labels.needed} needed (refused: {refused or 'none'})"
    )


def _refusal(verdict: Verdict) -> str | None:
    return None if verdict.passed else verdict.reasons
