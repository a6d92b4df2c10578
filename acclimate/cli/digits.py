"""A drifting stream for the demo: scikit-learn's handwritten digits, rotated slowly."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from acclimate.client.errors import ClientError

Floats = NDArray[np.float32]
Integers = NDArray[np.int64]

SEED_ROWS = 897
WINDOW_ROWS = 300
DEGREES = tuple(range(5, 55, 5))
SPREAD = 2.5
"""Largest deviation of a row's angle from the angle of its window, in degrees."""
JUNK_AFTER = 3
MARK = "permuted on purpose"

SPEC = """\
# Handwritten digits, 8 x 8 pixels; prepare.py or `acclimate demo` writes seed.npz beside it.
[model]
name = "{name}"
network = "cnn"
[model.network_args]
channels = [16, 32]
hidden = [128]

[input]
kind = "image"
shape = [8, 8]  # [height, width], or [channels, height, width]; raw values, here 0 to 16
classes = ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"]

[seed]
path = "seed.npz"

[policy]
schedule = "never"  # `acclimate play` asks for every run
on_drift = false
max_rows = 0
"""


class MissingExtraError(ClientError):
    """A package of an extra is not installed; the message names the extra."""


@dataclass(frozen=True, kw_only=True)
class Stream:
    """Labeled rows in the order of their windows: x (N, 8, 8) in 0..16, y (N,), window numbers t
    (N,) from 1, and marks by window number.
    """

    x: Floats
    y: Integers
    t: NDArray[np.int32]
    marks: dict[int, str]

    def save(self, path: Path) -> None:
        """Write x, y, t and the marks (as JSON in `meta`) to an .npz file."""
        meta = json.dumps({"marks": {str(window): text for window, text in self.marks.items()}})
        np.savez_compressed(path, x=self.x, y=self.y, t=self.t, meta=np.array(meta))


def make(seed: int = 0) -> tuple[Floats, Integers, Stream]:
    """Seed set x (897, 8, 8), y (897,), and the drifting stream.

    The 1,797 digits are shuffled once. 897 are the seed set. The other 900 make ten windows of 300
    rows, rotated by 5, 10, ... 50 degrees, plus or minus up to 2.5 degrees per row. Each window
    samples without replacement, so that a digit appears about three times, at different angles.
    After the third window there is a marked window of junk: 300 digits whose 64 pixels are permuted
    differently in each row. Raises `MissingExtraError` without scikit-learn.
    """
    try:
        from sklearn.datasets import load_digits
    except ModuleNotFoundError:
        raise MissingExtraError(
            "the digits need scikit-learn: install the extra acclimate[demo]"
        ) from None
    rng = np.random.default_rng(seed)
    images, labels = load_digits(return_X_y=True)
    order = rng.permutation(len(labels))
    x = images[order].astype(np.float32).reshape(-1, 8, 8)
    y = labels[order].astype(np.int64)
    pool_x = x[SEED_ROWS:]
    pool_y = y[SEED_ROWS:]
    windows: list[tuple[Floats, Integers]] = []
    for degrees in DEGREES:
        drawn = rng.permutation(len(pool_y))[:WINDOW_ROWS]
        windows.append(
            (
                turn(pool_x[drawn], degrees + rng.uniform(-SPREAD, SPREAD, WINDOW_ROWS)),
                pool_y[drawn],
            )
        )
    drawn = rng.permutation(len(pool_y))[:WINDOW_ROWS]
    windows.insert(
        JUNK_AFTER,
        (rng.permuted(pool_x[drawn].reshape(-1, 64), axis=1).reshape(-1, 8, 8), pool_y[drawn]),
    )
    stream = Stream(
        x=np.concatenate([window[0] for window in windows]),
        y=np.concatenate([window[1] for window in windows]),
        t=np.repeat(np.arange(1, len(windows) + 1, dtype=np.int32), WINDOW_ROWS),
        marks={JUNK_AFTER + 1: MARK},
    )
    return x[:SEED_ROWS], y[:SEED_ROWS], stream


def turn(x: Floats, degrees: NDArray[np.float64]) -> Floats:
    """Rotate each digit of x (N, 8, 8) about its centre, by angles `degrees` (N,), with linear
    interpolation and zeros outside the image.
    """
    from scipy.ndimage import rotate  # type: ignore[import-untyped]  # comes with scikit-learn

    # grid-constant: zeros begin beyond the border; "constant" loses the border pixels at 1 degree.
    turned = [
        rotate(image, angle, reshape=False, order=1, mode="grid-constant")
        for image, angle in zip(x, degrees, strict=True)
    ]
    return np.asarray(turned, dtype=np.float32)


def write(folder: Path, *, name: str = "digits", seed: int = 0) -> Path:
    """Write spec.toml, seed.npz and stream.npz into the folder; returns the spec's path."""
    x, y, stream = make(seed)
    folder.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(folder / "seed.npz", x=x, y=y)
    stream.save(folder / "stream.npz")
    spec = folder / "spec.toml"
    spec.write_text(SPEC.format(name=name), encoding="utf-8")
    return spec
