"""The methods by name, and the code that each hangs on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from acclimate.learning.thresholds import Thresholds
from benchmarks.streams.learner import Learner
from benchmarks.streams.starts import Task

MODULES = {
    "ours": "benchmarks.streams.play",
    "oracle": "benchmarks.streams.baselines",
    "ours_few": "benchmarks.streams.play",
    "ours_audited": "benchmarks.streams.play",
    "kumar": "benchmarks.streams.baselines",
    "naive": "benchmarks.streams.baselines",
    "one_shot": "benchmarks.streams.baselines",
    "tent": "benchmarks.streams.tent",
    "frozen": "benchmarks.streams.baselines",
}
"""Where each is, in the order in which cells are worth running."""
WITHOUT = "~"
"""Between a method and the rule of learning that it is played without: `ours~isolated`."""
USUAL = ("ours", "oracle", "ours_few", "ours_audited", "kumar", "naive", "one_shot", "tent")
"""`frozen` comes for free with each of them."""


def module(method: str) -> str:
    """The code that a method hangs on."""
    return MODULES[method.partition(WITHOUT)[0]]


def made(method: str, task: Task, windows: int) -> Learner:
    """The method at the start of a stream of so many windows."""
    # Imported by who plays, so that the parent, which only reads cells, needs no torch.
    from benchmarks.streams import baselines, play, tent

    classes: dict[str, Callable[..., Any]] = {
        "ours": play.Ours,
        "ours_few": play.OursFew,
        "ours_audited": play.OursAudited,
        "oracle": baselines.Oracle,
        "kumar": baselines.Kumar,
        "naive": baselines.Naive,
        "one_shot": baselines.OneShot,
        "tent": tent.Tent,
        "frozen": baselines.Frozen,
    }
    name, _, rule = method.partition(WITHOUT)
    how = {"limits": Thresholds(off=frozenset({rule}))} if rule else {}
    learner: Learner = classes[name](task, windows, **how)
    return learner
