"""One turn of the loop, and the first version: the steps in order. They share values and know nothing of each other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from acclimate.learning import network, recipes
from acclimate.learning.behaviour import Behaviour
from acclimate.learning.calibration import calibrate
from acclimate.learning.drift import diagnose
from acclimate.learning.gates import judge, judge_anchor
from acclimate.learning.network import Bundle
from acclimate.learning.pseudo_labels import choose
from acclimate.learning.replay import Replay
from acclimate.learning.student import bring, train, train_anchor
from acclimate.learning.values import (
    STAGES,
    UNLABELLED,
    Drift,
    Floats,
    Gates,
    ModelSpec,
    Policy,
    PseudoLabels,
    SeedSet,
    Verdict,
    Window,
)


class Step(Protocol):
    """Runs one stage: calls `verb(*args, rng=..., tick=...)` and returns its result, or the one stored for this run."""

    def __call__(self, stage: str, verb: Callable[..., Any], /, *args: Any) -> Any: ...


@dataclass(frozen=True, kw_only=True, eq=False)
class Turn:
    """What one run found out, as far as it came; `detail` says in words why nothing was promoted.

    `expected` is how `student` and `champion` answered the rows held out from training (the anchor: the judging part): what live
    answers are compared with.
    """

    drift: Drift | None = None
    labels: PseudoLabels | None = None
    student: Bundle | None = None
    verdict: Verdict | None = None
    expected: dict[str, Behaviour] = field(default_factory=dict)
    detail: str | None = None

    @property
    def promoted(self) -> bool:
        return self.verdict is not None and self.verdict.passed


def turn(
    window: Window, seed: SeedSet, champion: Bundle, anchor: Bundle, policy: Policy, gates: Gates, *, step: Step
) -> Turn:
    """Learns from one window what the champion can teach about it, and judges the student; the champion stays as it was.

    Raises `recipes.UnknownRecipe`, and `student.NonFiniteLoss` where training breaks down. The same arguments and the same
    random states of `step` give the same turn, bit for bit on a CPU.
    """
    recipe = recipes.named(policy.recipe)
    seen = survey(window, seed, champion, anchor, policy, step=step)
    if seen.drift is None or seen.labels is None or seen.detail is not None:
        return seen
    drift, labels = seen.drift, seen.labels
    student = step("train", train, champion, window, labels, Replay(trusted=seed.train), recipe)
    student = step("calibrate", calibrate, student, seed.calibration)
    student = network.with_self_test(student, seed.judging.x)
    verdict = step("judge", judge, student, champion, anchor, seed.judging, window, drift, gates)
    expected = _answers(_usual(window), student=student, champion=champion)
    return Turn(
        drift=drift, labels=labels, student=student, verdict=verdict, expected=expected, detail=_refusal(verdict)
    )


def survey(window: Window, seed: SeedSet, champion: Bundle, anchor: Bundle, policy: Policy, *, step: Step) -> Turn:
    """The first part of a turn: what drifted, and what the champion can teach. `detail` says why nothing is to be learnt."""
    drift = step("diagnose", diagnose, window, seed, champion, anchor)
    if drift.stops and not (drift.alarms and window.vouched):
        return Turn(drift=drift, detail=drift.detail)
    if policy.learnable == "no":
        return Turn(drift=drift, detail='the policy says learnable = "no": this model is served and watched only')
    labels = step("pseudo_label", choose, window, champion)
    return Turn(drift=drift, labels=labels, detail=_scarcity(labels) if labels.too_few else None)


def begin(
    spec: ModelSpec,
    seed: SeedSet,
    *,
    step: Step,
    allowlist: tuple[str, ...] = (),
    weights: dict[str, np.ndarray[Any, Any]] | None = None,
) -> Turn:
    """Version 1, the anchor, from the seed set alone, or from weights that were brought: trained, calibrated and judged.

    Only finite weights, self-test and better than chance bind. Raises `network.BundleError` where the network cannot be made, and
    `student.NonFiniteLoss`.
    """
    if weights is None:
        recipe = recipes.anchor(len(seed.train))
        anchor = step("train", train_anchor, spec.input, spec.network, seed.train, recipe, allowlist)
    else:
        anchor = step("train", bring, spec.input, spec.network, seed.train, weights, allowlist)
    anchor = step("calibrate", calibrate, anchor, seed.calibration)
    anchor = network.with_self_test(anchor, seed.judging.x)
    verdict = step("judge", judge_anchor, anchor, seed.judging, spec.gates)
    expected = _answers(seed.judging.x, student=anchor)
    return Turn(student=anchor, verdict=verdict, expected=expected, detail=_refusal(verdict))


def run_seed(policy: Policy, windows: Sequence[int]) -> int:
    """What all randomness of a run over these windows (none for version 1) follows from."""
    return policy.seed * 1_000_003 + max(windows, default=0)


def stage_rng(seed: int, stage: str) -> np.random.Generator:
    """The random state of one stage of one run: a resumed run draws what an unbroken one would have drawn."""
    return np.random.default_rng([seed, STAGES.index(stage)])


def plain_step(seed: int) -> Step:
    """A step that only calls, for tests and benchmarks.

    It leaves torch's global generator alone: the built-in networks draw from `rng`. Who trains a user's module that draws
    from the global one (dropout) seeds it before.
    """

    def step(stage: str, verb: Callable[..., Any], /, *args: Any) -> Any:
        return verb(*args, rng=stage_rng(seed, stage), tick=lambda done, total: None)

    return step


def _usual(window: Window) -> Floats:
    """Held-out rows as traffic has them: those that a person labelled were asked for because they are doubtful."""
    drawn = window.held_out[window.held_out_labels == UNLABELLED]
    return drawn if len(drawn) else window.held_out


def _answers(x: Floats, **bundles: Bundle) -> dict[str, Behaviour]:
    if not len(x):
        return {}
    return {name: Behaviour.of(bundle.probabilities(x)) for name, bundle in bundles.items()}


def _scarcity(labels: PseudoLabels) -> str:
    refused = ", ".join(f"{count} {reason}" for reason, count in sorted(labels.refused.items()))
    return (
        f"too little to learn from: {int(labels.accepted.sum())} of {len(labels.label)} rows accepted, "
        f"{labels.needed} needed (refused: {refused or 'none'})"
    )


def _refusal(verdict: Verdict) -> str | None:
    return None if verdict.passed else verdict.reasons
