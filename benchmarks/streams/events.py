"""Streams in which something happens that no gradual drift is: jumps, strangers, noise, odd orders
and odd sizes.
"""

from __future__ import annotations

import math

import numpy as np

from acclimate.learning.data import NONE_OF_THE_CLASSES
from acclimate.learning.spec import InputSpec
from benchmarks.streams.draws import Digits, Gaussians
from benchmarks.streams.stream import Definition, Stream, names, shown

JUMP_AT = 4
NEW_AT = 4
JUNK_AT = (4, 8)
SIZES = (300, 20, 60, 150, 400, 5000, 80, 100, 1200, 30, 2500, 200)


def jump(seed: int) -> Stream:
    """Upright for three windows, then turned by 70 degrees at once and for ever."""
    source, rng = Digits.shuffled(seed), np.random.default_rng([seed, 50])
    return source.stream([source.window(0 if n < JUMP_AT else 70, rng) for n in range(1, 11)])


def jump_vector(seed: int) -> Stream:
    classes, rng = Gaussians.placed(seed), np.random.default_rng([seed, 51])
    first = classes.of(classes.uniform(600, rng), rng)
    turns = [0.0 if n < JUMP_AT else 0.4 * math.pi for n in range(1, 11)]
    return classes.stream(
        first, [classes.of(classes.uniform(300, rng), rng, turn=turn) for turn in turns]
    )


def recurring(seed: int) -> Stream:
    """Turned by up to 40 degrees and back, twice."""
    source, rng = Digits.shuffled(seed), np.random.default_rng([seed, 52])
    degrees = [*range(8, 41, 8), *range(32, -1, -8)] * 2
    return source.stream([source.window(angle, rng) for angle in degrees])


def new_class(seed: int) -> Stream:
    """The nine is unknown: absent from the seed set and its classes, it arrives in the fourth
    window of slowly turning digits.
    """
    source, rng = Digits.shuffled(seed), np.random.default_rng([seed, 53])
    known = np.flatnonzero(source.y != 9)
    windows = []
    for n in range(1, 11):
        rows = rng.permutation(known if n < NEW_AT else len(source.y))[:300]
        x, y = source.window(3 * n, rng, rows=rows)
        windows.append(shown(x, np.where(y == 9, NONE_OF_THE_CLASSES, y)))
    whole = source.stream([])
    seen = whole.seed_y != 9
    return Stream(
        input=InputSpec(kind="image", shape=(8, 8), classes=names(9)),
        network=whole.network,
        seed_x=whole.seed_x[seen],
        seed_y=whole.seed_y[seen],
        windows=tuple(windows),
    )


def junk(seed: int) -> Stream:
    """Slowly turning digits; two windows are noise."""
    source, rng = Digits.shuffled(seed), np.random.default_rng([seed, 54])
    windows = []
    for n in range(1, 13):
        x, y = source.window(4 * n, rng)
        if n in JUNK_AT:
            x, y = (
                rng.uniform(0, 16, size=x.shape).astype(np.float32),
                np.full(len(y), NONE_OF_THE_CLASSES),
            )
        windows.append((x, y))
    return source.stream(windows)


def class_ordered(seed: int) -> Stream:
    """Slowly turning digits; inside each window all zeros come first, then all ones, and so on."""
    source, rng = Digits.shuffled(seed), np.random.default_rng([seed, 55])
    windows = []
    for n in range(1, 13):
        x, y = source.window(4 * n, rng)
        order = np.argsort(y, kind="stable")
        windows.append((x[order], y[order]))
    return source.stream(windows)


def sizes(seed: int) -> Stream:
    """Slowly turning classes in windows of 20 to 5,000 rows; too few rows wait for the next window,
    as the service has it.
    """
    classes, rng = Gaussians.placed(seed), np.random.default_rng([seed, 56])
    first = classes.of(classes.uniform(600, rng), rng)
    turns = np.cumsum(np.sqrt(SIZES)) / np.sqrt(SIZES).sum() * 0.3 * math.pi
    windows = [
        classes.of(classes.uniform(rows, rng), rng, turn=turn)
        for rows, turn in zip(SIZES, turns, strict=True)
    ]
    return classes.stream(first, windows)


def duplicates(seed: int) -> Stream:
    """Slowly turning digits as 64 numbers; in each window six rows of ten are copies of the same
    five rows.
    """
    source, rng = Digits.shuffled(seed), np.random.default_rng([seed, 57])
    windows = []
    for n in range(1, 13):
        x, y = source.window(4 * n, rng)
        rows = np.concatenate([np.arange(120), np.repeat(np.arange(5), 36)])
        rows = rng.permutation(rows)
        windows.append((x[rows], y[rows]))
    return source.stream(windows, flat=True)


def fifty(seed: int) -> Stream:
    """Fifty windows in which nothing happens."""
    classes, rng = Gaussians.placed(seed), np.random.default_rng([seed, 58])
    first = classes.of(classes.uniform(600, rng), rng)
    return classes.stream(first, [classes.of(classes.uniform(300, rng), rng) for _ in range(50)])


DEFINITIONS = (
    Definition(
        name="jump",
        family="event",
        about="digits upright for 3 windows, then turned by 70 degrees at once and for ever; cnn",
        build=jump,
        gap=True,
        jump_at=JUMP_AT,
        marked=(JUMP_AT,),
    ),
    Definition(
        name="jump-vector",
        family="event",
        about="5 classes still for 3 windows, then all planes turned by 72 degrees at once; mlp",
        build=jump_vector,
        gap=True,
        jump_at=JUMP_AT,
        marked=(JUMP_AT,),
    ),
    Definition(
        name="recurring",
        family="event",
        about="digits that turn by up to 40 degrees and back, twice; cnn",
        build=recurring,
        gap=True,
    ),
    Definition(
        name="new-class",
        family="event",
        about="slowly turning digits without nines; nines come from window 4 on; cnn",
        build=new_class,
        marked=(NEW_AT,),
    ),
    Definition(
        name="junk",
        family="event",
        about="slowly turning digits, windows 4 and 8 are noise; cnn",
        build=junk,
        gap=True,
        marked=JUNK_AT,
    ),
    Definition(
        name="class-ordered",
        family="event",
        about="slowly turning digits, each window sorted by class; cnn",
        build=class_ordered,
        gap=True,
    ),
    Definition(
        name="sizes",
        family="event",
        about="slowly turning classes in windows of 20 to 5,000 rows; mlp",
        build=sizes,
        gap=True,
    ),
    Definition(
        name="duplicates",
        family="event",
        about="slowly turning digits of which six rows of ten are copies of five; mlp",
        build=duplicates,
        gap=True,
    ),
    Definition(
        name="fifty",
        family="event",
        about="5 overlapping classes, 50 windows of 300 without drift; mlp",
        build=fifty,
    ),
)
