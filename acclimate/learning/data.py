"""The arrays that flow between the stages of the loop, as frozen values. No torch here.

Shapes: N rows to learn from, M rows held out, C classes, D numbers in one row. Arrays inside a
frozen value are never written to.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Integers = NDArray[np.int64]
Flags = NDArray[np.bool_]
Rows = NDArray[Any]
"""Raw rows: (N, *shape) float32 for vectors and images, (N, 1) strings as objects for text,
(N, L) int64 for sequences.
"""
Json = dict[str, Any]

HELD_OUT_SHARE = 0.2
"""Of the unlabelled rows of a window, drawn uniformly: they judge and never train."""
LOOKED_ANEW = 3
"""Alarms one after the other, after which a window is compared with the one before it: drift that
goes on is no jump.
"""
UNLABELLED = -1
"""Label of a row without an audit label."""
NONE_OF_THE_CLASSES = -2
"""Audit label of a row that is none of the classes: never trained on."""
TAUGHT = -3
"""Label of a row that trained the champion already: neither pseudo-labelled nor judged on."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """Labelled rows: x (N, *shape) raw, y (N,) int64."""

    x: Rows
    y: Integers

    def __len__(self) -> int:
        return len(self.y)

    @staticmethod
    def joined(*parts: Part) -> Part:
        """The rows of all parts, in order. At least one part."""
        x = np.concatenate([part.x for part in parts])
        return Part(x=x, y=np.concatenate([part.y for part in parts]))


@dataclass(frozen=True, kw_only=True)
class SeedSet:
    """The trusted labelled rows. Only `train` is ever trained on."""

    train: Part
    calibration: Part
    judging: Part

    @property
    def held_out(self) -> Part:
        """The rows that version 1 was not trained on."""
        return Part.joined(self.calibration, self.judging)

    @staticmethod
    def of(arrays: dict[str, NDArray[Any]]) -> SeedSet:
        """The seed set that an artifact keeps as `train.x`, `train.y` and so on."""
        train, calibration, judging = (
            Part(x=arrays[f"{part}.x"], y=arrays[f"{part}.y"])
            for part in ("train", "calibration", "judging")
        )
        return SeedSet(train=train, calibration=calibration, judging=judging)


@dataclass(frozen=True, kw_only=True)
class Past:
    """What the diagnosis of the last good window measured, with which the next is compared.

    `standing`: a later window raised an alarm. `anew`: it raised one itself, the last of several.
    """

    agreement: float
    anchor_confidence: float = 0.0
    own_scale_confidence: float | None = None
    neighbours: float = 0.0
    class_shares: float = 0.0
    standing: bool = False
    anew: bool = False

    @staticmethod
    def of(document: Json, *, standing: bool = False, anew: bool = False) -> Past:
        """From the `Drift.document` of that window. An effect that it lacks counts as 0."""
        effects = document.get("effects", {})
        names = ("anchor_confidence", "own_scale_confidence", "neighbours", "class_shares")
        measured = {name: effects[name]["value"] for name in names if name in effects}
        known = {"standing": standing, "anew": anew}
        return Past(agreement=document["agreement"], **known, **measured)


@dataclass(frozen=True, kw_only=True)
class Senders:
    """Who sent the rows of a window: client (N,) numbers the key of each, `names` the keys."""

    client: Integers
    names: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """What was known of a window's rows when its run was requested, fixed for every attempt.

    labels (N,) int64: the audit label of each row, `UNLABELLED`, `NONE_OF_THE_CLASSES` or `TAUGHT`.
    The others as in `Window`.
    """

    labels: Integers
    past: Past | None = None
    released: bool = False
    taught: Part | None = None
    late: Part | None = None
    peeks: int = 0
    number: int = 1


@dataclass(frozen=True, kw_only=True)
class Window:
    """The fixed rows that one run learns from, split once into rows to learn from and held out.

    `x` (N, *shape) is learnt from; `held_out` (M, *shape) never is. `held_out_labels` (M,) has the
    audit label of each held-out row, `UNLABELLED` or `NONE_OF_THE_CLASSES`.
    `past`: what was measured in the last window that was not quarantined; None at the first.
    `released`: an operator released it, whatever alarm it raises.
    `client` (N,) and `held_out_client` (M,) number the keys that sent the rows, named by
    `client_names`; None where that is not known.
    `taught`: labelled rows to learn from, newest first; the first `fresh` of them are of this
    window, and judge too, by members that did not learn from them. `late`: such rows whose
    labels came after every earlier run was requested: they judge now, and teach from the next run
    on. No row is in two of the four.
    `peeks`: challengers that were judged on this window's labels before.
    `number`: its position among the model's windows, from 1.
    `set_aside` (N + M,): rows, those to learn from first, that nothing is measured on.
    """

    x: Rows
    held_out: Rows
    held_out_labels: Integers
    client: Integers | None = None
    held_out_client: Integers | None = None
    client_names: tuple[str, ...] = ()
    set_aside: Flags | None = None
    past: Past | None = None
    released: bool = False
    taught: Part | None = None
    fresh: int = 0
    late: Part | None = None
    peeks: int = 0
    number: int = 1

    def __len__(self) -> int:
        return len(self.x) + len(self.held_out)

    @property
    def rows(self) -> Rows:
        """All rows (N + M, *shape), those to learn from first."""
        return np.concatenate([self.x, self.held_out])

    @property
    def measured(self) -> Window:
        """The window without the rows that are set aside."""
        if self.set_aside is None:
            return self
        learnt, held_out = np.split(~self.set_aside, [len(self.x)])
        held_out_client = self.held_out_client
        return replace(
            self,
            x=self.x[learnt],
            held_out=self.held_out[held_out],
            held_out_labels=self.held_out_labels[held_out],
            client=None if self.client is None else self.client[learnt],
            held_out_client=None if held_out_client is None else held_out_client[held_out],
            set_aside=None,
        )

    @property
    def audited(self) -> Part:
        """Rows to judge on that a person gave one of the classes: held-out ones and late ones."""
        known = self.held_out_labels >= 0
        own = Part(x=self.held_out[known], y=self.held_out_labels[known])
        return own if self.late is None else Part.joined(own, self.late)

    def taught_at_once(self, judging: Flags) -> Window:
        """The window whose labelled held-out rows teach now, but for those that judge.

        judging (M,): held-out rows whose labels are to judge first; they teach from the next run
        on.
        """
        teach = (self.held_out_labels >= 0) & ~judging
        if not teach.any():
            return self
        now = Part(x=self.held_out[teach], y=self.held_out_labels[teach])
        held_out_client = self.held_out_client
        set_aside = self.set_aside
        if set_aside is not None:
            kept = np.concatenate([np.ones(len(self.x), dtype=bool), ~teach])
            set_aside = set_aside[kept]
        return replace(
            self,
            held_out=self.held_out[~teach],
            held_out_labels=self.held_out_labels[~teach],
            held_out_client=None if held_out_client is None else held_out_client[~teach],
            set_aside=set_aside,
            taught=now if self.taught is None else Part.joined(now, self.taught),
            fresh=len(now),
        )

    @property
    def fresh_rows(self) -> Part | None:
        """The labelled rows of this window that teach in this run; None where there are none."""
        if self.taught is None or not self.fresh:
            return None
        return Part(x=self.taught.x[: self.fresh], y=self.taught.y[: self.fresh])

    @property
    def unlabelled_held_out(self) -> Rows:
        """Held-out rows as traffic has them: labels are asked for where answers are doubtful."""
        drawn = self.held_out[self.held_out_labels == UNLABELLED]
        return drawn if len(drawn) else self.held_out

    @staticmethod
    def split(
        x: Rows, snapshot: Snapshot, *, rng: np.random.Generator, senders: Senders | None = None
    ) -> Window:
        """Holds out every labelled row of x and a random share of the others."""
        labels = snapshot.labels
        labelled = labels != UNLABELLED
        others = np.flatnonzero(~labelled)
        drawn = rng.permutation(others)[: round(HELD_OUT_SHARE * len(others))]
        out = labelled.copy()
        out[drawn] = True
        learnt, out = ~out, out & (labels != TAUGHT)
        client = None if senders is None else senders.client
        return Window(
            x=x[learnt],
            held_out=x[out],
            held_out_labels=labels[out],
            client=None if client is None else client[learnt],
            held_out_client=None if client is None else client[out],
            client_names=() if senders is None else senders.names,
            past=snapshot.past,
            released=snapshot.released,
            taught=snapshot.taught,
            late=snapshot.late,
            peeks=snapshot.peeks,
            number=snapshot.number,
        )


@dataclass(frozen=True, kw_only=True)
class PseudoLabels:
    """The teachers' label of each row to learn from, and for each refused one the reason.

    label (N,) int64, confidence (N,) float32, votes (N,) int64 = members that gave this label,
    refusal (N,) str: "" accepted. Fewer accepted rows than `needed` teach nothing.
    """

    label: Integers
    confidence: Floats
    votes: Integers
    refusal: NDArray[np.str_]
    needed: int

    @property
    def accepted(self) -> Flags:
        return np.asarray(self.refusal == "", dtype=np.bool_)

    @property
    def refused(self) -> dict[str, int]:
        """How many rows each reason refused."""
        return dict(Counter(str(reason) for reason in self.refusal if reason))

    @property
    def too_few(self) -> bool:
        return int(self.accepted.sum()) < self.needed
