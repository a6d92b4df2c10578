"""Handwritten digits that slowly turn, in memory: the smallest real stream that the whole loop can
walk.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from sklearn.datasets import load_digits

from acclimate.learning import pipeline
from acclimate.learning.data import UNLABELLED, Floats, Integers, Past, SeedSet, Window
from acclimate.learning.models.bundle import Bundle
from acclimate.learning.models.running import Running
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


def window_of(
    x: Floats, *, past: Past | None = None, labels: NDArray[np.int64] | None = None, draw: int = 0
) -> Window:
    known = np.full(len(x), UNLABELLED, dtype=np.int64) if labels is None else labels
    return Window.split(x, known, rng=np.random.default_rng(draw), past=past)


def accuracy(bundle: Bundle, x: Floats, y: Integers) -> float:
    return float((Running(bundle).answer(x).argmax(axis=1) == y).mean())


def learn(
    window: Window,
    parts: SeedSet,
    champion: Bundle,
    anchor: Bundle,
    *,
    run: int = 1,
    policy: Policy = LEARNS,
) -> pipeline.Turn:
    return pipeline.turn(
        window, parts, champion, anchor, policy, Gates(), step=pipeline.plain_step(run)
    )
