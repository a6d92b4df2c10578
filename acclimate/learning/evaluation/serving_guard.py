"""Who answers next: the learner, or the version that was proved last. No torch here.

The gates decide what learning goes on from; this decides who serves. Both versions answered the
same rows, so they are compared row by row: with labels by who is right, without by how consistently
they label near rows, and how sure they are. A learner that fell behind is shadowed, not thrown
away: it goes on learning, and serves again when it is ahead. Version 1 counts as proved until
labels prove another.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from typing import Literal

import numpy as np

from acclimate.learning.data import Floats, Integers, Json
from acclimate.learning.results import Comparison, Effect
from acclimate.learning.stats import betting
from acclimate.learning.stats.neighbourhood import Neighbourhood
from acclimate.learning.stats.significance import wilson_interval
from acclimate.learning.thresholds import DEFAULT, Thresholds

Server = Literal["learner", "proved"]
SHADOWED_WINDOWS = 20
"""In so many windows a learner that is no better begins to serve with probability `audit_error` at
most: the sum of evidence starts anew at 0 where it falls below (Shin, Ramdas and Rinaldo, 2024).
"""
BETS = 2
"""On consistency and on confidence: each may err half as often."""


@dataclass(frozen=True, kw_only=True)
class Standing:
    """Who serves, and what is known since this was last decided.

    `gains` and `losses`: labelled rows that the learner alone, or the proved version alone, had
    right. `proof_gains` and `proof_losses`: the same of the proved version and version 1, since it
    was proved. `shown`: the learner was ahead, and may serve until it falls behind. `shadow` and
    `surer`: log e-values against "the learner is no more consistent", and "no surer", of all
    windows since it was not.
    """

    serves: Server = "learner"
    gains: int = 0
    losses: int = 0
    proof_gains: int = 0
    proof_losses: int = 0
    shown: bool = False
    shadow: float = 0.0
    surer: float = 0.0


STARTING = Standing()


@dataclass(frozen=True, kw_only=True)
class Serving:
    """Who answers from here on, and why.

    `proves`: labels proved the learner that was compared. `refutes`: they refuted it. `withdraws`:
    version 1 is the proved one again.
    """

    standing: Standing
    comparison: Comparison | None
    reason: str
    proves: bool = False
    refutes: bool = False

    @property
    def withdraws(self) -> bool:
        return self.comparison is not None and self.comparison.withdraws

    @property
    def document(self) -> Json:
        """As runs and switches show it."""
        found = {} if self.comparison is None else asdict(self.comparison)
        names = ("consistency", "advantage", "divergence")
        return {
            **asdict(self.standing),
            **{name: found.get(name) for name in names},
            "reason": self.reason,
            "proves": self.proves,
            "refutes": self.refutes,
            "withdraws": self.withdraws,
        }


def compare(
    learner: Floats,
    proved: Floats,
    y: Integers,
    near: Neighbourhood,
    *,
    limits: Thresholds = DEFAULT,
) -> Comparison:
    """Two versions' answers (N, C) to the same rows, at least one.

    y (N,) is the label of a row, below 0 where none is known; `near` says which rows lie near one
    another.
    """
    ours, theirs, n = learner.argmax(axis=1), proved.argmax(axis=1), len(y)
    ahead = learner.max(axis=1).astype(np.float64) - proved.max(axis=1)
    advantage = Effect(value=float(ahead.mean()), threshold=-limits.guard_margin, n=n)
    share = float((ours != theirs).mean())
    lower, upper = wilson_interval(share, n, limits.estimate_errors)
    consistency, errors = _consistency(near.agreement(ours), near.agreement(theirs), limits)
    gains, losses = won_and_lost(learner, proved, y)
    return Comparison(
        advantage=advantage.give_or_take(limits.estimate_errors * _error(ahead)),
        divergence=Effect(value=share, threshold=0.0, n=n, lower=lower, upper=upper),
        consistency=consistency,
        evidence=betting.log_evidence_of_errors(errors),
        surer=betting.log_evidence_of(ahead, mean=0.0),
        gains=gains,
        losses=losses,
    )


def _consistency(
    ours: Floats | None, theirs: Floats | None, limits: Thresholds
) -> tuple[Effect, float]:
    """How much more consistently the learner labels near rows, and that in standard errors.

    The limit of the effect is what chance gives the learner at worst.
    """
    if ours is None or theirs is None:
        return Effect(value=0.0, threshold=0.0, n=0), 0.0
    ahead = ours - theirs
    value, error = float(ahead.mean()), _error(ahead)
    found = Effect(value=value, threshold=-limits.behaviour_errors * error, n=len(ahead))
    errors = value / error if error > 0 else 0.0
    return found.give_or_take(limits.estimate_errors * error), errors


def _error(values: Floats) -> float:
    """The standard error of their mean."""
    return float(values.std()) / math.sqrt(len(values))


def won_and_lost(learner: Floats, proved: Floats, y: Integers) -> tuple[int, int]:
    """How many labelled rows (N,) the learner alone has right, and how many the other alone."""
    ours, theirs = learner.argmax(axis=1), proved.argmax(axis=1)
    known = (y >= 0) & (ours != theirs)
    return int((known & (ours == y)).sum()), int((known & (theirs == y)).sum())


def decide(
    before: Standing,
    found: Comparison,
    *,
    alarm: bool = False,
    by_labels: bool = False,
    at_once: bool = False,
    max_unproved: float = 0.0,
    limits: Thresholds = DEFAULT,
) -> Serving:
    """Who answers after this comparison.

    Labels decide where they suffice: the e-value of a bet on the rows that one version alone had
    right, valid at any peek. Labels that prove nothing yet, but lean to one side by more than a
    standard error, those of this window or all since, take serving from the learner, or give it.

    Without labels a learner serves once the windows together have shown that it is ahead, and goes
    on unless it labels near rows less consistently than chance explains, or is less sure by the
    margin. With `at_once` it need not be ahead first; with `by_labels` only labels let it serve. In
    a window that raised an alarm nothing says that what was learnt of gradual drift still holds:
    the proved version serves. Where the learner gives more than the share `max_unproved` of the
    rows another label, the proved version serves until labels prove it; 0 is no limit.
    """
    if found.withdraws:
        before = Standing(serves=before.serves)
    gains, losses = before.gains + found.gains, before.losses + found.losses
    needed = math.log(1.0 / limits.audit_error)
    told = f"{gains} of {gains + losses} labelled rows that one version alone had right"
    if betting.log_evidence(losses, gains, gains + losses, mean=0.0) >= needed:
        proof = proof_counts(before, found)
        standing = Standing(serves="proved", proof_gains=proof[0], proof_losses=proof[1])
        reason = f"labels refute the learner: it had {told}"
        return Serving(standing=standing, comparison=found, reason=reason, refutes=True)
    if betting.log_evidence(gains, losses, gains + losses, mean=0.0) >= needed:
        reason = f"labels prove the learner: it had {told}"
        return Serving(standing=Standing(), comparison=found, reason=reason, proves=True)
    shown = before.serves == "learner" and (before.shown or at_once)
    proof_gains, proof_losses = proof_counts(before, found)
    standing = Standing(
        serves=before.serves,
        gains=gains,
        losses=losses,
        proof_gains=proof_gains,
        proof_losses=proof_losses,
        shown=shown,
        shadow=0.0 if shown else max(0.0, before.shadow) + found.evidence,
        surer=0.0 if shown else max(0.0, before.surer) + found.surer,
    )
    against = _against(standing, found, alarm=alarm, max_unproved=max_unproved)
    serves: Server = "proved"
    if against is None and _serves(standing, found, by_labels=by_labels, limits=limits):
        serves = "learner"
        standing = replace(standing, shown=True, shadow=0.0, surer=0.0)
    else:
        standing = replace(standing, shown=False)
    said = against or _said(before.serves, serves, shown=shown)
    return Serving(
        standing=replace(standing, serves=serves),
        comparison=found,
        reason=f"{said}; {_figures(found)}",
    )


def shadowed(before: Standing) -> Serving:
    """The proved version goes on serving beside a first student that has to be ahead first."""
    reason = (
        "it is not known that what this student learnt holds: the proved version serves until "
        "labels lean to the learner, or it is clearly ahead"
    )
    return Serving(standing=replace(before, serves="proved"), comparison=None, reason=reason)


def _said(served: Server, serves: Server, *, shown: bool) -> str:
    """Who served and serves, as far as is known without labels, in words."""
    if serves == "learner":
        return "the learner serves" if shown else "the learner is clearly ahead and serves"
    if served == "learner" and shown:
        return "the learner fell behind: the proved version serves"
    return "the proved version serves until the learner is clearly ahead"


def _against(now: Standing, found: Comparison, *, alarm: bool, max_unproved: float) -> str | None:
    """Why the proved version serves, whatever confidence says; None where nothing speaks for it."""
    divergence, lean = found.divergence, _lean(now, found)
    if 0 < max_unproved < divergence.value:
        return (
            f"max_unproved allows {max_unproved:.1%} of the rows another label until labels prove "
            f"the learner, which gives it to {divergence.value:.1%}: the proved version serves"
        )
    if lean < 0:
        return (
            f"labels lean against the learner, {now.losses} to {now.gains}, {found.losses} to "
            f"{found.gains} of the newest: the proved version serves"
        )
    if alarm and divergence.value > 0 and not lean:
        return "the window raised an alarm: the proved version serves"
    return None


def _serves(now: Standing, found: Comparison, *, by_labels: bool, limits: Thresholds) -> bool:
    """Whether the learner serves, as far as is known without proof. Labels do not lean against."""
    if _lean(now, found) > 0:
        return True
    behind = found.inconsistent or not found.advantage.detected
    if now.shown or by_labels:
        return now.shown and not behind
    enough = math.log(BETS * SHADOWED_WINDOWS / limits.audit_error)
    surer = now.surer >= enough and min(found.advantage.value, found.consistency.value) >= 0
    return not behind and (now.shadow >= enough or surer) and now.gains >= now.losses


def _lean(now: Standing, found: Comparison) -> int:
    """Whether labels lean to the learner (1), against it (-1), or neither: those of this window, or
    all since the versions were last decided on. Against it where one of both does.
    """
    leans = leaning(found.gains, found.losses), leaning(now.gains, now.losses)
    return min(leans) if min(leans) < 0 else max(leans)


def leaning(gains: int, losses: int) -> int:
    """1 or -1 where there are more of one than of the other by more than a standard error."""
    beyond = abs(gains - losses) > math.sqrt(gains + losses)
    return int(math.copysign(1, gains - losses)) if beyond else 0


def proof_counts(before: Standing, found: Comparison) -> tuple[int, int]:
    """Labelled rows since the proof that the proved version alone, or version 1 alone, had right;
    none where the proof is withdrawn.
    """
    if found.withdraws:
        return 0, 0
    return before.proof_gains + found.proof[0], before.proof_losses + found.proof[1]


def _figures(found: Comparison) -> str:
    return (
        f"on {found.advantage.n} rows the learner labels near rows more consistently by "
        f"{found.consistency.value:+.3f}, is surer by {found.advantage.value:+.3f} than the proved "
        f"version, and gives {found.divergence.value:.0%} another label"
    )
