"""Rows that a few senders may have made, while most of a window may be the seed's own traffic: nobody vouches for them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from acclimate.learning import untouched
from acclimate.learning.diagnosis import Effect
from acclimate.learning.features import features
from acclimate.learning.untouched import Flags, Untouched
from acclimate.learning.values import Integers, Json, Part, Rows, SeedSet, Window

if TYPE_CHECKING:
    from acclimate.learning.network import Bundle

MOSTLY = 0.5
"""Who sends more than this share of the traffic can pass for drift of all of it."""
ALSO = 0.5
"""Of what a window has in its crowd beyond the seed set: a sender whose own rows have so much beyond it sends it as well."""
NAMED = 3


@dataclass(frozen=True, kw_only=True, eq=False)
class Crowd:
    """`drifted`: at least so much of the window is not the seed's traffic.

    `rows` (N,) of the window and `seed_rows` (K,) of the seed set's held-out ones, in their order, lie where the window is
    crowded; none where more than half drifted, or where those who sent most of the window sent of the crowd as well: then it is
    drift that comes from everywhere.
    """

    drifted: Effect
    rows: Flags
    seed_rows: Flags

    @property
    def dispersed(self) -> Crowd:
        """The same, where nothing is to be said of its rows."""
        return replace(self, rows=np.zeros_like(self.rows), seed_rows=np.zeros_like(self.seed_rows))

    @property
    def share(self) -> Effect:
        """Of the window; nothing else than nothing is calm."""
        return Effect(value=float(self.rows.mean()) if len(self.rows) else 0.0, threshold=0.0, n=len(self.rows))

    def without(self, seed: SeedSet, rows: Rows) -> tuple[SeedSet, Rows]:
        """Both without what lies in the crowd, the held-out rows of the seed set all in its calibration part."""
        held, kept = seed.held_out, ~self.seed_rows
        nothing = Part(x=held.x[:0], y=held.y[:0])
        return replace(seed, calibration=Part(x=held.x[kept], y=held.y[kept]), judging=nothing), rows[~self.rows]

    def told(self, window: Window, answers: Integers, classes: tuple[str, ...]) -> Json | None:
        """For whoever asks what it is and who sent it: the answer (N,) of version 1 to most of it, its largest senders."""
        if not self.rows.any():
            return None
        senders: list[Json] = []
        if window.client is not None and window.senders:
            counts = np.bincount(window.client[self.rows[: len(window.x)]], minlength=len(window.senders))
            largest = np.argsort(-counts, kind="stable")[:NAMED]
            senders = [{"client": window.senders[i], "rows": int(counts[i])} for i in largest if counts[i]]
        answered = int(np.bincount(answers[self.rows], minlength=len(classes)).argmax())
        return {"rows": int(self.rows.sum()), "answered": classes[answered], "senders": senders}


def find(window: Window, seed: SeedSet, anchor: Bundle) -> Crowd:
    """The crowd of a window, as the anchor sees its rows; the same window always has the same."""
    rows = window.rows
    seen = untouched.look(features(anchor, seed.held_out.x), features(anchor, rows))
    drifted = Effect(value=1 - seen.share, threshold=MOSTLY, n=len(rows))
    found = Crowd(drifted=drifted, rows=seen.crowd, seed_rows=seen.seed_crowd)
    return found.dispersed if drifted.detected or _from_everywhere(seen, window) else found


def said(told: Json, share: Effect, drifted: Effect) -> str:
    """In words, what was told of a crowd."""
    senders = ", ".join(f"{sender['client']} ({sender['rows']} rows)" for sender in told["senders"])
    return (
        f"{share.value:.0%} of the rows lie where the seed set has less than half as many, while up to "
        f"{1 - drifted.value:.0%} of the window may be its traffic untouched: they teach nothing, since few may have sent them "
        f"to be learnt from (version 1 answers most of them {told['answered']!r}; largest senders: {senders or 'not known'})"
    )


def unvouched(window: Window, seed: SeedSet, anchor: Bundle, label: Integers) -> Flags | None:
    """Which rows to learn from (N,) may not teach, by what the champion labels them: those of the crowd, and where version 1
    contradicts. None where more than half of the window drifted, or an operator released it.
    """
    if window.vouched:
        return None
    found = find(window, seed, anchor)
    if found.drifted.detected:
        return None
    contradicted = anchor.probabilities(window.x).argmax(axis=1) != label
    return np.asarray(found.rows[: len(window.x)] | contradicted)


def _from_everywhere(seen: Untouched, window: Window) -> bool:
    """Whether most rows were sent by clients who also send of the crowd. Of one client alone nothing is known."""
    client, crowd = window.client, seen.crowd[: len(window.x)]
    if client is None or not crowd.any() or len(np.unique(client)) < 2:
        return False
    usual = float(seen.seed_crowd.mean())
    own = np.bincount(client, weights=crowd) / np.maximum(1, np.bincount(client)) - usual
    return float((own[client] >= ALSO * (float(crowd.mean()) - usual)).mean()) > MOSTLY
