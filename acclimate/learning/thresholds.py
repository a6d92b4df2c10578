"""Every decision limit of learning: what decides what is learnt, refused, promoted or reported.

Engineering constants and hyperparameters stay beside their code or in the recipe; the limits of
gates that an operator may change are `spec.Gates`.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

from acclimate.learning.data import Json
from acclimate.learning.documented import limit
from acclimate.learning.rules import GATES, RULES


@dataclass(frozen=True, kw_only=True)
class Thresholds:
    """All decision limits; `off` names rules that do not apply. Raises `ValueError` on others."""

    off: frozenset[str] = frozenset()
    series_error: float = limit(
        0.05,
        unit="probability",
        protects="a model without drift from a single false finding, however long it runs",
        source="convention; spent as 1 / (k (k + 1)) at window k: these sum to 1",
    )
    single_peek_error: float = limit(
        0.05,
        unit="probability",
        protects="from late detection: one undrifted window of 20 may be learnt for nothing",
        source="docs/decisions/0010: a student of an undrifted window cost -0.3 to +1.5 points",
    )
    drift_full_ratio: float = limit(
        4.0,
        unit="label-shift residual over its limit",
        protects="gates' margins from growing without bound",
        source="not measured by itself; chosen with the margins of gates",
    )
    drift_least_amount: float = limit(
        0.25,
        unit="share of full drift",
        protects="challengers of slight but certain drift from margins of none",
        source="docs/decisions/0012: turning classes of seed 21 went from 64.5 to 82.2",
    )
    drift_over_share: float = limit(
        0.75,
        unit="share of the limit of drift",
        protects="a version that learnt from being given up by chance at the limit",
        source="docs/decisions/0010: four of five of 176 undrifted windows lie below",
    )
    priors_moved: float = limit(
        0.15,
        unit="total variation",
        protects="from following priors that hardly moved",
        source="docs/decisions/0012: below it all prior modes served worse, above it all better",
    )
    priors_moved_by_chance: float = limit(
        1.25,
        unit="multiple of what chance shows",
        protects="the same on small windows",
        source="docs/decisions/0012, with the limit above",
    )
    scale_explains: float = limit(
        0.5,
        unit="share of the residual",
        protects="other drift from being read in the window's own scale",
        source="docs/decisions/0012: more of the residual goes than stays",
    )
    folded_columns: float = limit(
        0.5,
        unit="share of log-scaled columns",
        protects="vectors that are no sensor readings from being rescaled",
        source="docs/decisions/0012: all columns of gas and typing, 16 per cent of digits",
    )
    label_rows: int = limit(
        10,
        unit="labels",
        protects="alarms, gates and training from chance of very few labels",
        source="not measured: fewer decide nothing at 95 per cent but for extremes",
    )
    unknown_share: float = limit(
        0.05,
        unit="share of labelled rows",
        protects="from an alarm for a few rows of none of the classes",
        source="convention: what ordinary traffic may hold; not measured",
    )
    unknown_rows: int = limit(
        3,
        unit="labels",
        protects="the alarm `new_class` from slips of those who label",
        source="convention: two slips in a window are ordinary; not measured",
    )

    agreement_fall: float = limit(
        0.10,
        unit="share of rows, beyond chance",
        protects="from pseudo-labels after an abrupt shift",
        source="docs/decisions/0011: gradual drift at most 0.15 with chance, jumps 0.09 to 0.31",
    )
    confidence_fall: float = limit(
        0.14,
        unit="mean confidence of version 1",
        protects="from pseudo-labels after an abrupt shift that members agree on",
        source="docs/decisions/0011: gradual drift at most 0.13, jumps 0.15 to 0.33",
    )
    priors_step: float = limit(
        0.55,
        unit="total variation between two windows",
        protects="from pseudo-labels where drifted inputs look like other classes at once",
        source="docs/decisions/0011: gradual drift at most 0.43, rotated images 0.65 and 0.68",
    )
    both_steps: float = limit(
        1.6,
        unit="sum of both falls, each over its own limit",
        protects="from an abrupt shift just below both limits",
        source="docs/decisions/0011: chosen with the limit below on shuffles 20 to 29",
    )
    both_steps_contradicted: float = limit(
        1.3,
        unit="sum of both falls, each over its own limit",
        protects="from the same where trusted neighbours contradict version 1",
        source="docs/decisions/0011: the missed jump of seed 6 had 1.45",
    )
    contradicted_step: float = limit(
        0.15,
        unit="share of rows",
        protects="gradual drift from the lower limit",
        source="docs/decisions/0011: jumps 0.19 to 0.38, gradual streams 0.06 to 0.13",
    )
    standing_share: float = limit(
        0.7,
        unit="share of an alarm's limit",
        protects="from learning in the window after an alarm that chance brings just below it",
        source="docs/decisions/0011: one of seven windows after a jump lay just below a limit",
    )

    majority: float = limit(
        0.5,
        unit="share of the window",
        protects="what a minority of the traffic sends from passing for drift of all of it",
        source="derivation: a minority cannot empty a set of rows that is frequent in the seed set",
    )
    support_share: float = limit(
        0.5,
        unit="share of the rows that a client's traffic would give",
        protects="clients from counting as senders of a neighbourhood by a stray row",
        source="docs/decisions/0013: half of the expected rows; a Poisson tail corrects for chance",
    )
    support_margin: float = limit(
        0.09,
        unit="share of the traffic",
        protects="the decision from neighbourhoods too small to tell a majority",
        source="docs/decisions/0013: the neighbourhood must tell 59 from 41 per cent",
    )
    support_certainty: float = limit(
        0.98,
        unit="probability",
        protects="the same",
        source="docs/decisions/0013: in 49 of 50 draws",
    )
    support_rows: int = limit(
        40,
        unit="rows",
        protects="from neighbourhoods of a handful",
        source="docs/decisions/0013: the smallest tried; alone it let half of an attack pass",
    )
    support_wide_share: float = limit(
        0.2,
        unit="share of the window",
        protects="from a heap whose middle has no neighbours but its own",
        source="docs/decisions/0013: a large heap has a middle without other neighbours",
    )
    support_largest_share: float = limit(
        0.4,
        unit="share of the window",
        protects="the neighbourhood from being most of the window",
        source="docs/decisions/0013: beyond it nothing is refused",
    )
    contamination_ratio: float = limit(
        2.0,
        unit="density over that of the seed set",
        protects="from rows heaped where the seed set has few",
        source="derivation: while half is the seed's, no set of rows doubles by drift alone",
    )
    contamination_errors: float = limit(
        2.0,
        unit="standard errors",
        protects="ordinary rows from chance",
        source="convention: about 95 per cent, to the side that refuses less",
    )
    spread_share: float = limit(
        0.5,
        unit="share of the contamination's excess",
        protects="drift that comes from everywhere from passing for contamination",
        source="docs/decisions/0013: half of the mean excess; not measured by itself",
    )
    outlier_rows: int = limit(
        100,
        unit="rows",
        protects="rows from being called outliers by a handful of trusted ones",
        source="docs/decisions/0013: the largest of fewer distances says little of the tail",
    )

    accepted_share: float = limit(
        0.1,
        unit="share of the window",
        protects="from a student of a few rows",
        source="not measured by itself",
    )
    accepted_rows: int = limit(
        8,
        unit="rows",
        protects="the same in small windows",
        source="as many as the seed set needs of a class (seed_split.ROWS_OF_A_CLASS)",
    )

    simulated_gain: float = limit(
        0.03,
        unit="accuracy",
        protects="models that cannot learn by themselves from trying",
        source="docs/decisions/0010: noisy answers gained up to 0.025, turning moons 0.036",
    )
    simulated_worst: float = limit(
        -0.10,
        unit="accuracy",
        protects="the same, in any single simulated drift",
        source="docs/decisions/0010; not measured by itself",
    )
    simulated_loss: float = limit(
        0.30,
        unit="share of version 1's margin over chance",
        protects="the simulation from drift too slight or too strong to show anything",
        source="docs/decisions/0010; not measured by itself",
    )

    held_out_rows: int = limit(
        20,
        unit="rows",
        protects="from comparing answers on a handful of rows",
        source="a share of 0.75 of 20 rows is known within 0.19 at 95 per cent",
    )
    recall_rows: int = limit(
        20,
        unit="rows of a class",
        protects="from a recall of five rows",
        source="one row of 20 is 5 points",
    )
    gate_errors: float = limit(
        1.645,
        unit="standard errors",
        protects="from promoting a challenger that is worse by the margin",
        source="convention: one-sided 95 per cent, normal approximation",
    )
    audit_error: float = limit(
        0.05,
        unit="probability",
        protects="the same over all challengers that are judged on the same labels",
        source="convention; Ville's inequality holds at any peek (docs/decisions/0015)",
    )
    audit_first_share: float = limit(
        0.75,
        unit="share of the error that the first peek may spend",
        protects="later challengers from having no error left",
        source="docs/decisions/0015: geometric spending",
    )

    guard_margin: float = limit(
        0.05,
        unit="mean confidence under the proved version's",
        protects="from serving a learner that is consistently unsure",
        source="docs/decisions/0017: chosen on 26 streams",
    )

    estimate_rows: int = limit(
        50,
        unit="rows",
        protects="readers from an estimate of a handful",
        source="docs/decisions/0016; a sampling error of 0.14 at 95 per cent",
    )
    estimate_errors: float = limit(
        1.96,
        unit="standard errors",
        protects="readers from sampling error",
        source="convention: two-sided 95 per cent, normal approximation",
    )
    opinions_apart: float = limit(
        0.15,
        unit="accuracy, beyond chance",
        protects="readers from an estimate that another estimator contradicts",
        source="docs/decisions/0016",
    )
    error_above: float = limit(
        0.18,
        unit="accuracy",
        protects="readers: how far confidence was above accuracy under drift",
        source="docs/decisions/0016: confidence was 14 to 18 points too high under drift",
    )
    error_above_at_rest: float = limit(
        0.11,
        unit="accuracy",
        protects="the same without drift",
        source="docs/decisions/0016: chosen on the windows that it was checked on",
    )
    error_below: float = limit(
        0.10,
        unit="accuracy",
        protects="readers: how far confidence was below accuracy",
        source="docs/decisions/0016: chosen on the windows that it was checked on",
    )
    new_fall: float = limit(
        0.10,
        unit="mean confidence or agreement",
        protects="readers from estimates of versions that do not track the drift",
        source="docs/decisions/0016: chosen on the windows that it was checked on",
    )

    behaviour_errors: float = limit(
        3.0,
        unit="standard errors",
        protects="from repeated comparisons of live answers",
        source="convention: 0.1 per cent in one comparison, since there are many",
    )
    monitor_rows: int = limit(
        100,
        unit="rows",
        protects="a new version from being judged by its first requests",
        source="docs/decisions/0016",
    )
    monitor_early_fall: float = limit(
        0.35,
        unit="mean confidence",
        protects="from a version that answers far less surely, before all rows are in",
        source="docs/decisions/0016: no false alarm in 114 windows",
    )
    monitor_early_shift: float = limit(
        0.50,
        unit="total variation of classes",
        protects="from a version that collapsed, before all rows are in",
        source="docs/decisions/0016: no false alarm in 114 windows",
    )
    monitor_fall: float = limit(
        0.25,
        unit="mean confidence",
        protects="from a version that answers far less surely",
        source="docs/decisions/0016: no false alarm in 114 windows",
    )
    monitor_shift: float = limit(
        0.30,
        unit="total variation of classes",
        protects="from a version that collapsed",
        source="docs/decisions/0016: no false alarm in 114 windows",
    )
    trigger_fall: float = limit(
        0.02,
        unit="mean confidence, beyond chance",
        protects="workers from runs that would find no drift",
        source="not measured: small against the limits of alarms",
    )
    trigger_shift: float = limit(
        0.10,
        unit="total variation of classes, beyond chance",
        protects="the same",
        source="not measured: small against the limits of alarms",
    )

    self_test_tolerance: float = limit(
        1e-4,
        unit="probability",
        protects="replicas from serving a version that answers otherwise than where it was trained",
        source="float32 sums in another order differ by 1e-6 to 1e-5",
    )
    augmentation_loss: float = limit(
        0.05,
        unit="accuracy, beyond one standard error",
        protects="rows from augmentation that changes what they are",
        source="docs/decisions/0014: rotated copies of digits lose 3 to 5 points",
    )
    swing_error: float = limit(
        0.01,
        unit="probability at each renewal",
        protects="a running prior from forgetting by chance",
        source="docs/decisions/0005: 5 and 0.1 per cent gave 89.9 and 89.7 of 89.8",
    )

    def __post_init__(self) -> None:
        unknown = sorted(self.off - RULES.keys() - set(GATES))
        if unknown:
            raise ValueError(f"unknown rule {unknown[0]!r}; known: {', '.join([*RULES, *GATES])}")

    def on(self, rule: str) -> bool:
        """Whether the rule applies."""
        return rule not in self.off

    def as_json(self) -> Json:
        """Values alone, as the digest of a run's configuration takes them."""
        return asdict(self) | {"off": sorted(self.off)}


DEFAULT = Thresholds()
