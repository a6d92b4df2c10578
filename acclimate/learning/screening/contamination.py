"""Rows that few senders may have made: nobody vouches for what few send, nor for what crowds the
seed's own traffic.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from acclimate.learning.data import UNLABELLED, Integers, Json, Part, Rows, SeedSet, Window
from acclimate.learning.models import rescale
from acclimate.learning.models.features import features
from acclimate.learning.results import Effect
from acclimate.learning.screening import client_support, mixture_proportion
from acclimate.learning.screening.mixture_proportion import Flags, Untouched
from acclimate.learning.spec import Policy

if TYPE_CHECKING:
    from acclimate.learning.models.network import Bundle

MOSTLY = 0.5
"""Who sends more than this share of the traffic can pass for drift of all of it."""
ALSO = 0.5
"""Of what a window has in its crowd beyond the seed set: a sender whose own rows have so much
beyond it sends it as well.
"""
SURE = 2.0
"""Standard errors beyond which a class has more of a window than of the seed set."""
NAMED = 3


@dataclass(frozen=True, kw_only=True, eq=False)
class Crowd:
    """`drifted`: at least so much of the window is not the seed's traffic.

    Unless that is most of it, `rows` (N,) of the window and `seed_rows` (K,) of the seed set's
    held-out ones, in their order, lie where the window is crowded; none where those who sent most
    of the window sent of the crowd as well: then it is drift that comes from everywhere. `few` (N,)
    are rows that few senders send, of a class that most of them send or of which the window has
    more than the seed set; never rows that people labelled.
    """

    drifted: Effect
    few: Flags
    rows: Flags
    seed_rows: Flags

    @property
    def apart(self) -> Flags:
        """Those of `few` that nothing is measured on: none while the seed set tells what is too
        much.
        """
        return self.few if self.drifted.detected else np.zeros_like(self.few)

    @property
    def dispersed(self) -> Crowd:
        """The same, where the window is nowhere crowded."""
        return replace(self, rows=np.zeros_like(self.rows), seed_rows=np.zeros_like(self.seed_rows))

    @property
    def share(self) -> Effect:
        """Of the window; nothing else than nothing is calm."""
        rows = self.few | self.rows
        return Effect(value=float(rows.mean()) if len(rows) else 0.0, threshold=0.0, n=len(rows))

    def without(self, seed: SeedSet, rows: Rows) -> tuple[SeedSet, Rows]:
        """The seed set and the rows that are measured without what is crowded; all held-out rows in
        the calibration part.
        """
        held, kept = seed.held_out, ~self.seed_rows
        nothing = Part(x=held.x[:0], y=held.y[:0])
        calm = rows[~self.rows[~self.apart]]
        return replace(
            seed, calibration=Part(x=held.x[kept], y=held.y[kept]), judging=nothing
        ), calm

    def told(self, window: Window, answers: Integers, classes: tuple[str, ...]) -> Json | None:
        """For whoever asks what it is and who sent it: the answer (N,) of version 1 to most of it,
        its largest senders.
        """
        rows = self.few | self.rows
        if not rows.any():
            return None
        largest: list[Json] = []
        if window.client is not None and window.senders:
            counts = np.bincount(
                window.client[rows[: len(window.x)]], minlength=len(window.senders)
            )
            order = np.argsort(-counts, kind="stable")[:NAMED]
            largest = [
                {"client": window.senders[i], "rows": int(counts[i])} for i in order if counts[i]
            ]
        answered = int(np.bincount(answers[rows], minlength=len(classes)).argmax())
        numbers = {"rows": int(rows.sum()), "few_senders": int(self.few.sum())}
        return {**numbers, "answered": classes[answered], "senders": largest}


def find(window: Window, seed: SeedSet, champion: Bundle, anchor: Bundle, policy: Policy) -> Crowd:
    """The crowd of a window, as the anchor sees its rows, and what few send, unless the policy
    learns from that too.

    The same window always has the same.
    """
    rows = window.rows
    seen = mixture_proportion.look(features(anchor, seed.held_out.x), features(anchor, rows))
    drifted = Effect(value=1 - seen.share, threshold=MOSTLY, n=len(rows))
    few = (
        _sent_by_few(window, seed, champion)
        if policy.few_senders == "refuse"
        else np.zeros(len(rows), dtype=bool)
    )
    found = Crowd(drifted=drifted, few=few, rows=seen.crowd, seed_rows=seen.seed_crowd)
    return found.dispersed if drifted.detected or _from_everywhere(seen, window) else found


def said(told: Json, share: Effect, drifted: Effect) -> str:
    """In words, what was told of a crowd."""
    largest = ", ".join(f"{sender['client']} ({sender['rows']} rows)" for sender in told["senders"])
    crowded = (
        f"where the seed set has less than half as many, while up to "
        f"{1 - drifted.value:.0%} of the window may be untouched"
    )
    few = "where only keys send that sent less than half of the window"
    kinds = {crowded: told["rows"] > told["few_senders"], few: told["few_senders"] > 0}
    return (
        f"{share.value:.0%} of the rows lie "
        f"{', or '.join(kind for kind, there in kinds.items() if there)}: they teach nothing, "
        f"since few may have sent them to be learnt from (version 1 answers most of them "
        f"{told['answered']!r}; largest senders: "
        f"{largest or 'not known'})"
    )


def unvouched(window: Window, found: Crowd, anchor: Bundle, label: Integers) -> Flags | None:
    """Which rows to learn from (N,) may not teach, by what the champion labels them: those of the
    crowd or of few senders, and where version 1 contradicts. None where more than half of the
    window drifted, or an operator released it.
    """
    if window.vouched or found.drifted.detected:
        return None
    contradicted = anchor.probabilities(window.x).argmax(axis=1) != label
    return np.asarray((found.rows | found.few)[: len(window.x)] | contradicted)


def _sent_by_few(window: Window, seed: SeedSet, champion: Bundle) -> Flags:
    """Of a window that nobody released: rows that few send, of a class that most send or of which
    it has more than the seed set.

    Who alone sends a class, as often as the seed set has it, teaches it.
    """
    rows = window.rows
    if window.vouched or window.client is None or window.held_out_client is None:
        return np.zeros(len(rows), dtype=bool)
    read = champion.encoding.features(rows).reshape(len(rows), -1)
    client = np.concatenate([window.client, window.held_out_client])
    few = client_support.few(read, client)
    few[len(window.x) :] &= window.held_out_labels == UNLABELLED
    if few.any():
        served = rescale.caught_up(champion, rows)
        answered = served.probabilities(rescale.read(served, rows)).argmax(axis=1)
        everybodys = [
            label
            for label in np.unique(answered[few])
            if client_support.most(answered == label, client)
        ]
        frequent = _more_than_usual(answered, seed, len(champion.input_spec.classes))
        few &= np.isin(answered, everybodys) | frequent[answered]
    return few


def _more_than_usual(answered: Integers, seed: SeedSet, classes: int) -> Flags:
    """Which classes (C,) are answered more often than the seed set has them, beyond chance."""
    trusted = np.concatenate([part.y for part in (seed.train, seed.calibration, seed.judging)])
    usual = np.bincount(trusted, minlength=classes) / len(trusted)
    error = np.sqrt(usual * (1 - usual) * (1 / len(answered) + 1 / len(trusted)))
    return np.asarray(
        np.bincount(answered, minlength=classes) / len(answered) > usual + SURE * error
    )


def _from_everywhere(seen: Untouched, window: Window) -> bool:
    """Whether most rows were sent by clients who also send of the crowd. Of one client alone
    nothing is known.
    """
    client, crowd = window.client, seen.crowd[: len(window.x)]
    if client is None or not crowd.any() or len(np.unique(client)) < 2:
        return False
    usual = float(seen.seed_crowd.mean())
    own = np.bincount(client, weights=crowd) / np.maximum(1, np.bincount(client)) - usual
    return float((own[client] >= ALSO * (float(crowd.mean()) - usual)).mean()) > MOSTLY
