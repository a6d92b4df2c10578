"""The monitor of a new champion: do its live answers look as its gates expected? No torch here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from acclimate.learning.evaluation.behaviour import Behaviour, class_shift, confidence_fall
from acclimate.learning.thresholds import DEFAULT, Thresholds


@dataclass(frozen=True, kw_only=True)
class Finding:
    """`watching`: not enough rows yet; `passed`; or `worse`, with the reason in words."""

    state: Literal["watching", "passed", "worse"]
    reason: str | None = None


def judge(
    expected: Behaviour, live: Behaviour | None, *, needed: int, limits: Thresholds = DEFAULT
) -> Finding:
    """Compares the expected answers with the first `needed` live ones, or as many as there are.

    Worse is: answers that are not numbers; a mean confidence that fell, or predicted classes that
    moved (total variation), by more than chance shows between so many rows plus what ordinary drift
    may. Limits are wider before all rows are in.
    """
    if live is None or live.rows < min(limits.monitor_rows, needed):
        return Finding(state="watching")
    if not live.finite:
        return Finding(state="worse", reason=f"answers that are not numbers, in {live.rows} rows")
    complete = live.rows >= needed
    worse = _confidence(expected, live, complete, limits) or _classes(
        expected, live, complete, limits
    )
    if worse is not None:
        return Finding(state="worse", reason=worse)
    return Finding(state="passed" if complete else "watching")


def _confidence(
    expected: Behaviour, live: Behaviour, complete: bool, limits: Thresholds
) -> str | None:
    if not limits.on("rollback_confidence"):
        return None
    fall, chance = confidence_fall(expected, live, limits)
    limit = chance + (limits.monitor_fall if complete else limits.monitor_early_fall)
    if fall <= limit:
        return None
    return (
        f"mean confidence {live.confidence:.2f} on {live.rows} rows where "
        f"{expected.confidence:.2f} was expected: a fall of {fall:.2f}, limit {limit:.2f}"
    )


def _classes(
    expected: Behaviour, live: Behaviour, complete: bool, limits: Thresholds
) -> str | None:
    if not limits.on("rollback_classes"):
        return None
    shift, chance = class_shift(expected, live, limits)
    limit = chance + (limits.monitor_shift if complete else limits.monitor_early_shift)
    if shift <= limit:
        return None
    return (
        f"the classes of {live.rows} answers moved by {shift:.2f} from what was expected "
        f"(total variation, limit {limit:.2f}); the most frequent one has "
        f"{max(live.shares):.0%} of them"
    )
