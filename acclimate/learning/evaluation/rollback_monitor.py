"""The watch over a new champion: do its live answers look as the gates expected? Pure, and without
a label; no torch here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from acclimate.learning.evaluation.behaviour import Behaviour, confidence_fall, share_shift

EARLY_ROWS = 100
"""With fewer rows nothing is concluded (with `watch_rows` below it: than those)."""
EARLY_FALL, EARLY_SHIFT = 0.35, 0.50
"""What drift is allowed to move before the watch has all its rows: traffic in bursts has not yet
evened out.
"""
FALL, SHIFT = 0.25, 0.30
"""What drift is allowed to move over all the rows, confidence and classes (docs/decisions/0013)."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """`watching`: not enough rows yet; `passed`; or `worse`, with the reason in words."""

    state: Literal["watching", "passed", "worse"]
    reason: str | None = None


def judge(expected: Behaviour, live: Behaviour | None, *, needed: int) -> Finding:
    """Compares what the gates expected with the first `needed` live answers, or as many of them as
    there are.

    Worse is: answers that are not numbers; a mean confidence that fell, or classes whose shares
    moved (total variation), by more than chance shows between so many rows plus what ordinary drift
    is allowed. A limit on the way is wider than the last.
    """
    if live is None or live.rows < min(EARLY_ROWS, needed):
        return Finding(state="watching")
    if not live.finite:
        return Finding(
            state="worse", reason=f"answers that are not numbers, among {live.rows} rows"
        )
    complete = live.rows >= needed
    fall, chance = confidence_fall(expected, live)
    limit = chance + (FALL if complete else EARLY_FALL)
    if fall > limit:
        reason = (
            f"mean confidence {live.confidence:.2f} on {live.rows} rows where "
            f"{expected.confidence:.2f} was expected: "
            f"a fall of {fall:.2f}, limit {limit:.2f}"
        )
        return Finding(state="worse", reason=reason)
    shift, chance = share_shift(expected, live)
    limit = chance + (SHIFT if complete else EARLY_SHIFT)
    if shift > limit:
        reason = (
            f"the classes of {live.rows} answers moved by {shift:.2f} from what was expected "
            f"(total variation, limit "
            f"{limit:.2f}); the most frequent one has {max(live.shares):.0%} of them"
        )
        return Finding(state="worse", reason=reason)
    return Finding(state="passed" if complete else "watching")
