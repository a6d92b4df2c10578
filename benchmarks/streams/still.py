"""Streams with nothing to learn: no change, harmless change; and change along the decision axis,
which only labels tell apart.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from acclimate.learning.spec import NetworkSpec
from benchmarks.streams.draws import Digits, Gaussians, spec_of_text, spec_of_words
from benchmarks.streams.stream import Definition, Stream, read, shown, vectors

ROWS = 300
WINDOWS = 16
BINARY_COLUMNS = 8
STEP = 0.15
"""Standard deviations that a shifting stream moves in each window."""


def still_vector(seed: int) -> Stream:
    classes, rng = Gaussians.placed(seed), np.random.default_rng([seed, 30])
    first = classes.of(classes.uniform(600, rng), rng)
    return classes.stream(
        first, [classes.of(classes.uniform(ROWS, rng), rng) for _ in range(WINDOWS)]
    )


def still_binary(seed: int) -> Stream:
    """Yes or no as weather has it: labels of which a fifth is chance, columns that sway with the
    season.
    """
    rng = np.random.default_rng([seed, 31])
    weights = rng.normal(size=BINARY_COLUMNS)
    weights *= 3.8 / np.linalg.norm(weights)

    def draw(rows: int, sway: float = 0.0) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        x = rng.normal(size=(rows, BINARY_COLUMNS))
        x[:, 0] += 0.2 * np.sin(sway)
        y = x @ weights + 1.2 * rng.logistic(size=rows) > 0.8
        return x.astype(np.float32), y.astype(np.int64)

    seed_x, seed_y = draw(700)
    windows = tuple(shown(*draw(ROWS, 2 * np.pi * n / 8)) for n in range(1, WINDOWS + 1))
    return Stream(
        input=vectors(BINARY_COLUMNS, 2),
        network=NetworkSpec(network="mlp"),
        seed_x=seed_x,
        seed_y=seed_y,
        windows=windows,
    )


def still_image(seed: int) -> Stream:
    """Upright digits; a degree of jitter, so that a row which comes again is not the same row."""
    source, rng = Digits.shuffled(seed), np.random.default_rng([seed, 32])
    return source.stream([source.window(0, rng, jitter=1.0) for _ in range(WINDOWS)])


def still_text(seed: int) -> Stream:
    return _comments(seed, words=False)


def still_words(seed: int) -> Stream:
    return _comments(seed, words=True)


def _comments(seed: int, *, words: bool) -> Stream:
    """Comments of all videos shuffled together: 350 for the seed set, the others in eight windows
    of 200.
    """
    arrays, rng = read("youtube_spam"), np.random.default_rng([seed, 33])
    order = rng.permutation(len(arrays["y"]))
    y = arrays["y"][order]
    x = (
        arrays["x"][order].astype(np.float32)
        if words
        else arrays["text"][order].reshape(-1, 1).astype(object)
    )
    spec, network = spec_of_words(x.shape[1]) if words else spec_of_text()
    parts = np.array_split(np.arange(350, len(y)), 8)
    return Stream(
        input=spec,
        network=network,
        seed_x=x[:350],
        seed_y=y[:350],
        windows=tuple(shown(x[rows], y[rows]) for rows in parts),
    )


def harmless(seed: int) -> Stream:
    """Two classes; the rows move in a direction in which no mode differs from another."""
    classes, rng = _two(seed), np.random.default_rng([seed, 34])
    apart = classes.modes.reshape(-1, classes.size) - classes.modes.mean(axis=(0, 1))
    _, _, axes = np.linalg.svd(apart)
    direction = axes[:3].T @ (axes[:3] @ (free := rng.normal(size=classes.size)))
    direction = (free - direction) / np.linalg.norm(free - direction)
    return _shifting(classes, direction, rng)


def axis_boundary(seed: int) -> Stream:
    """Two classes; all rows move along the line between their means, each keeps its class: the
    boundary moves with them.
    """
    classes, rng = _two(seed), np.random.default_rng([seed, 35])
    return _shifting(classes, _axis(classes), rng)


def axis_prior(seed: int) -> Stream:
    """Two classes; rows nearer one class come more and more, what a row is called stays as
    it was.
    """
    classes, rng = _two(seed), np.random.default_rng([seed, 36])
    first = classes.of(classes.uniform(600, rng), rng)
    axis, middle = _axis(classes), classes.modes.mean(axis=(0, 1))
    windows = []
    for n in range(1, 13):
        x, y = classes.of(classes.uniform(20 * ROWS, rng), rng)
        along = (x - middle) @ axis
        weight = np.exp(0.08 * n * along)
        rows = rng.choice(len(x), size=ROWS, replace=False, p=weight / weight.sum())
        windows.append((x[rows], y[rows]))
    return classes.stream(first, windows)


def _two(seed: int) -> Gaussians:
    return Gaussians.placed(seed, classes=2, apart=0.75)


def _axis(classes: Gaussians) -> NDArray[np.float64]:
    """The direction (D,) from the mean of the first class to that of the second."""
    between = classes.modes[1].mean(axis=0) - classes.modes[0].mean(axis=0)
    return np.asarray(between / np.linalg.norm(between))


def _shifting(
    classes: Gaussians, direction: NDArray[np.float64], rng: np.random.Generator
) -> Stream:
    first = classes.of(classes.uniform(600, rng), rng)
    windows = [
        classes.of(classes.uniform(ROWS, rng), rng, shift=STEP * n * direction)
        for n in range(1, 13)
    ]
    return classes.stream(first, windows)


DEFINITIONS = (
    Definition(
        name="still-vector",
        family="still",
        about="5 overlapping classes in 16 columns, 16 windows of 300; mlp",
        build=still_vector,
    ),
    Definition(
        name="still-binary",
        family="still",
        about="yes or no with a fifth of the labels by chance, columns that sway a little, 16 "
        "windows of 300; mlp",
        build=still_binary,
    ),
    Definition(
        name="still-image",
        family="still",
        about="upright digits, 16 windows of 300; cnn",
        build=still_image,
    ),
    Definition(
        name="still-text",
        family="still",
        about="comments of all videos shuffled together, 8 windows of 200; text",
        build=still_text,
        file="youtube_spam",
    ),
    Definition(
        name="still-words",
        family="still",
        about="the same comments as 1,024 hashed binary words; mlp",
        build=still_words,
        file="youtube_spam",
    ),
    Definition(
        name="harmless",
        family="still",
        about="two classes, rows that move by 1.8 standard deviations in a direction that "
        "tells nothing of the class; mlp",
        build=harmless,
    ),
    Definition(
        name="axis-boundary",
        family="axis",
        about="two classes that move along the line between them, the boundary with them; mlp",
        build=axis_boundary,
        gap=True,
    ),
    Definition(
        name="axis-prior",
        family="axis",
        about="two classes, rows nearer one of them come more and more, the boundary stays; mlp",
        build=axis_prior,
    ),
)
