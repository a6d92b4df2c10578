"""Handwritten digits that slowly turn, in memory: the smallest real stream for the whole loop."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import ndimage
from sklearn.datasets import load_digits

from acclimate.learning import pipeline
from acclimate.learning.data import UNLABELLED, Floats, Integers, SeedSet, Snapshot, Window
from acclimate.learning.models.bundle import Bundle
from acclimate.learning.models.running import Running
from acclimate.learning.outcomes import Judged, Outcome
from acclimate.learning.spec import Gates, InputSpec, ModelSpec, NetworkSpec, Policy

DIGITS = InputSpec(kind="vector", shape=(64,), classes=tuple(str(digit) for digit in range(10)))
SEED_ROWS = 897
WINDOW_ROWS = 300
LEARNS = Policy(learnable="yes")


@dataclass(frozen=True, kw_only=True)
class Digits:
    """Seed rows upright, stream rows that a window turns; labels of the stream only score."""

    seed_x: Floats
    seed_y: Integers
    x: Floats
    y: Integers

    def turned(self, degrees: float, *, rng: np.random.Generator) -> tuple[Floats, Integers]:
        """A window: rows drawn without replacement, each turned by about so much."""
        rows = rng.permutation(len(self.x))[:WINDOW_ROWS]
        angles = degrees + rng.uniform(-2.5, 2.5, size=WINDOW_ROWS)
        images = [
            # grid-constant: emptiness begins beyond the border. With "constant" the whole border
            # line is lost at 1 degree.
            ndimage.rotate(row.reshape(8, 8), angle, order=1, reshape=False, mode="grid-constant")
            for row, angle in zip(self.x[rows], angles, strict=True)
        ]
        return np.stack(images).reshape(-1, 64).astype(np.float32), self.y[rows]


def digits(shuffle: int) -> Digits:
    data = load_digits()
    order = np.random.default_rng(shuffle).permutation(len(data.target))
    x, y = data.data[order].astype(np.float32), data.target[order].astype(np.int64)
    return Digits(seed_x=x[:SEED_ROWS], seed_y=y[:SEED_ROWS], x=x[SEED_ROWS:], y=y[SEED_ROWS:])


def spec(input_spec: InputSpec = DIGITS, *, members: int = 3) -> ModelSpec:
    return ModelSpec(
        name="digits",
        network=NetworkSpec(network="mlp", args={"hidden": [256, 128]}, members=members),
        input=input_spec,
        seed_path=None,
    )


def window_of(x: Floats, *, labels: Integers | None = None, draw: int = 0, **known: Any) -> Window:
    """A window of these rows; `known` are fields of the snapshot, and `senders`."""
    y = np.full(len(x), UNLABELLED, dtype=np.int64) if labels is None else labels
    senders = known.pop("senders", None)
    snapshot = Snapshot(labels=y, **known)
    return Window.split(x, snapshot, rng=np.random.default_rng(draw), senders=senders)


def accuracy(bundle: Bundle, x: Floats, y: Integers) -> float:
    return float((Running(bundle).answer(x).argmax(axis=1) == y).mean())


def learn(
    window: Window,
    parts: SeedSet,
    champion: Bundle,
    anchor: Bundle,
    *,
    run: int = 1,
    step: pipeline.Step | None = None,
    **inputs: Any,
) -> Outcome:
    """One run that may learn, whatever was simulated; `inputs` are fields of `RunInputs`."""
    inputs = {"policy": LEARNS, "gates": Gates()} | inputs
    given = pipeline.RunInputs(
        window=window, seed=parts, champion=champion, anchor=anchor, **inputs
    )
    return pipeline.run(given, step or pipeline.plain_step(run))


def promoted(outcome: Outcome) -> bool:
    """Whether a challenger was made that passed its gates."""
    return isinstance(outcome, Judged) and outcome.promoted
