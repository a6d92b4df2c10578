"""What a run finds out, as frozen values that storage and the API keep: drift, gates, verdicts. No
torch here.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Literal

from acclimate.learning.data import Json

STAGES = ("snapshot", "diagnose", "pseudo_label", "train", "calibrate", "judge", "publish")
"""The stages of a run, in order, named alike in code, API, metrics and user interface."""


@dataclass(frozen=True, kw_only=True)
class Gate:
    """One named check. `binds` is False where its outcome is information only (the anchor's; few
    audit labels).
    """

    gate: str
    value: float | None
    limit: float | None
    n: int
    verdict: Literal["pass", "fail", "insufficient"]
    binds: bool = True


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """All gates together. Insufficient evidence is not a pass."""

    gates: tuple[Gate, ...]
    evidence: Literal["audited", "label_free"] | None = None
    rehearsal: Json | None = None
    """Beside the gates of version 1: what it could learn by itself (`rehearsed.Rehearsal`)."""

    @property
    def passed(self) -> bool:
        return bool(self.gates) and all(gate.verdict == "pass" for gate in self.gates if gate.binds)

    @property
    def reasons(self) -> str:
        """The gates that did not pass, in words."""
        return "; ".join(
            f"{gate.gate} {gate.verdict}: {_figure(gate.value)} against a limit of "
            f"{_figure(gate.limit)} on {gate.n} rows"
            for gate in self.gates
            if gate.binds and gate.verdict != "pass"
        )

    def as_information(self, *binding: str) -> Verdict:
        """The same gates, of which only the named ones bind."""
        return replace(
            self, gates=tuple(replace(gate, binds=gate.gate in binding) for gate in self.gates)
        )


def _figure(value: float | None) -> str:
    return "nothing" if value is None else f"{value:.3g}"


"""What a window's diagnosis found, as runs, windows and the API tell it. No torch here."""


@dataclass(frozen=True, kw_only=True)
class Effect:
    """One measured sign of drift beside the threshold at which it counts, and the rows it was
    measured on.

    `lower` and `upper` hold the size of the effect at 95 % over all windows of the model together;
    None where nothing is said. Distances (`input`, `class_shares`) are there without what chance
    adds to them, so that their value stands near `upper`.
    """

    value: float
    threshold: float
    n: int
    lower: float | None = None
    upper: float | None = None

    @property
    def detected(self) -> bool:
        return self.value > self.threshold

    def give_or_take(self, doubt: float) -> Effect:
        """The same in an interval around its value."""
        return replace(self, lower=self.value - doubt, upper=self.value + doubt)


OVER = 0.75
"""Of the limit at which inputs are learnt from: between the two a version that learnt stays, and
learns nothing.
"""


@dataclass(frozen=True, kw_only=True)
class Drift:
    """What happened to the input since the seed set, with evidence.

    `amount` is 0 (none) .. 1 (full); `stops` ends the run before learning, `alarms` also
    quarantines the window; `detail` says why in words.
    """

    kind: Literal["none", "covariate", "prior", "concept", "abrupt", "new_class", "junk", "unknown"]
    amount: float
    effects: dict[str, Effect]
    agreement: float
    """Share of the window on which all members of the champion agree."""
    shares: tuple[float, ...] = ()
    """Of the classes (C): those that explain most of the window, as the anchor sees it."""
    crowd: Json | None = None
    """Rows that nobody vouches for, where there are any: how many, what version 1 answers most of
    them, who sent most.
    """
    independent: float | None = None
    """As many rows without copies would say as much as the window's; None where nobody counted."""
    stops: bool = False
    alarms: bool = False
    detail: str = ""

    @property
    def over(self) -> bool:
        """Whether a drift that was learnt is gone: what chance shows, and well below the limit at
        which it is learnt.
        """
        found = self.effects["input"]
        return self.kind in ("none", "prior") and found.value <= OVER * found.threshold

    @property
    def of_scale(self) -> bool:
        """Whether the drift is one of offset and scale of the columns: most of it goes where they
        are read in their own.
        """
        return "scale" in self.effects and self.effects["scale"].detected

    @property
    def document(self) -> Json:
        """As runs and windows tell it: each effect with whether it was detected."""
        told = ("kind", "amount", "agreement", "detail", "crowd")
        effects = {
            name: {**asdict(effect), "detected": effect.detected}
            for name, effect in self.effects.items()
        }
        return {**{name: getattr(self, name) for name in told}, "effects": effects}
