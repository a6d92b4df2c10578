"""How a run can end, as typed values. No torch here.

`serving` of an outcome: who answers from here on, where versions were compared.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from acclimate.learning.data import PseudoLabels
from acclimate.learning.evaluation.behaviour import Behaviour
from acclimate.learning.evaluation.serving_guard import Serving
from acclimate.learning.evaluation.simulation_report import NOT_SIMULATED, Simulation
from acclimate.learning.results import Diagnosis, Lineage, Opinion, Verdict

if TYPE_CHECKING:
    from acclimate.learning.models.bundle import Bundle

Reason = Literal["no_drift", "not_learnable", "switched_off", "too_few_labels"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Trained:
    """A version that was made and judged.

    `expected`: how `student` and `champion` answered rows held out from training, with which live
    answers are compared.
    """

    student: Bundle
    verdict: Verdict
    lineage: Lineage
    expected: dict[str, Behaviour] = field(default_factory=dict)

    @property
    def promoted(self) -> bool:
        return self.verdict.passed

    @property
    def detail(self) -> str | None:
        """Why it is not promoted, in words."""
        return None if self.promoted else self.verdict.reasons


@dataclass(frozen=True, kw_only=True, eq=False)
class FirstVersion(Trained):
    """Version 1, and what it could learn by itself where that was simulated."""

    simulation: Simulation | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class Judged(Trained):
    """A challenger: a student with the labels it was trained on, or the anchor in another mode.

    `labels` are pseudo-labels; `taught` is the number of rows that people labelled. `opinion`: a
    second estimate of the accuracy of the champion's answers to the window.
    """

    diagnosis: Diagnosis
    labels: PseudoLabels | None = None
    taught: int = 0
    opinion: Opinion | None = None
    serving: Serving | None = None

    @property
    def learnt(self) -> bool:
        """Whether the challenger has other weights than those it began with."""
        return self.labels is not None or self.taught > 0

    @property
    def answered(self) -> bool:
        """Whether the window raised an alarm that labels of it answered: they taught."""
        return self.diagnosis.drift.alarms and self.labels is None and self.taught > 0


@dataclass(frozen=True, kw_only=True, eq=False)
class NothingToLearn:
    """No challenger was made; the champion stays."""

    diagnosis: Diagnosis
    reason: Reason
    labels: PseudoLabels | None = None
    opinion: Opinion | None = None
    simulation: Simulation | None = None
    serving: Serving | None = None

    @property
    def detail(self) -> str:
        """The reason in words."""
        if self.reason == "no_drift":
            return self.diagnosis.drift.detail
        if self.reason == "switched_off":
            return 'the policy says learnable = "no": this model is served and watched only'
        if self.reason == "not_learnable":
            return NOT_SIMULATED if self.simulation is None else self.simulation.detail
        assert self.labels is not None
        return _scarcity(self.labels)


@dataclass(frozen=True, kw_only=True, eq=False)
class Quarantined:
    """The window raised an alarm: nothing is learnt from it until an operator releases it."""

    diagnosis: Diagnosis
    opinion: Opinion | None = None
    serving: Serving | None = None

    @property
    def detail(self) -> str:
        """The alarms in words."""
        return self.diagnosis.drift.detail


@dataclass(frozen=True, kw_only=True, eq=False)
class Learnable:
    """What a run would train on, before training: the labels that a plan shows."""

    diagnosis: Diagnosis
    labels: PseudoLabels


Outcome = NothingToLearn | Quarantined | Judged


def _scarcity(labels: PseudoLabels) -> str:
    refused = ", ".join(f"{count} {reason}" for reason, count in sorted(labels.refused.items()))
    return (
        f"too little to learn from: {int(labels.accepted.sum())} of {len(labels.label)} rows "
        f"accepted, {labels.needed} needed (refused: {refused or 'none'})"
    )
