"""SPEC.toml as values: what a model is made of, when it learns, and which limits its challengers
keep.

No torch here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal, TypeVar

import numpy as np

from acclimate.learning.data import Json, Rows


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong with what a user gave: a JSON pointer to where, and what is wrong and
    what would be right.
    """

    pointer: str
    detail: str


@dataclass(frozen=True, kw_only=True)
class InputSpec:
    """Kind, shape and classes of a row."""

    kind: Literal["vector", "image", "text", "sequence"]
    shape: tuple[int, ...]
    classes: tuple[str, ...]

    @property
    def size(self) -> int:
        """How many numbers one row holds."""
        return math.prod(self.shape)

    @property
    def datatype(self) -> Literal["FP32", "BYTES", "INT64"]:
        """The datatype of the Open Inference Protocol."""
        if self.kind == "text":
            return "BYTES"
        return "INT64" if self.kind == "sequence" else "FP32"

    def rows(self, values: Any) -> Rows:
        """The values as raw rows of this kind, of the type in which all of the code hands
        them on.
        """
        kinds = {
            "BYTES": np.dtype(object),
            "INT64": np.dtype(np.int64),
            "FP32": np.dtype(np.float32),
        }
        return np.asarray(values, dtype=kinds[self.datatype])

    def blank(self, count: int) -> Rows:
        """`count` blank rows: zeros, or empty strings."""
        if self.kind == "text":
            return np.full((count, 1), "", dtype=object)
        return self.rows(np.zeros((count, *self.shape)))


@dataclass(frozen=True, kw_only=True)
class NetworkSpec:
    """How the networks of a version are built: a built-in name or `package.module:function`, and
    its arguments.

    A version that was trained here has `members`; one whose weights were brought has one, and its
    students have `members`.
    """

    network: str
    args: Json = field(default_factory=dict)
    members: int = 3


@dataclass(frozen=True, kw_only=True)
class LogPolicy:
    """What an acknowledgement promises, and how much of the log is kept."""

    durability: Literal["fsync", "os", "none"] = "os"
    keep_days: float = 7.0
    max_gib: float = 10.0


@dataclass(frozen=True, kw_only=True)
class Policy:
    """When the model learns, and from how much."""

    recipe: str = "self_training"
    learnable: Literal["auto", "yes", "no"] = "auto"
    schedule: str = "@every 10m"
    on_drift: bool = True
    max_rows: int = 20_000
    min_window_rows: int = 150
    watch_rows: int = 500
    client_share: float = 1.0
    few_senders: Literal["refuse", "learn"] = "refuse"
    max_risk: float = 0.0
    max_unproved: float = 0.0
    """Above 0: the proved version serves where the learner gives more than this share of a window
    another label. 0: no limit.
    """
    hold_for_labels: str = "0s"
    """How long a promoted student waits for labels before it answers (s, m, h)."""
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class Gates:
    """The limits that a challenger must keep. Shares and accuracies are in 0..1, not in points."""

    max_ece: float = 0.08
    """Largest debiased calibration error on the judging part, of answers that are surer than right.
    """
    accuracy_margin: float = 0.02
    """Loss of judging accuracy against the anchor that is allowed without drift, at the one-sided
    95 % bound.
    """
    accuracy_margin_per_drift: float = 0.18
    """What full drift adds to that margin and the next: a model that followed the drift may forget
    a little of the seed.
    """
    max_recall_loss: float = 0.20
    """Loss of recall against the anchor in any one class that is allowed without drift."""
    max_class_flow: float = 0.25
    """Largest total variation between the student's and the champion's predicted classes on the
    held-out rows.
    """
    min_agreement: float = 0.75
    """Smallest share of held-out rows on which student and champion say the same."""
    audited_margin: float = 0.10
    """A promotion is called audited where labels prove that the challenger is not worse than the
    champion by more than this.
    """
    min_judging_rows: int = 60
    """Fewer judging rows than this are insufficient evidence."""


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """SPEC.toml as one value; `acclimate.spec.parse` makes it and says what is wrong with a file
    that does not.
    """

    name: str
    network: NetworkSpec
    input: InputSpec
    seed_path: str | None
    weights_path: str | None = None
    log: LogPolicy = LogPolicy()
    policy: Policy = Policy()
    gates: Gates = Gates()

    def as_json(self) -> Json:
        return asdict(self)

    @staticmethod
    def from_json(data: Json) -> ModelSpec:
        """The inverse of `as_json`, for specs that storage kept."""
        return ModelSpec(
            name=data["name"],
            network=NetworkSpec(**data["network"]),
            input=InputSpec(
                kind=data["input"]["kind"],
                shape=tuple(data["input"]["shape"]),
                classes=tuple(data["input"]["classes"]),
            ),
            seed_path=data["seed_path"],
            weights_path=data.get("weights_path"),
            log=stored(LogPolicy, data["log"]),
            policy=stored(Policy, data["policy"]),
            gates=stored(Gates, data["gates"]),
        )


Settings = TypeVar("Settings", LogPolicy, Policy, Gates)


def stored(kind: type[Settings], content: Mapping[str, Any]) -> Settings:
    """The settings in a stored document of any release: a missing key has its default, a key that
    only a newer release knows is left out.
    """
    return kind(**own(kind, content))


def own(kind: type[LogPolicy | Policy | Gates], content: Mapping[str, Any]) -> Json:
    """The part of a stored document that this release knows."""
    known = {field.name for field in fields(kind)}
    return {name: value for name, value in content.items() if name in known}
