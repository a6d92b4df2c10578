"""What a rehearsal found: a report that an owner reads before any traffic, kept with version 1. No
torch here.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Literal

from acclimate.learning.data import Json

NEEDED_GAIN = 0.03
"""Accuracy (in 0..1) that learning must win in the mean of all acts: noisy answers win up to 0.025,
turning moons 0.036.
"""
WORST_ACT_GAIN = -0.10
NOT_REHEARSED = (
    "nothing is known of what version 1 could learn by itself: it was never rehearsed. Create "
    "the model anew, or set "
    "learnable in its policy"
)


@dataclass(frozen=True, kw_only=True)
class Act:
    """One made-up drift, played over windows without labels and read with the seed's: mean
    accuracies in 0..1.

    `frozen` is version 1 left alone, `served` the versions that learnt from window to window.
    """

    drift: Literal["inputs", "inputs and class shares"]
    frozen: float
    served: float

    @property
    def gain(self) -> float:
        return self.served - self.frozen


@dataclass(frozen=True, kw_only=True)
class Rehearsal:
    """All acts. `learnable` where learning pays in the mean and ruins in none."""

    acts: tuple[Act, ...]

    @property
    def gain(self) -> float:
        return sum(act.gain for act in self.acts) / len(self.acts) if self.acts else 0.0

    @property
    def learnable(self) -> bool:
        return self.gain >= NEEDED_GAIN and min(act.gain for act in self.acts) >= WORST_ACT_GAIN

    @property
    def detail(self) -> str:
        """For an owner, in words and points."""
        if not self.acts:
            return NOT_REHEARSED
        frozen = sum(act.frozen for act in self.acts) / len(self.acts)
        served = sum(act.served for act in self.acts) / len(self.acts)
        found = (
            f"in {len(self.acts)} made-up drifts of the seed's held-out rows it answers "
            f"{100 * served:.0f} % right by learning "
            f"without labels, {100 * frozen:.0f} % left alone: {100 * self.gain:+.1f} points "
            f"in the mean, "
            f"{100 * min(act.gain for act in self.acts):+.1f} in the worst"
        )
        if self.learnable:
            can = (
                "by itself this model can learn gradual drift of its inputs; a new meaning "
                "of the classes needs labels"
            )
        else:
            can = (
                "by itself this model cannot learn drift that can be relied on: it is served "
                "and watched, labels are needed"
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
    def from_json(data: Json) -> Rehearsal:
        """The inverse of `as_json`."""
        names = ("drift", "frozen", "served")
        return Rehearsal(
            acts=tuple(Act(**{name: act[name] for name in names}) for act in data["acts"])
        )
