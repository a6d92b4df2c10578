"""Streams written after the rules were fixed, and first played on seeds 7 to 11. Turning moons then
moved one rule (0022).
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage
from sklearn.datasets import make_moons

from acclimate.learning.data import Floats
from acclimate.learning.spec import NetworkSpec
from benchmarks.streams.draws import Digits
from benchmarks.streams.stream import Definition, Stream, images, read, shown, vectors

MNIST_SEED, MNIST_WINDOW = 2_000, 500
SMALLEST = 0.6
"""Of a digit's width in the last window."""


def mnist_blur(seed: int) -> Stream:
    """14x14 by the mean of 2x2 pixels; from window to window the lens is further out of focus, and
    the light less.
    """
    arrays, rng = read("mnist70k"), np.random.default_rng([seed, 51])
    rows = rng.permutation(np.flatnonzero(arrays["t"] == 0))[: MNIST_SEED + 10 * MNIST_WINDOW]
    x = arrays["x"][rows].reshape(-1, 14, 2, 14, 2).mean(axis=(2, 4), dtype=np.float32)
    y = arrays["y"][rows]
    windows = []
    for n in range(1, 11):
        part = slice(MNIST_SEED + MNIST_WINDOW * (n - 1), MNIST_SEED + MNIST_WINDOW * n)
        blurred = ndimage.gaussian_filter(x[part], sigma=(0, 0.2 * n, 0.2 * n), mode="constant")
        windows.append(shown((1 - 0.05 * n) * blurred, y[part]))
    return Stream(
        input=images((14, 14), 10),
        network=NetworkSpec(network="mlp"),
        seed_x=x[:MNIST_SEED],
        seed_y=y[:MNIST_SEED],
        windows=tuple(windows),
    )


def digits_shrink(seed: int) -> Stream:
    """scikit-learn's digits, which come from farther and farther away."""
    source, windows = Digits.shuffled(seed), []
    for n in range(1, 13):
        x, y = source.window(0, np.random.default_rng([seed, 52, n]))
        windows.append((_farther(x, 1 - (1 - SMALLEST) * n / 12), y))
    return source.stream(windows)


def _farther(x: Floats, width: float) -> Floats:
    """Images (N, H, W), of which each becomes so much smaller around its middle."""
    middle = (x.shape[1] - 1) / 2
    offset = middle - middle / width
    how = {
        "offset": offset,
        "order": 1,
        "mode": "grid-constant",
    }  # "constant" loses the whole border line at once
    return np.stack([ndimage.affine_transform(image, [1 / width] * 2, **how) for image in x])


def moons_turn(seed: int) -> Stream:
    """Two moons in the plane, which turn by 75 degrees."""
    rng = np.random.default_rng([seed, 53])

    def drawn(rows: int, degrees: float) -> tuple[Floats, np.ndarray]:
        x, y = make_moons(rows, noise=0.15, random_state=int(rng.integers(2**31)))
        angle = np.deg2rad(degrees)
        return (x - [0.5, 0.25]) @ np.array(
            [[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]]
        ), y

    seed_x, seed_y = drawn(500, 0)
    return Stream(
        input=vectors(2, 2),
        network=NetworkSpec(network="mlp"),
        seed_x=seed_x.astype(np.float32),
        seed_y=seed_y.astype(np.int64),
        windows=tuple(shown(*drawn(300, 75 * n / 12)) for n in range(1, 13)),
    )


def still_gas(seed: int) -> Stream:
    """Gas sensors of the first three batches, shuffled together: real readings of 128 columns
    without drift.
    """
    arrays, rng = read("gasdrift_8of10"), np.random.default_rng([seed, 54])
    rows = rng.permutation(np.flatnonzero(np.isin(arrays["t"], np.unique(arrays["t"])[:3])))
    x, y = arrays["x"][rows].astype(np.float32), arrays["y"][rows]
    return Stream(
        input=vectors(x.shape[1], int(arrays["y"].max()) + 1),
        network=NetworkSpec(network="mlp"),
        seed_x=x[:450],
        seed_y=y[:450],
        windows=tuple(
            shown(x[part], y[part]) for part in np.array_split(np.arange(450, len(y)), 8)
        ),
    )


DEFINITIONS = (
    Definition(
        name="mnist-blur",
        family="fresh",
        about="MNIST at 14x14, 2,000 seed rows, out of focus and darker from window to window, "
        "10 windows of 500; mlp",
        build=mnist_blur,
        file="mnist70k",
        gap=True,
    ),
    Definition(
        name="digits-shrink",
        family="fresh",
        about="scikit-learn's digits, down to 0.6 of their width in 12 windows of 300; cnn",
        build=digits_shrink,
        gap=True,
    ),
    Definition(
        name="moons-turn",
        family="fresh",
        about="two moons in the plane, which turn by 75 degrees in 12 windows of 300; mlp",
        build=moons_turn,
        gap=True,
    ),
    Definition(
        name="still-gas",
        family="fresh",
        about="gas sensors of three batches shuffled together, 8 windows; mlp",
        build=still_gas,
        file="gasdrift_8of10",
    ),
)
