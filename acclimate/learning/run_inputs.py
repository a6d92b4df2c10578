"""What a run works on, and who teaches about its window."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from acclimate.learning.data import Flags, Integers, Rows, SeedSet, Window
from acclimate.learning.drift.scale_shift import in_own_scale
from acclimate.learning.evaluation.gates import Trial
from acclimate.learning.evaluation.serving_guard import STARTING, Standing
from acclimate.learning.evaluation.simulation_report import Simulation
from acclimate.learning.models.bundle import Bundle
from acclimate.learning.results import Diagnosis
from acclimate.learning.screening import contamination
from acclimate.learning.spec import Gates, Policy
from acclimate.learning.thresholds import DEFAULT, Thresholds
from acclimate.learning.training.pseudo_labels import Candidates


@dataclass(frozen=True, kw_only=True, eq=False)
class RunInputs:
    """What one run works on.

    `champion` is the version that learning goes on from; `proved` the one that labels proved last
    (None: the anchor); `standing` which of the two serves. `simulation` is version 1's; None where
    nobody simulated it.
    """

    window: Window
    seed: SeedSet
    champion: Bundle
    anchor: Bundle
    proved: Bundle | None = None
    standing: Standing = STARTING
    policy: Policy
    gates: Gates
    simulation: Simulation | None = None
    limits: Thresholds = DEFAULT


@dataclass(frozen=True, kw_only=True, eq=False)
class Lesson:
    """Who teaches about a window and how it is read; computed once for all stages.

    `served` is the champion once it has followed the traffic to these rows. `window` is without
    labelled rows of earlier windows where the teacher reads in the window's scale: theirs was
    another. `candidates` are its rows, whoever labels them.
    """

    teacher: Bundle
    served: Bundle
    window: Window
    candidates: Candidates

    @staticmethod
    def of(inputs: RunInputs, diagnosis: Diagnosis) -> Lesson:
        """The champion teaches; where drift is one of scale, the anchor in the window's scale.

        What a champion learnt in the seed's scale does not hold in another; a champion that follows
        the scale continues in it.
        """
        champion, limits = inputs.champion, inputs.limits
        window = replace(inputs.window, set_aside=diagnosis.screening.set_aside)
        measured = window.measured.rows
        served = champion.caught_up(measured)
        teacher = served
        of_scale = diagnosis.drift.of_scale and limits.on("scale")
        if of_scale and not champion.mode.adapts_scale:
            teacher = in_own_scale(inputs.anchor, measured)
        as_served = None
        if teacher.mode.adapts_scale:
            # Rows are surer on which the window's scale and the served one give the same label.
            as_served = _labels(champion, window.x)
            window = replace(window, taught=None, late=None)
        window = window.taught_at_once(_judging(inputs, window))
        refused = contamination.refused_rows(
            window, diagnosis.screening, inputs.anchor, _labels(teacher, window.x), limits
        )
        candidates = Candidates.of(
            window,
            inputs.seed.train,
            refused=refused,
            as_served=as_served,
            client_share=inputs.policy.client_share,
            limits=limits,
        )
        return Lesson(teacher=teacher, served=served, window=window, candidates=candidates)

    @property
    def taught(self) -> int:
        """How many rows that people labelled teach now."""
        return 0 if self.window.taught is None else len(self.window.taught)

    def trial(self, inputs: RunInputs, diagnosis: Diagnosis, *, taught: bool = False) -> Trial:
        """What the student is judged against."""
        found = trial(inputs, diagnosis, self.served, self.window.measured)
        return replace(found, taught=taught)


def trial(inputs: RunInputs, diagnosis: Diagnosis, champion: Bundle, window: Window) -> Trial:
    """What a challenger is judged against."""
    return Trial(
        champion=champion,
        anchor=inputs.anchor,
        judging=inputs.seed.judging,
        window=window,
        drift=diagnosis.drift,
        gates=inputs.gates,
        limits=inputs.limits,
    )


def _judging(inputs: RunInputs, window: Window) -> Flags:
    """Which held-out rows (M,) judge before they teach.

    Those that learner and proved version give different labels; and all of them where a version has
    one member, so that no member could judge the rows that the others learnt from.
    """
    proved = inputs.anchor if inputs.proved is None else inputs.proved
    alone = inputs.champion.network_spec.members == 1
    judging = np.full(len(window.held_out), alone)
    if inputs.champion is proved or not len(window.held_out):
        return judging
    ours, theirs = (_labels(bundle, window.held_out) for bundle in (inputs.champion, proved))
    return np.asarray(judging | (ours != theirs))


def _labels(bundle: Bundle, x: Rows) -> Integers:
    """The labels (N,) of the networks, reading rows as the version starts to."""
    answers = bundle.network_probabilities(x, bundle.start)
    return np.asarray(answers.argmax(axis=1), dtype=np.int64)
