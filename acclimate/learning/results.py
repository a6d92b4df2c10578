"""What a run finds out, as frozen values that storage and the API keep. No torch here."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Literal

import numpy as np

from acclimate.learning.data import Flags, Json, Part, Rows, SeedSet

STAGES = ("snapshot", "diagnose", "pseudo_label", "train", "calibrate", "judge", "publish")
"""The stages of a run, in order, named alike in code, API, metrics and user interface."""

DriftKind = Literal[
    "none", "covariate", "prior", "concept", "abrupt", "new_class", "junk", "unknown"
]
"""`junk` and `unknown` stand in documents of earlier releases alone."""
ALARMS: tuple[DriftKind, ...] = ("concept", "abrupt", "new_class", "junk")
"""The kinds of drift for which a run quarantines its window."""


@dataclass(frozen=True, kw_only=True)
class Effect:
    """One measured sign of drift, the threshold at which it counts, the rows it was measured on.

    `lower` and `upper` bound the size of the effect at 95 % over all windows of the model together;
    None where no interval is known. Distances (`input`, `class_shares`) are bounded without what
    chance adds to them, so that their value stands near `upper`.
    """

    value: float
    threshold: float
    n: int
    lower: float | None = None
    upper: float | None = None

    @property
    def detected(self) -> bool:
        return self.value > self.threshold

    def give_or_take(self, error: float) -> Effect:
        """The same with an interval around its value."""
        return replace(self, lower=self.value - error, upper=self.value + error)


@dataclass(frozen=True, kw_only=True, eq=False)
class Screening:
    """Which rows of a window a minority of its senders may have made.

    Rows are those of the window, those to learn from first (N,), and held-out seed rows (K,).
    `drifted`: at least so much of the window is not drawn as the seed set is.
    `unsupported` (N,): only few clients send there.
    `dense` (N,) and `seed_dense` (K,): the window is denser there than the seed set allows.
    """

    drifted: Effect
    unsupported: Flags
    dense: Flags
    seed_dense: Flags

    @property
    def set_aside(self) -> Flags:
        """Unsupported rows of a drifted window: nothing is measured on them (N,)."""
        return self.unsupported if self.drifted.detected else np.zeros_like(self.unsupported)

    @property
    def suspect(self) -> Flags:
        """Rows (N,) that teach nothing unless most of the window drifted."""
        return self.unsupported | self.dense

    @property
    def without_density(self) -> Screening:
        """The same, where the window is nowhere too dense."""
        nothing = np.zeros_like(self.dense), np.zeros_like(self.seed_dense)
        return replace(self, dense=nothing[0], seed_dense=nothing[1])

    @property
    def share(self) -> Effect:
        """The share of suspect rows in the window."""
        value = float(self.suspect.mean()) if len(self.suspect) else 0.0
        return Effect(value=value, threshold=0.0, n=len(self.suspect))

    @property
    def effects(self) -> dict[str, Effect]:
        """What the screening measured, for the diagnosis."""
        return {"drifted": self.drifted, "crowd": self.share}

    def without_dense(self, seed: SeedSet, rows: Rows) -> tuple[SeedSet, Rows]:
        """Seed set and measured rows of the window without what is too dense.

        All held-out seed rows that remain are in the calibration part.
        """
        held, kept = seed.held_out, ~self.seed_dense
        nothing = Part(x=held.x[:0], y=held.y[:0])
        rest = replace(seed, calibration=Part(x=held.x[kept], y=held.y[kept]), judging=nothing)
        return rest, rows[~self.dense[~self.set_aside]]


@dataclass(frozen=True, kw_only=True)
class Drift:
    """What happened to the input since the seed set, with evidence.

    `amount` is 0 (none) .. 1 (full). `agreement` is the share of the window on which all members of
    the champion agree. `priors` (C,) are the class priors that explain most of the window, as the
    anchor sees it. `stops` ends the run before learning; `alarms` also quarantines the window;
    `over`: a drift that was learnt is gone. `contamination` describes suspect rows, where there are
    any. `independent` rows without copies would say as much as the window's. `detail` is for
    people.
    """

    kind: DriftKind
    amount: float
    effects: dict[str, Effect]
    agreement: float
    priors: tuple[float, ...] = ()
    contamination: Json | None = None
    independent: float | None = None
    stops: bool = False
    alarms: bool = False
    over: bool = False
    detail: str = ""

    @property
    def of_scale(self) -> bool:
        """Whether most of the drift is offset and scale of the columns."""
        return "scale" in self.effects and self.effects["scale"].detected

    @property
    def document(self) -> Json:
        """As runs and windows show it: each effect with whether it was detected."""
        effects = {
            name: {**asdict(effect), "detected": effect.detected}
            for name, effect in self.effects.items()
        }
        return {
            "kind": self.kind,
            "amount": self.amount,
            "agreement": self.agreement,
            "detail": self.detail,
            "crowd": self.contamination,
            "effects": effects,
        }


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """The learner beside the proved version on the same rows.

    `advantage`: mean over rows of the learner's confidence less the other's, as an effect at the
    limit under which the learner does not serve. `consistency`: the same of the labels of near rows
    (`stats.neighbourhood`); without rows where nothing can be said. `divergence`: the share of rows
    that get another label; no accuracy can differ by more. `evidence` and `surer`: log e-values
    against "the learner is no more consistent", and "no surer", on such rows. `gains` and `losses`:
    labelled rows that the learner alone, or the other alone, has right. `proof`: the same of the
    proved version and version 1. `withdraws`: these withdraw the proof, and all else compares with
    version 1.
    """

    advantage: Effect
    divergence: Effect
    consistency: Effect
    evidence: float
    surer: float
    gains: int = 0
    losses: int = 0
    proof: tuple[int, int] = (0, 0)
    withdraws: bool = False

    @property
    def inconsistent(self) -> bool:
        """Whether the learner labels near rows less consistently than chance explains."""
        return self.consistency.value < self.consistency.threshold


@dataclass(frozen=True, kw_only=True, eq=False)
class Diagnosis:
    """The result of the first stage: which rows are suspect, what drifted in the others, and how
    the versions that could serve compare on them.
    """

    screening: Screening
    drift: Drift
    comparison: Comparison | None = None


@dataclass(frozen=True, kw_only=True)
class Gate:
    """One named check.

    `binds` is False where its outcome is information only: the anchor's, few audit labels, a rule
    that is switched off.
    """

    gate: str
    value: float | None
    limit: float | None
    n: int
    verdict: Literal["pass", "fail", "insufficient"]
    binds: bool = True


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """All gates together. Insufficient evidence is not a pass.

    `simulation`: beside the gates of version 1, what it could learn by itself
    (`simulation_report.Simulation`).
    """

    gates: tuple[Gate, ...]
    evidence: Literal["audited", "label_free"] | None = None
    simulation: Json | None = None

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

    def binding_only(self, *names: str) -> Verdict:
        """The same gates, of which only the named ones bind."""
        gates = (replace(gate, binds=gate.gate in names) for gate in self.gates)
        return replace(self, gates=tuple(gates))

    def without(self, off: frozenset[str]) -> Verdict:
        """The same gates, of which those switched off inform only."""
        gates = (replace(gate, binds=gate.binds and gate.gate not in off) for gate in self.gates)
        return replace(self, gates=tuple(gates))


@dataclass(frozen=True, kw_only=True)
class Opinion:
    """The accuracy (0..1) of the same answers by another estimator.

    `rows`: as many without weights would say as much.
    """

    estimator: str
    value: float
    rows: float


@dataclass(frozen=True, kw_only=True)
class Lineage:
    """What a version was held to, and how far it went.

    `replay_rows` (C,): trusted rows of each class in its replay. `anchor_distance`: distance of the
    weights from the anchor's, relative to the norm of those; 0 for the anchor in any mode.
    """

    replay_rows: tuple[int, ...]
    anchor_distance: float

    def as_json(self, classes: tuple[str, ...]) -> Json:
        return {
            "replay_rows": dict(zip(classes, self.replay_rows, strict=True)),
            "anchor_distance": self.anchor_distance,
        }


def _figure(value: float | None) -> str:
    return "nothing" if value is None else f"{value:.3g}"
