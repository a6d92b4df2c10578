"""Streams whose class shares swing in blocks, with and without other drift; and real text whose
videos change.
"""

from __future__ import annotations

import numpy as np

from benchmarks.streams.draws import (
    Digits,
    Gaussians,
    drawn_by_class,
    few_classes_dominate,
    spec_of_text,
    spec_of_words,
    swinging,
    two_class_blocks,
)
from benchmarks.streams.gradual import FULL_TURN
from benchmarks.streams.stream import Definition, Shown, Stream, read, shown

ROWS = 300
WINDOWS = 12
BLOCK = 450
"""Rows with the same class shares: one and a half windows, so that most windows hold two blocks."""
WORDS_ROWS, WORDS_BLOCK, WORDS_WINDOWS = 200, 300, 10


def _classes(classes: int, rng: np.random.Generator) -> list[np.ndarray]:
    shares = few_classes_dominate(classes, WINDOWS * ROWS // BLOCK, rng)
    return swinging(shares, WINDOWS, ROWS, BLOCK, rng)


def prior_vector(seed: int) -> Stream:
    return _gaussians(seed, turn=0.0)


def prior_synthetic_turn(seed: int) -> Stream:
    return _gaussians(seed, turn=FULL_TURN)


def _gaussians(seed: int, *, turn: float) -> Stream:
    classes, rng = Gaussians.placed(seed), np.random.default_rng([seed, 40])
    first = classes.of(classes.uniform(600, rng), rng)
    blocks = _classes(classes.classes, rng)
    return classes.stream(
        first, [classes.of(y, rng, turn=turn * n / WINDOWS) for n, y in enumerate(blocks, start=1)]
    )


def prior_image(seed: int) -> Stream:
    return _digits(seed, degrees=0.0)


def prior_digits_turn(seed: int) -> Stream:
    return _digits(seed, degrees=5.0)


def _digits(seed: int, *, degrees: float) -> Stream:
    source, rng = Digits.shuffled(seed), np.random.default_rng([seed, 41])
    jitter = 2.5 if degrees else 1.0
    return source.stream(
        [source.of(y, degrees * n, rng, jitter=jitter) for n, y in enumerate(_classes(10, rng), 1)]
    )


def prior_words(seed: int) -> Stream:
    """Sparse binary words of all videos shuffled together; the share of spam swings between a tenth
    and 85 %.
    """
    arrays, rng = read("youtube_spam"), np.random.default_rng([seed, 42])
    order = rng.permutation(len(arrays["y"]))
    x, y = arrays["x"][order].astype(np.float32), arrays["y"][order]
    wanted = swinging(two_class_blocks(), WORDS_WINDOWS, WORDS_ROWS, WORDS_BLOCK, rng)
    spec, network = spec_of_words(x.shape[1])
    rows = [500 + drawn_by_class(y[500:], classes, rng) for classes in wanted]
    return Stream(
        input=spec,
        network=network,
        seed_x=x[:500],
        seed_y=y[:500],
        windows=tuple(shown(x[part], y[part]) for part in rows),
    )


def comments(seed: int) -> Stream:
    return _videos(seed, words=False)


def words(seed: int) -> Stream:
    return _videos(seed, words=True)


def _videos(seed: int, *, words: bool) -> Stream:
    """Comments of video 0 are the seed set, those of the others come by date; the seed only says
    how the seed set is split.
    """
    arrays = read("youtube_spam")
    y, video = arrays["y"], arrays["t"]
    x = arrays["x"].astype(np.float32) if words else arrays["text"].reshape(-1, 1).astype(object)
    spec, network = spec_of_words(x.shape[1]) if words else spec_of_text()
    windows: list[Shown] = []
    for number in range(1, 5):
        inside = np.flatnonzero(video == number)
        parts = np.array_split(inside, round(len(inside) / WORDS_ROWS))
        windows += [shown(x[rows], y[rows], f"video {number}") for rows in parts]
    return Stream(
        input=spec,
        network=network,
        seed_x=x[video == 0],
        seed_y=y[video == 0],
        windows=tuple(windows),
    )


DEFINITIONS = (
    Definition(
        name="prior-vector",
        family="prior",
        about="5 overlapping classes whose shares swing in blocks of 450 rows, 12 windows of "
        "300; mlp",
        build=prior_vector,
        gap=True,
    ),
    Definition(
        name="prior-words",
        family="prior",
        about="comments as 1,024 binary words, the share of spam swings in blocks of 300, 10 "
        "windows of 200; mlp",
        build=prior_words,
        file="youtube_spam",
        gap=True,
    ),
    Definition(
        name="prior-image",
        family="prior",
        about="upright digits of which three dominate each block, 12 windows of 300; cnn",
        build=prior_image,
    ),
    Definition(
        name="prior-digits-turn",
        family="prior",
        about="digits that turn 5 to 60 degrees while three dominate each block; cnn",
        build=prior_digits_turn,
        gap=True,
        turned=True,
    ),
    Definition(
        name="prior-synthetic-turn",
        family="prior",
        about="5 classes whose planes turn while their shares swing in blocks; mlp",
        build=prior_synthetic_turn,
        gap=True,
    ),
    Definition(
        name="comments",
        family="real",
        about="real comments, video 0 the seed set, videos 1 to 4 by date; text",
        build=comments,
        file="youtube_spam",
        gap=True,
    ),
    Definition(
        name="words",
        family="real",
        about="the same comments as 1,024 hashed binary words; mlp",
        build=words,
        file="youtube_spam",
        gap=True,
    ),
)
