"""Numbers as the networks of a version read them: scaled as fitted to the seed's training part."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from acclimate.learning.data import Floats, Rows
from acclimate.learning.spec import InputSpec

CLIP = 6.0
"""Standard deviations beyond which a number says no more than "very large"."""
HEAVY = 1.5
"""How much wider than a normal of the same quartiles a column's central 98 % must be to count as
heavy-tailed; an exponential has about 2.
"""
HEAVY_ONE_SIDED, OTHER_SIGN = 1.2, 0.02
"""Of a column with at most so large a share of the rarer sign less is enough: its logarithm has no
gap in the middle.
"""
MOST_FOLDED = 0.5
"""Share of folded columns from which the others are folded too, unless it gives them a tail: one
kind of sensor.
"""
NORMAL_TAIL = 2.326 / 1.349
"""Of a normal: from the median to the 99th percentile, over the distance between the quartiles."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Normalisation:
    """Columns in the seed's standard deviations, heavy tails folded by sign(x) log1p(|x|) before,
    clipped to +-6 after.

    center (D,) and scale (D,) float32, folded (D,) bool; D is the size of one row. A column that
    was constant on the seed's training part has scale 0 and answers 0 for ever: no weight behind it
    was ever trained. With `raw`, networks read the numbers as they came (their weights were
    brought, and know their own scale); rows are compared on the scale all the same.
    """

    kind: str
    shape: tuple[int, ...]
    center: Floats
    scale: Floats
    folded: NDArray[np.bool_]
    raw: bool = False

    def apply(self, x: Rows) -> Floats:
        """Finite float32 of the same shape (N, *shape) for every finite input, row by row: what
        networks read.
        """
        return np.asarray(x, dtype=np.float32) if self.raw else self._scaled(x)

    def features(self, x: Rows) -> Floats:
        """One vector (N, D) a row, in standard deviations, in which rows can be compared."""
        return self._scaled(x).reshape(len(x), -1)

    def restore(self, z: Floats) -> Rows:
        """The raw rows (N, *shape) whose `features` are z, within the clip; a column of scale 0 is
        as on the seed.
        """
        flat = (
            np.where(
                self.scale > 0, np.clip(z, -CLIP, CLIP) / np.where(self.scale > 0, self.scale, 1), 0
            )
            + self.center
        )
        unfolded = np.sign(flat) * np.expm1(
            np.where(self.folded, np.abs(flat), 0)
        )  # of a raw number it would overflow
        flat = np.where(self.folded, unfolded, flat)
        return np.asarray(flat, dtype=np.float32).reshape(len(z), *self.shape)

    @property
    def rescalable(self) -> bool:
        """Whether rows can be read in another scale: vectors that the version normalises itself."""
        return self.kind == "vector" and not self.raw

    @property
    def folded_share(self) -> float:
        """The share of columns that are read as logarithms."""
        return float(self.folded.mean())

    @property
    def is_image(self) -> bool:
        """Rows of more than one axis that is a picture's: what may be turned and moved."""
        return self.kind == "image"

    @property
    def unit(self) -> Floats:
        """One standard deviation of the seed (*shape), in what networks read."""
        size = np.ones_like(self.scale)
        if self.raw:
            size = np.where(self.scale > 0, 1 / np.where(self.scale > 0, self.scale, 1), 0).astype(
                np.float32
            )
        return size.reshape(self.shape)

    def _scaled(self, x: Rows) -> Floats:
        flat = np.asarray(x, dtype=np.float32).reshape(len(x), self.center.size)
        if self.folded.any():
            flat = np.where(self.folded, _fold(flat), flat)
        with np.errstate(over="ignore"):  # a number beyond float32 is clipped on the next line
            z = (flat - self.center) * self.scale
        return np.asarray(np.clip(z, -CLIP, CLIP), dtype=np.float32).reshape(x.shape)


def fit(x: Rows, input_spec: InputSpec, *, raw: bool = False) -> Normalisation:
    """The normalisation of the rows x (N, *shape): decided column by column, for images channel by
    channel without folding.
    """
    flat = x.reshape(len(x), -1).astype(np.float64)
    if input_spec.kind == "image":
        folded = np.zeros(input_spec.size, dtype=bool)
        center, deviation = _by_channel(x, input_spec.shape)
    else:
        logged = _fold(flat)
        weight = _tail_weight(flat)
        one_sided = np.minimum((flat > 0).mean(axis=0), (flat < 0).mean(axis=0)) < OTHER_SIGN
        heavy = weight > np.where(one_sided, HEAVY_ONE_SIDED, HEAVY)
        folded = heavy & (_tail_weight(logged) < weight)
        if folded.mean() >= MOST_FOLDED:
            folded |= _tail_weight(logged) <= np.maximum(weight, HEAVY)
        folded &= not raw
        columns = np.where(folded, logged, flat)
        center, deviation = columns.mean(axis=0), columns.std(axis=0)
    constant = deviation <= 1e-6 * np.abs(
        center
    )  # float32 cannot tell such a column from a constant one
    scale = np.where(constant, 0.0, 1.0 / np.where(constant, 1.0, deviation))
    scale = np.minimum(scale, np.finfo(np.float32).max)
    return Normalisation(
        kind=input_spec.kind,
        shape=input_spec.shape,
        center=center.astype(np.float32),
        scale=scale.astype(np.float32),
        folded=folded,
        raw=raw,
    )


def _by_channel(x: Rows, shape: tuple[int, ...]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and standard deviation of each channel of images, spread over its pixels: a moved image
    is scaled as before.
    """
    channels = x.reshape(len(x), 1 if len(shape) == 2 else shape[0], -1).astype(np.float64)
    pixels = channels.shape[2]
    return np.repeat(channels.mean(axis=(0, 2)), pixels), np.repeat(
        channels.std(axis=(0, 2)), pixels
    )


def _fold(x: NDArray[Any]) -> NDArray[Any]:
    return np.asarray(np.sign(x) * np.log1p(np.abs(x)), dtype=x.dtype)


def _tail_weight(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of each column: the longer of its two tails to the 99th percentile, 1 for a normal; 0 where
    the quartiles coincide.
    """
    low, first, median, third, high = np.quantile(x, [0.01, 0.25, 0.5, 0.75, 0.99], axis=0)
    middle, tail = third - first, np.maximum(high - median, median - low)
    return np.where(middle > 0, tail / np.where(middle > 0, middle, 1.0) / NORMAL_TAIL, 0.0)
