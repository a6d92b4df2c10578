"""The teachers' labels of a window: what deserves trust is kept, every refusal has a reason."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from acclimate.learning.data import Flags, Floats, Integers, Part, PseudoLabels, Window
from acclimate.learning.models import augment
from acclimate.learning.models.bundle import Bundle
from acclimate.learning.screening import client_quota
from acclimate.learning.screening.duplicates import duplicates
from acclimate.learning.screening.outliers import outliers
from acclimate.learning.thresholds import DEFAULT, Thresholds

Tick = Callable[[int, int], None]
Relabel = Callable[[Bundle, np.random.Generator], PseudoLabels]


@dataclass(frozen=True, kw_only=True, eq=False)
class Candidates:
    """What is known of the rows to learn from (N,) whoever labels them.

    `set_aside`: unsupported by most clients. `refused`: suspect or contradicted
    (`contamination.refused_rows`). `isolated`: without neighbours; None where that was not measured
    yet. `as_served`: the champion's labels in the scale it serves in, where the teacher reads rows
    in another. One client teaches at most `client_share` of what is accepted. `duplicate`: copies
    beyond what the seed set has of one row.
    """

    duplicate: Flags
    set_aside: Flags
    refused: Flags
    isolated: Flags | None = None
    as_served: Integers | None = None
    client_share: float = 1.0

    @staticmethod
    def of(
        window: Window,
        trusted: Part,
        *,
        refused: Flags | None = None,
        as_served: Integers | None = None,
        client_share: float = 1.0,
        limits: Thresholds = DEFAULT,
    ) -> Candidates:
        rows = len(window.x)
        nothing = np.zeros(rows, dtype=bool)
        duplicate = nothing
        if limits.on("duplicate"):
            duplicate = duplicates(window.x, window.held_out, trusted.x)
        return Candidates(
            duplicate=duplicate,
            set_aside=nothing if window.set_aside is None else window.set_aside[:rows],
            refused=nothing if refused is None else refused,
            as_served=as_served if limits.on("as_served") else None,
            client_share=client_share,
        )

    @property
    def counted(self) -> Flags:
        """Rows that confidence is measured on."""
        return ~(self.duplicate | self.set_aside)


def select(
    window: Window,
    teacher: Bundle,
    trusted: Part,
    candidates: Candidates,
    *,
    rng: np.random.Generator,
    tick: Tick,
    limits: Thresholds = DEFAULT,
) -> PseudoLabels:
    """Hard labels from the mean of the teacher's calibrated members, and which of them teach.

    Rows are read in the teacher's starting state. Refusals, the first that holds: `duplicate`;
    `few_senders` (set aside); `isolated` (no neighbours, neither in the window nor trusted);
    `unvouched` (refused by screening); `disagreement` (of the members, or of both readings of the
    rows); `low_confidence` (below the threshold of the class); `client_share` (one client
    would teach more than that share of what is accepted).
    """
    state = teacher.start
    votes_VNC = augment.votes(teacher, window.x, state, rng=rng)
    mean_NC = votes_VNC.mean(axis=0)
    label = mean_NC.argmax(axis=1).astype(np.int64)
    confidence = mean_NC.max(axis=1)
    votes = (votes_VNC.argmax(axis=2) == label).sum(axis=0).astype(np.int64)
    needed_confidence = class_thresholds(mean_NC[candidates.counted])[label]
    isolated = candidates.isolated
    if isolated is None:
        isolated = _isolated(window, candidates.counted, teacher, trusted, rng, limits)
    disputed = votes < len(votes_VNC) if limits.on("disagreement") else np.zeros_like(isolated)
    if candidates.as_served is not None:
        disputed |= candidates.as_served != label
    unsure = ~(confidence >= needed_confidence)
    reasons = {
        "duplicate": candidates.duplicate,
        "few_senders": candidates.set_aside,
        "isolated": isolated,
        "unvouched": candidates.refused,
        "disagreement": disputed,
        "low_confidence": unsure if limits.on("low_confidence") else np.zeros_like(unsure),
    }
    refusal = np.select(list(reasons.values()), list(reasons), "")
    if window.client is not None and limits.on("client_share"):
        accepted = refusal == ""
        share = candidates.client_share
        surplus = client_quota.surplus(window.client, accepted, share, rng=rng)
        refusal = np.where(surplus, "client_share", refusal)
    tick(len(label), len(label))
    return PseudoLabels(
        label=label,
        confidence=confidence.astype(np.float32),
        votes=votes,
        refusal=refusal,
        needed=max(limits.accepted_rows, math.ceil(limits.accepted_share * len(label))),
    )


def relabeller(
    window: Window,
    trusted: Part,
    candidates: Candidates,
    labels: PseudoLabels,
    limits: Thresholds = DEFAULT,
) -> Relabel:
    """Selects again with later students' labels; rows found isolated by the teacher stay so."""
    isolated = labels.refusal == "isolated"
    known = replace(candidates, isolated=isolated, as_served=None)

    def relabel(student: Bundle, rng: np.random.Generator) -> PseudoLabels:
        return select(window, student, trusted, known, rng=rng, tick=_silent, limits=limits)

    return relabel


def class_thresholds(probabilities_NC: Floats) -> Floats:
    """The confidence (C,) that a row of each class needs: the mean of the rows predicted so.

    About half of each class teaches, whatever the classes' shares are: no class lowers its own
    limit by being rare, as it does where the limit follows its share (FreeMatch, Wang et al. 2023).
    A class that no row is predicted as needs the mean confidence of all rows.
    """
    classes = probabilities_NC.shape[1]
    if not len(probabilities_NC):
        return np.zeros(classes, dtype=np.float32)
    label, confidence = probabilities_NC.argmax(axis=1), probabilities_NC.max(axis=1)
    rows = np.bincount(label, minlength=classes)
    sums = np.bincount(label, weights=confidence, minlength=classes)
    means = np.where(rows > 0, sums / np.maximum(rows, 1), confidence.mean())
    return np.asarray(means, dtype=np.float32)


def _isolated(
    window: Window,
    counted: Flags,
    teacher: Bundle,
    trusted: Part,
    rng: np.random.Generator,
    limits: Thresholds,
) -> Flags:
    """Which of the counted rows have no neighbours, in the inputs as the teacher reads them.

    Not in its answers: to rows that it knows nothing of it gives answers of known rows.
    """
    out = np.zeros(len(window.x), dtype=bool)
    if counted.any() and limits.on("isolated"):
        z = teacher.features(window.x[counted], teacher.start)
        trusted_z = teacher.encoding.features(trusted.x)
        out[counted] = outliers(z, trusted_z, rng=rng, limits=limits)
    return out


def _silent(done: int, total: int) -> None:
    """Selection between two rounds is too short to report."""
