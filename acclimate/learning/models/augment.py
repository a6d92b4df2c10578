"""Augmented copies of encoded rows, and the votes of a version on rows.

Strong copies are trained on. Weak ones are views of a row that a version without other members
votes with. How strong is decided on the seed set alone: `strongest_kept`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from acclimate.learning.data import Floats, Integers, Rows
from acclimate.learning.models.bundle import Bundle
from acclimate.learning.models.encoding import Normalisation
from acclimate.learning.models.mode_state import State
from acclimate.learning.models.modes import Encoding
from acclimate.learning.models.tokens import Tokens, pushed_forward
from acclimate.learning.thresholds import DEFAULT

NOISE = 0.15
"""Standard deviations of Gaussian noise at full strength."""
MIXED = 0.10
"""Share of a vector's columns taken from another row of the batch at full strength."""
DEGREES, ZOOM, MOVE = 15.0, 0.10, 0.08
"""Of an image at full strength: rotation, share of its size, share of its side."""
DROPPED = 0.20
"""Share of a row's tokens that are left out at full strength."""
STRENGTHS = (1.0, 0.5, 0.25, 0.0)
COPIES = 8
WEAK = 0.3
VIEWS = 3

Encoded = NDArray[Any]


def strong(z: Encoded, encoding: Encoding, *, strength: float, rng: np.random.Generator) -> Encoded:
    """The same rows as networks read them (N, ...), each changed by itself, at a strength of 0 (not
    at all) to 1.

    Vectors: noise, and columns of another row of the batch. Images: turned, zoomed and moved, and
    noise. Tokens: some left out.
    """
    if strength == 0 or not len(z):
        return z
    if isinstance(encoding, Tokens):
        return _thinned(z, DROPPED * strength, rng)
    if encoding.is_image:
        z = _moved(z, strength, rng)
    else:
        other = z[rng.permutation(len(z))]  # by one shuffle: a row may meet itself
        z = np.where(rng.random(z.shape, dtype=np.float32) < MIXED * strength, other, z)
    return _noisy(z, encoding, NOISE * strength, rng)


def strongest_kept(
    answers_at: Callable[[float], Callable[[Encoded], Floats]],
    z: Encoded,
    y: Integers,
    encoding: Encoding,
    rng: np.random.Generator,
) -> float:
    """The largest of `STRENGTHS` that keeps the classes y (N,) of rows z (N, ...).

    `answers_at(strength)` gives the answers (N, C) of a network that was not trained on these rows,
    and where it is trained here was trained on others at that strength. It must stay as right on
    copies as on the rows, within `augmentation_loss` and one standard error.
    """
    for strength in STRENGTHS:
        answers = answers_at(strength)
        plain = float((answers(z).argmax(axis=1) == y).mean())
        copies = [strong(z, encoding, strength=strength, rng=rng) for _ in range(COPIES)]
        kept = float(np.mean([(answers(copy).argmax(axis=1) == y).mean() for copy in copies]))
        if kept >= plain - DEFAULT.augmentation_loss - math.sqrt(plain * (1 - plain) / len(y)):
            return strength
    return 0.0


def votes(
    bundle: Bundle, x: Rows, state: State | None = None, *, rng: np.random.Generator
) -> Floats:
    """Calibrated probabilities (V, N, C) whose agreement tells how sure a version is.

    Those of its members. A version of one member votes with `VIEWS` views of each row instead: the
    row itself and weakly augmented copies. Rows are read in `state`.
    """
    if len(bundle.members) > 1:
        return bundle.member_probabilities(x, state)
    z = bundle.encode(x, state)
    views = [z, *(_weak(z, bundle, rng) for _ in range(VIEWS - 1))]
    return np.concatenate([bundle.calibrated(bundle.encoded_logits(view)) for view in views])


def _weak(z: Encoded, bundle: Bundle, rng: np.random.Generator) -> Encoded:
    """A share of the strong change; of a vector only its noise: no column of another row."""
    encoding = bundle.encoding
    if isinstance(encoding, Tokens) or encoding.is_image:
        strength = WEAK * max(bundle.strength, STRENGTHS[-2])
        return strong(z, encoding, strength=strength, rng=rng)
    return _noisy(z, encoding, WEAK * NOISE, rng)


def _noisy(
    z: Floats, encoding: Normalisation, deviations: float, rng: np.random.Generator
) -> Floats:
    return z + np.float32(deviations) * encoding.unit * rng.standard_normal(
        z.shape, dtype=np.float32
    )


def _moved(z: Floats, strength: float, rng: np.random.Generator) -> Floats:
    """Images (N, H, W) or (N, C, H, W), each turned, zoomed and moved by its own draw; what comes
    in repeats the border.
    """
    n = len(z)
    images_NCHW = torch.from_numpy(z.reshape(n, -1, *z.shape[-2:]))
    angle, zoom, right, down = rng.uniform(-1, 1, size=(4, n)) * strength
    angle = angle * math.radians(DEGREES)
    scale = 1 + zoom * ZOOM
    ratio = z.shape[-2] / z.shape[-1]  # of pixels: the grid's axes both run from -1 to 1
    theta_N23 = np.empty((n, 2, 3))
    theta_N23[:, 0] = np.stack(
        [scale * np.cos(angle), -scale * np.sin(angle) * ratio, 2 * MOVE * right], axis=1
    )
    theta_N23[:, 1] = np.stack(
        [scale * np.sin(angle) / ratio, scale * np.cos(angle), 2 * MOVE * down], axis=1
    )
    grid = F.affine_grid(
        torch.from_numpy(theta_N23).float(), list(images_NCHW.shape), align_corners=False
    )
    moved = F.grid_sample(images_NCHW, grid, padding_mode="border", align_corners=False)
    return np.asarray(moved.numpy().reshape(z.shape))


def _thinned(tokens: Integers, share: float, rng: np.random.Generator) -> Integers:
    """Tokens left out by chance; those that stay move up, and no row that had one loses its
    last.
    """
    dropped = rng.random(tokens.shape, dtype=np.float32) < share
    dropped &= (~dropped & (tokens > 0)).any(axis=1, keepdims=True)
    return pushed_forward(np.where(dropped, 0, tokens))
