"""How every method begins and how students of baselines are made: with the product's own steps,
without its loop.

The anchor is the loop's own, bit for bit (a test compares them). It is trained once for (stream,
seed) and kept.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from acclimate.learning import seed_split as seeds
from acclimate.learning.data import Integers, PseudoLabels, Rows, SeedSet, Window
from acclimate.learning.models import augment, bundle_format
from acclimate.learning.models.bundle import Bundle
from acclimate.learning.results import STAGES
from acclimate.learning.spec import ModelSpec
from acclimate.learning.training import recipes
from acclimate.learning.training.calibration import calibrate
from acclimate.learning.training.recipes import Recipe
from acclimate.learning.training.replay import Replay
from acclimate.learning.training.student import train, train_anchor
from benchmarks.streams import sources
from benchmarks.streams.stream import Stream

ALLOWED = (
    "benchmarks.streams.tent:mlp",
    "benchmarks.streams.tent:cnn",
    "benchmarks.streams.tent:text",
)
KEPT = Path(".bench/anchors")

Verb = Callable[..., Any]


@dataclass(frozen=True, kw_only=True, eq=False)
class Task:
    """One stream under one seed, as a method meets it: the spec, and the seed set in its parts."""

    row: str
    seed: int
    spec: ModelSpec
    parts: SeedSet

    @staticmethod
    def of(row: str, seed: int, stream: Stream) -> Task:
        spec = ModelSpec(name="bench", network=stream.network, input=stream.input, seed_path=None)
        parts = seeds.split(
            stream.seed_x, stream.seed_y, stream.input, rng=np.random.default_rng([seed, 77])
        )
        return Task(row=row, seed=seed, spec=spec, parts=parts)

    def with_network(self, **changes: Any) -> Task:
        """The same with another network."""
        return replace(self, spec=replace(self.spec, network=replace(self.spec.network, **changes)))


def step(task: Task, run: int) -> Callable[..., Any]:
    """A step that calls, as the loop's `plain_step`; the training of version 1 is kept on disk and
    read back.
    """

    def walk(stage: str, verb: Verb, /, *args: Any) -> Any:
        def call() -> Any:
            rng = (
                np.random.default_rng([run, STAGES.index(stage)])
                if stage in STAGES
                else np.random.default_rng([run, len(STAGES), *stage.encode()])
            )
            torch.manual_seed(
                run
            )  # layers of a baseline's own network draw from the global generator
            return verb(*args, rng=rng, tick=lambda done, total: None)

        return _kept(task, call) if verb is train_anchor else call()

    return walk


def anchor(task: Task) -> Bundle:
    """Version 1 as `pipeline.begin` makes it: trained on the seed, calibrated, with its
    self-test.
    """
    walk = step(task, run_number(task.seed, 0))
    recipe = recipes.anchor(len(task.parts.train))
    bundle = walk(
        "train", train_anchor, task.spec.input, task.spec.network, task.parts.train, recipe, ALLOWED
    )
    bundle = walk("calibrate", calibrate, bundle, task.parts.calibration)
    return bundle.with_self_test(task.parts.judging.x)


def student(
    task: Task,
    teacher: Bundle,
    x: Rows,
    y: Integers,
    *,
    run: int,
    recipe: Recipe | None = None,
) -> Bundle:
    """What the product's training makes of the teacher on these rows with these labels, calibrated;
    nothing is judged.
    """
    walk = step(task, run)
    accepted = PseudoLabels(
        label=y,
        confidence=np.ones(len(y), dtype=np.float32),
        votes=np.full(len(y), len(teacher.members)),
        refusal=np.full(len(y), "", dtype=np.str_),
        needed=1,
    )
    window = Window(x=x, held_out=x[:0], held_out_labels=y[:0])
    how = recipe or recipes.named(task.spec.policy.recipe)
    made = walk("train", train, teacher, window, accepted, Replay(trusted=task.parts.train), how)
    return walk("calibrate", calibrate, made, task.parts.calibration)


def run_number(seed: int, window: int) -> int:
    return seed * 1000 + window


@contextlib.contextmanager
def rotation(row: str) -> Iterator[None]:
    """Inside, the augmentation turns no image where the row of the tables says so. For this process
    alone.
    """
    degrees = augment.DEGREES
    if row.endswith("!norot"):
        augment.DEGREES = 0.0
    try:
        yield
    finally:
        augment.DEGREES = degrees


def _kept(task: Task, call: Callable[[], Bundle]) -> Bundle:
    code = sources.digest(
        ("acclimate.learning.training.student", "benchmarks.streams.tent", *_stream_modules())
    )
    net = task.spec.network
    name = f"{task.row}-{task.seed}-{net.network.replace(':', '.')}-{net.members}-{code}.npz"
    path = KEPT / name
    if path.is_file():
        return _read(path)
    made = call()
    _write(path, made)
    return made


def _stream_modules() -> tuple[str, ...]:
    return tuple(
        f"benchmarks.streams.{name}"
        for name in ("gradual", "still", "prior", "events", "fresh", "unseen", "played", "held")
    )


def _write(path: Path, bundle: Bundle) -> None:
    manifest, arrays = bundle_format.pack(bundle)
    plain = {
        name: array.astype(np.str_) if array.dtype == object else array
        for name, array in arrays.items()
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_suffix(f".{os.getpid()}.tmp.npz")
    np.savez(beside, manifest=np.array(json.dumps(manifest)), **plain)
    beside.replace(path)


def _read(path: Path) -> Bundle:
    with np.load(path, allow_pickle=False) as kept:
        arrays = {name: kept[name] for name in kept.files}
    manifest = json.loads(arrays.pop("manifest").item())
    arrays = {
        name: array.astype(object) if array.dtype.kind == "U" else array
        for name, array in arrays.items()
    }
    return bundle_format.build(manifest, arrays, allowlist=ALLOWED)
