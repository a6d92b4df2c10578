"""What the simulation of version 1 found, kept with it and shown as `rehearsal`. No torch here."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Literal

from acclimate.learning.data import Json
from acclimate.learning.thresholds import DEFAULT

NOT_SIMULATED = (
    "nothing is known of what version 1 could learn by itself: it was never simulated. "
    "Create the model anew, or set learnable in its policy"
)
DriftName = Literal["inputs", "inputs and class shares"]


@dataclass(frozen=True, kw_only=True)
class Act:
    """One synthetic drift, played over windows without labels: mean accuracies in 0..1.

    `frozen` is version 1 left alone, `served` the versions that were trained window by window.
    """

    drift: DriftName
    frozen: float
    served: float

    @property
    def gain(self) -> float:
        return self.served - self.frozen


@dataclass(frozen=True, kw_only=True)
class Simulation:
    """All acts. `learnable` where learning gains clearly in the mean and harms much in none."""

    acts: tuple[Act, ...]

    @property
    def gain(self) -> float:
        return sum(act.gain for act in self.acts) / len(self.acts) if self.acts else 0.0

    @property
    def learnable(self) -> bool:
        worst = min(act.gain for act in self.acts)
        return self.gain >= DEFAULT.simulated_gain and worst >= DEFAULT.simulated_worst

    @property
    def worth_a_try(self) -> bool:
        """Whether learning gains at all: then it is tried beside version 1, which serves until the
        learner is ahead.
        """
        return self.gain > 0.0

    @property
    def detail(self) -> str:
        """For an owner, in words and points."""
        if not self.acts:
            return NOT_SIMULATED
        frozen = sum(act.frozen for act in self.acts) / len(self.acts)
        served = sum(act.served for act in self.acts) / len(self.acts)
        found = (
            f"in {len(self.acts)} simulated drifts of the seed's held-out rows it answers "
            f"{100 * served:.0f} % right by learning without labels, "
            f"{100 * frozen:.0f} % left alone: {100 * self.gain:+.1f} points in the mean, "
            f"{100 * min(act.gain for act in self.acts):+.1f} in the worst"
        )
        if self.learnable:
            can = (
                "by itself this model can learn gradual drift of its inputs; "
                "a new meaning of the classes needs labels"
            )
        elif self.worth_a_try:
            can = (
                "it is uncertain that this model can learn drift by itself: it learns in the "
                "shadow of version 1, and serves once labels lean to it"
            )
        else:
            can = (
                "by itself this model cannot learn drift that can be relied on: "
                "it is served and watched, labels are needed"
            )
        return f"{can}; {found}"

    def as_json(self) -> Json:
        acts = [{**asdict(act), "gain": act.gain} for act in self.acts]
        return {
            "learnable": self.learnable,
            "expected_gain": self.gain,
            "detail": self.detail,
            "acts": acts,
        }

    @staticmethod
    def from_json(data: Json) -> Simulation:
        """The inverse of `as_json`."""
        names = ("drift", "frozen", "served")
        acts = (Act(**{name: act[name] for name in names}) for act in data["acts"])
        return Simulation(acts=tuple(acts))
