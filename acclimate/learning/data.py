"""The arrays that flow between the stages of the loop, as frozen values. No torch here.

Shapes in comments: N rows, C classes, D numbers in one row. Arrays inside a frozen value are never
written to.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


Rows = NDArray[Any]
"""Raw rows: (N, *shape) float32 for vectors and images, (N, 1) strings as objects for text, (N, L)
int64 for sequences.
"""


Integers = NDArray[np.int64]


Json = dict[str, Any]


UNLABELLED = -1
"""Stands where no audit label came for a row."""


NONE_OF_THE_CLASSES = -2
"""Stands where an audit label said that the row is none of the classes: never trained on."""


TAUGHT = -3
"""Stands where the label has taught the champion: the row is out of its window, neither
pseudo-labelled nor judged on.
"""


@dataclass(frozen=True, kw_only=True)
class Part:
    """Labeled rows: x (N, *shape) raw, y (N,) int64."""

    x: Rows
    y: Integers

    def __len__(self) -> int:
        return len(self.y)


@dataclass(frozen=True, kw_only=True)
class SeedSet:
    """The trusted labeled rows. Only `train` is ever learnt from."""

    train: Part
    calibration: Part
    judging: Part

    @property
    def held_out(self) -> Part:
        """The rows that version 1 did not learn: on those it did, it sees more than there is."""
        x, y = ([getattr(part, axis) for part in (self.calibration, self.judging)] for axis in "xy")
        return Part(x=np.concatenate(x), y=np.concatenate(y))

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
    """What the diagnosis of the last good window saw, beside which the next is seen; `standing`: a
    later one raised an alarm.
    """

    agreement: float
    anchor_confidence: float = 0.0
    own_scale_confidence: float | None = None
    neighbours: float = 0.0
    class_shares: float = 0.0
    standing: bool = False

    @staticmethod
    def of(document: Json, *, standing: bool = False) -> Past:
        """From the `Drift.document` of that window; one that knows fewer effects counts as if it
        had shown none of them.
        """
        effects = document.get("effects", {})
        names = ("anchor_confidence", "own_scale_confidence", "neighbours", "class_shares")
        seen = {name: effects[name]["value"] for name in names if name in effects}
        return Past(agreement=document["agreement"], standing=standing, **seen)


@dataclass(frozen=True, kw_only=True)
class Window:
    """The fixed rows that one run learns from, split once into rows to learn from and rows held
    out.

    `x` (N, *shape) is learnt from; `held_out` (M, *shape) never is, and `held_out_labels` (M,) has
    the audit label of each held-out row, `UNLABELLED` or `NONE_OF_THE_CLASSES`. `past` is what was
    seen in the last window that was not quarantined; None at the first. `vouched`: an operator
    released it, whatever alarm it raises. `client` (N,) numbers the key that sent each row to learn
    from, `held_out_client` (M,) the others, and `senders` names these numbers; None and nothing
    where nobody knows.

    Of earlier windows: `taught`, rows to learn from with the labels of people, newest first, and
    `late`, rows whose labels came after every earlier run was asked for: these judge now, and teach
    from the next run on. No row is in two of the four. `looks`: so many challengers were judged on
    this window before. `number`: its place among the model's windows, from 1. `apart` (N + M,):
    rows, those to learn from first, that nothing is measured on (`Crowd.apart`); None where nobody
    looked.
    """

    x: Rows
    held_out: Rows
    held_out_labels: Integers
    client: Integers | None = None
    held_out_client: Integers | None = None
    apart: NDArray[np.bool_] | None = None
    senders: tuple[str, ...] = ()
    past: Past | None = None
    vouched: bool = False
    taught: Part | None = None
    late: Part | None = None
    looks: int = 0
    number: int = 1

    def __len__(self) -> int:
        return len(self.x) + len(self.held_out)

    @property
    def rows(self) -> Rows:
        """All of its rows, those to learn from first."""
        return np.concatenate([self.x, self.held_out])

    @property
    def most(self) -> Window:
        """The window without the rows that are set apart: what most senders send."""
        if self.apart is None:
            return self
        learnt, held_out = np.split(~self.apart, [len(self.x)])
        return replace(
            self,
            x=self.x[learnt],
            held_out=self.held_out[held_out],
            held_out_labels=self.held_out_labels[held_out],
            client=None if self.client is None else self.client[learnt],
            held_out_client=None
            if self.held_out_client is None
            else self.held_out_client[held_out],
            apart=None,
        )

    @property
    def audited(self) -> Part:
        """The rows to judge on that a human gave one of the classes: held-out ones, and
        late ones.
        """
        known = self.held_out_labels >= 0
        own = Part(x=self.held_out[known], y=self.held_out_labels[known])
        if self.late is None:
            return own
        return Part(x=np.concatenate([own.x, self.late.x]), y=np.concatenate([own.y, self.late.y]))

    @staticmethod
    def split(
        x: Rows,
        labels: Integers,
        *,
        rng: np.random.Generator,
        held_out_share: float = 0.2,
        client: Integers | None = None,
        **known: Any,
    ) -> Window:
        """Hold out every labeled row and a random share of the others, so that what judges never
        trains; `known` is the rest.

        `client` is that of every row of x.
        """
        labeled = labels != UNLABELLED
        others = np.flatnonzero(~labeled)
        drawn = rng.permutation(others)[: round(held_out_share * len(others))]
        out = labeled.copy()
        out[drawn] = True
        learnt, out = ~out, out & (labels != TAUGHT)
        if client is not None:
            known |= {"client": client[learnt], "held_out_client": client[out]}
        return Window(x=x[learnt], held_out=x[out], held_out_labels=labels[out], **known)


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """What was known of a window's rows when its run was asked for, fixed for every attempt.

    labels (N,) int64: the audit label of each row, `UNLABELLED`, `NONE_OF_THE_CLASSES` or `TAUGHT`.
    The others as in `Window`.
    """

    labels: Integers
    past: Past | None = None
    vouched: bool = False
    taught: Part | None = None
    late: Part | None = None
    looks: int = 0
    number: int = 1

    @property
    def known(self) -> Json:
        """What a `Window` has from here, beside the rows and their labels."""
        return {
            field.name: getattr(self, field.name)
            for field in fields(self)
            if field.name != "labels"
        }


@dataclass(frozen=True, kw_only=True)
class PseudoLabels:
    """The teachers' label of each row to learn from, and for each refused one the reason.

    label (N,) int64, confidence (N,) float32, votes (N,) int64 = members that gave this label,
    refusal (N,) str: "" accepted.
    """

    label: Integers
    confidence: Floats
    votes: Integers
    refusal: NDArray[np.str_]
    needed: int
    """Fewer accepted rows than this teach nothing."""

    @property
    def accepted(self) -> NDArray[np.bool_]:
        return np.asarray(self.refusal == "", dtype=np.bool_)

    @property
    def refused(self) -> dict[str, int]:
        """How many rows each reason refused."""
        return dict(Counter(str(reason) for reason in self.refusal if reason))

    @property
    def too_few(self) -> bool:
        return int(self.accepted.sum()) < self.needed
