"""Drift made up on trusted rows, of known strength: what a rehearsal plays. Raw rows in, raw rows
out.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F

from acclimate.learning.data import Floats, Rows
from acclimate.learning.models import tokens
from acclimate.learning.models.encoding import Normalisation
from acclimate.learning.models.tokens import Tokens

OFFSET, GAIN = 1.5, 0.7
"""Of a column at strength 1, in standard deviations and as a logarithm."""
TURN = math.pi / 2
"""Of a plane of two columns, and of an image."""
SHEAR, STRETCH = 0.8, 0.5

Encoding = Normalisation | Tokens
Warp = Callable[[Rows, float], Rows]
"""Rows (N, *shape) and a strength of 0 (nothing changes) or more."""


def draw(encoding: Encoding, rng: np.random.Generator) -> Warp:
    """One way to drift, drawn at random: the same for all rows, and continuous in its strength.

    Vectors: pairs of columns turn, each column moves and is stretched. Images turn, shear and
    shrink. Tokens: words give way to words that nobody has seen.
    """
    if isinstance(encoding, Tokens):
        salt = int(rng.integers(2**31))
        return _renamed_words(salt) if encoding.kind == "text" else _renamed_ids(encoding, salt)
    if encoding.is_image:
        return _affine(rng)
    return _turned_columns(encoding, rng)


def _turned_columns(encoding: Normalisation, rng: np.random.Generator) -> Warp:
    size = len(encoding.center)
    pairs = rng.permutation(size)[: size // 2 * 2].reshape(-1, 2)
    turn, offset, gain = (
        rng.uniform(-1, 1, len(pairs)),
        rng.uniform(-1, 1, size),
        rng.uniform(-1, 1, size),
    )

    def warp(x: Rows, strength: float) -> Rows:
        z = encoding.features(x)
        angle = strength * TURN * turn
        cos, sin = np.cos(angle).astype(np.float32), np.sin(angle).astype(np.float32)
        out = z.copy()
        a, b = z[:, pairs[:, 0]], z[:, pairs[:, 1]]
        out[:, pairs[:, 0]], out[:, pairs[:, 1]] = cos * a - sin * b, sin * a + cos * b
        return encoding.restore(
            (out * np.exp(strength * GAIN * gain) + strength * OFFSET * offset).astype(np.float32)
        )

    return warp


def _affine(rng: np.random.Generator) -> Warp:
    sign = rng.choice([-1.0, 1.0], 3)

    def warp(x: Floats, strength: float) -> Floats:
        angle, shear = strength * TURN * sign[0], strength * SHEAR * sign[1]
        scale = math.exp(strength * STRETCH * sign[2])
        turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
        theta = np.zeros((1, 2, 3))
        theta[0, :, :2] = scale * turn @ np.array([[1, shear], [0, 1]])
        images = torch.from_numpy(
            np.asarray(x, dtype=np.float32).reshape(len(x), -1, *x.shape[-2:])
        )
        grid = F.affine_grid(
            torch.from_numpy(np.repeat(theta, len(x), axis=0)).float(),
            list(images.shape),
            align_corners=False,
        )
        moved = F.grid_sample(images, grid, padding_mode="border", align_corners=False)
        return np.asarray(moved.numpy().reshape(x.shape))

    return warp


def _renamed_words(salt: int) -> Warp:
    def warp(x: Rows, strength: float) -> Rows:
        def renamed(word: str) -> str:
            return (
                f"{word}{salt}" if zlib.crc32(f"{salt}{word}".encode()) < strength * 2**32 else word
            )

        texts = [" ".join(renamed(word) for word in tokens.words(text)) for (text,) in x.tolist()]
        return np.array(texts, dtype=object).reshape(-1, 1)

    return warp


def _renamed_ids(encoding: Tokens, salt: int) -> Warp:
    rng = np.random.default_rng(salt)
    order, chance = 1 + rng.permutation(encoding.buckets - 1), rng.random(encoding.buckets)

    def warp(x: Rows, strength: float) -> Rows:
        ids = encoding.apply(x)
        return np.where((ids > 0) & (chance[ids] < strength), order[ids - 1], ids)

    return warp
