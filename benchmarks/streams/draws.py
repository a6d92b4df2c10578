"""What streams are drawn from: digits that may be turned, Gaussian classes whose planes turn,
blocks of class shares.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from sklearn.datasets import load_digits

from acclimate.learning.data import Floats, Integers, Rows
from acclimate.learning.spec import InputSpec, NetworkSpec
from benchmarks.streams.stream import Stream, images, shown, vectors

Rng = np.random.Generator
Draw = Callable[[Integers, Rng], Rows]
"""Rows of the classes that are asked for."""

SEED_ROWS = 897
WINDOW_ROWS = 300


def turned(x: Floats, angles: NDArray[Any], *, order: int = 1) -> Floats:
    """Images (N, H, W), each turned by its angle in degrees; what comes in is empty."""
    return np.stack(
        [
            ndimage.rotate(image, angle, order=order, reshape=False, mode="grid-constant")
            for image, angle in zip(x, angles, strict=True)
        ]
    ).astype(np.float32)


@dataclass(frozen=True, kw_only=True, eq=False)
class Digits:
    """scikit-learn's digits in an order of their own: about half for the seed set, the others to be
    drawn and turned.
    """

    seed_x: Floats
    seed_y: Integers
    x: Floats
    y: Integers

    @staticmethod
    def shuffled(seed: int) -> Digits:
        data = load_digits()
        order = np.random.default_rng(seed).permutation(len(data.target))
        x, y = data.images[order].astype(np.float32), data.target[order].astype(np.int64)
        return Digits(seed_x=x[:SEED_ROWS], seed_y=y[:SEED_ROWS], x=x[SEED_ROWS:], y=y[SEED_ROWS:])

    def window(
        self, degrees: float, rng: Rng, *, rows: NDArray[Any] | None = None, jitter: float = 2.5
    ) -> tuple[Floats, Integers]:
        """Rows drawn without replacement (or those given), each turned by about so much."""
        chosen = rng.permutation(len(self.x))[:WINDOW_ROWS] if rows is None else rows
        angles = degrees + rng.uniform(-jitter, jitter, size=len(chosen))
        return turned(self.x[chosen], angles), self.y[chosen]

    def of(
        self, y: Integers, degrees: float, rng: Rng, *, jitter: float = 2.5
    ) -> tuple[Floats, Integers]:
        """As `window`, of the classes y (N,) in their order."""
        return self.window(degrees, rng, rows=drawn_by_class(self.y, y, rng), jitter=jitter)

    def stream(
        self, windows: Sequence[tuple[NDArray[Any], NDArray[Any]]], *, flat: bool = False
    ) -> Stream:
        """The stream of these windows over this seed: 8x8 images for a cnn, or 64 numbers for an
        mlp.
        """
        shape = (-1, 64) if flat else (-1, 8, 8)
        return Stream(
            input=vectors(64, 10) if flat else images((8, 8), 10),
            network=NetworkSpec(network="mlp" if flat else "cnn"),
            seed_x=self.seed_x.reshape(shape),
            seed_y=self.seed_y,
            windows=tuple(shown(x.reshape(shape), y) for x, y in windows),
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class Gaussians:
    """Classes of two round modes each, placed by the seed; the planes of neighbouring columns turn
    together.
    """

    modes: NDArray[np.float64]  # (C, 2, D)

    @staticmethod
    def placed(seed: int, *, classes: int = 5, size: int = 16, apart: float = 0.92) -> Gaussians:
        return Gaussians(
            modes=apart * np.random.default_rng([7, seed]).normal(size=(classes, 2, size))
        )

    @property
    def classes(self) -> int:
        return self.modes.shape[0]

    @property
    def size(self) -> int:
        return self.modes.shape[2]

    def uniform(self, rows: int, rng: Rng) -> Integers:
        return rng.integers(self.classes, size=rows)

    def of(
        self, y: Integers, rng: Rng, *, turn: float = 0.0, shift: NDArray[Any] | float = 0.0
    ) -> tuple[Floats, Integers]:
        """Rows of the classes y (N,), turned by so many radians in each plane, then shifted."""
        x = self.modes[y, rng.integers(2, size=len(y))] + rng.normal(size=(len(y), self.size))
        even, odd = x[:, 0::2].copy(), x[:, 1::2].copy()
        x[:, 0::2] = np.cos(turn) * even - np.sin(turn) * odd
        x[:, 1::2] = np.sin(turn) * even + np.cos(turn) * odd
        return (x + shift).astype(np.float32), y

    def stream(
        self,
        seed: tuple[NDArray[Any], NDArray[Any]],
        windows: Sequence[tuple[NDArray[Any], NDArray[Any]]],
    ) -> Stream:
        return Stream(
            input=vectors(self.size, self.classes),
            network=NetworkSpec(network="mlp"),
            seed_x=seed[0],
            seed_y=seed[1],
            windows=tuple(shown(x, y) for x, y in windows),
        )


def drawn_by_class(pool: Integers, y: Integers, rng: Rng) -> NDArray[np.intp]:
    """For each class asked for in y (N,) a row of the pool of that class, none twice while there
    are enough.
    """
    out = np.empty(len(y), dtype=np.intp)
    for label in np.unique(y):
        places, have = np.flatnonzero(y == label), np.flatnonzero(pool == label)
        repeated = np.resize(rng.permutation(have), len(places))
        out[places] = repeated if len(places) <= len(have) else rng.permutation(repeated)
    return out


def swinging(
    shares: Sequence[NDArray[Any]], windows: int, rows: int, block: int, rng: Rng
) -> list[Integers]:
    """The classes of each window's rows where the shares change every `block` rows, which need not
    end with a window.
    """
    total = windows * rows
    y = np.empty(total, dtype=np.int64)
    for number, start in enumerate(range(0, total, block)):
        share = shares[number % len(shares)]
        y[start : start + block] = rng.choice(len(share), size=min(block, total - start), p=share)
    return list(y.reshape(windows, rows))


def two_class_blocks() -> list[NDArray[Any]]:
    """Shares of ham and spam as mail has them: even, mostly one, mostly the other."""
    return [np.array([1 - p, p]) for p in (0.5, 0.85, 0.2, 0.65, 0.1)]


def few_classes_dominate(classes: int, blocks: int, rng: Rng) -> list[NDArray[Any]]:
    """In each block about a third of the classes have six rows of ten between them, on top of their
    even share.
    """
    shares = []
    for _ in range(blocks):
        share = np.full(classes, 0.4 / classes)
        dominant = rng.permutation(classes)[: max(1, classes // 3)]
        share[dominant] += 0.6 / len(dominant)
        shares.append(share)
    return shares


def spec_of_words(size: int) -> tuple[InputSpec, NetworkSpec]:
    return InputSpec(kind="vector", shape=(size,), classes=("ham", "spam")), NetworkSpec(
        network="mlp"
    )


def spec_of_text() -> tuple[InputSpec, NetworkSpec]:
    return InputSpec(kind="text", shape=(1,), classes=("ham", "spam")), NetworkSpec(network="text")
