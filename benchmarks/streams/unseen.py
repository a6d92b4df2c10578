"""Streams written when every rule stood, of kinds that no rule was chosen on; nothing was changed
for them afterwards.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy import ndimage
from sklearn.datasets import make_circles, make_moons

from acclimate.learning.data import Floats, Integers
from acclimate.learning.spec import InputSpec, NetworkSpec
from benchmarks.streams.draws import Digits, Rng
from benchmarks.streams.stream import Definition, Shown, Stream, images, read, shown, vectors

WINDOWS, ROWS, SEED_ROWS = 12, 300, 500
SENSORS, GASES = 12, 4
TOPICS, WORDS, LENGTH = 4, 30, 12


def _plane(
    rng: Rng, seed: tuple[Floats, Integers], windows: list[tuple[Floats, Integers]]
) -> Stream:
    """A stream of vectors, whose columns a linear map of the seed's own scrambles first: no axis
    means anything.
    """
    size = seed[0].shape[1]
    scramble = np.linalg.qr(rng.normal(size=(size, size)))[0]
    return Stream(
        input=vectors(size, int(seed[1].max()) + 1),
        network=NetworkSpec(network="mlp"),
        seed_x=(seed[0] @ scramble).astype(np.float32),
        seed_y=seed[1].astype(np.int64),
        windows=tuple(shown(x @ scramble, y) for x, y in windows),
    )


def moons_shift(seed: int) -> Stream:
    """Two moons in the plane, which move by as much as they are wide, across their gap."""
    rng = np.random.default_rng([seed, 61])

    def drawn(rows: int, n: int) -> tuple[Floats, Integers]:
        x, y = make_moons(rows, noise=0.12, random_state=int(rng.integers(2**31)))
        return x + np.array([0.0, 1.2 * n / WINDOWS]), y

    return _plane(rng, drawn(SEED_ROWS, 0), [drawn(ROWS, n) for n in range(1, WINDOWS + 1)])


def circles_grow(seed: int) -> Stream:
    """A ring around a disc, both of which grow until the disc is where the ring was at first."""
    rng = np.random.default_rng([seed, 62])

    def drawn(rows: int, n: int) -> tuple[Floats, Integers]:
        x, y = make_circles(rows, noise=0.07, factor=0.5, random_state=int(rng.integers(2**31)))
        return x * (1 + n / WINDOWS), y

    return _plane(rng, drawn(SEED_ROWS, 0), [drawn(ROWS, n) for n in range(1, WINDOWS + 1)])


def sensors_age(seed: int) -> Stream:
    """Twelve positive readings of four gases; each sensor loses or wins sensitivity at its own
    pace, up to threefold.
    """
    rng = np.random.default_rng([seed, 63])
    levels = rng.uniform(1, 5, size=(GASES, SENSORS))
    pace = rng.uniform(-np.log(3), np.log(3), size=SENSORS)

    def drawn(rows: int, n: int) -> tuple[Floats, Integers]:
        y = rng.integers(GASES, size=rows)
        dose = rng.lognormal(0, 0.25, size=(rows, 1))
        return levels[y] * dose * rng.lognormal(0, 0.15, size=(rows, SENSORS)) * np.exp(
            pace * n / WINDOWS
        ), y

    first = drawn(SEED_ROWS, 0)
    windows = [drawn(ROWS, n) for n in range(1, WINDOWS + 1)]
    return Stream(
        input=vectors(SENSORS, GASES),
        network=NetworkSpec(network="mlp"),
        seed_x=first[0].astype(np.float32),
        seed_y=first[1].astype(np.int64),
        windows=tuple(shown(x, y) for x, y in windows),
    )


def rare_class(seed: int) -> Stream:
    """Two classes in ten columns, one row in ten of the rarer one; both wander the same way,
    farther than they are apart.
    """
    rng = np.random.default_rng([seed, 64])
    apart, way = rng.normal(size=(2, 10))
    apart *= 3.5 / np.linalg.norm(apart)
    way -= apart * (way @ apart) / (apart @ apart)
    way = 5 * (way / np.linalg.norm(way) + 0.8 * apart / 3.5)

    def drawn(rows: int, n: int) -> tuple[Floats, Integers]:
        y = (rng.uniform(size=rows) < 0.1).astype(np.int64)
        return rng.normal(size=(rows, 10)) + y[:, None] * apart + way * n / (2 * WINDOWS), y

    return _plane(rng, drawn(800, 0), [drawn(ROWS, n) for n in range(1, WINDOWS + 1)])


def turning_rule(seed: int) -> Stream:
    """Inputs stay; what they mean turns by 90 degrees. No label-free learner can know it: as
    version 1 is the best there is.
    """
    rng = np.random.default_rng([seed, 65])

    def drawn(rows: int, n: int) -> tuple[Floats, Integers]:
        x, angle = rng.normal(size=(rows, 6)), np.deg2rad(90 * n / WINDOWS)
        return x, (x[:, 0] * np.cos(angle) + x[:, 1] * np.sin(angle) > 0).astype(np.int64)

    return _plane(rng, drawn(SEED_ROWS, 0), [drawn(ROWS, n) for n in range(1, WINDOWS + 1)])


def digits_fade(seed: int) -> Stream:
    """scikit-learn's digits: the paper becomes grey while the ink fades, to three tenths of the
    contrast.
    """

    def fade(x: Floats, n: int, rng: Rng) -> Floats:
        return 16 * 0.45 * n / WINDOWS + x * (1 - 0.7 * n / WINDOWS)

    return _digits(seed, 66, fade)


def digits_noise(seed: int) -> Stream:
    """scikit-learn's digits under noise that rises to a third of full ink."""

    def noise(x: Floats, n: int, rng: Rng) -> Floats:
        return np.clip(x + rng.normal(0, 16 * 0.35 * n / WINDOWS, size=x.shape), 0, 16)

    return _digits(seed, 67, noise)


def digits_slant(seed: int) -> Stream:
    """scikit-learn's digits, written more and more aslant."""

    def slant(x: Floats, n: int, rng: Rng) -> Floats:
        shear = np.array([[1.0, 0.0], [0.75 * n / WINDOWS, 1.0]])
        middle = np.array([3.5, 3.5])
        how = {"offset": middle - shear @ middle, "order": 1, "mode": "grid-constant"}
        return np.stack([ndimage.affine_transform(image, shear, **how) for image in x])

    return _digits(seed, 68, slant)


def _digits(seed: int, key: int, change: Callable[[Floats, int, Rng], Floats]) -> Stream:
    source, windows = Digits.shuffled(seed), []
    for n in range(1, WINDOWS + 1):
        rng = np.random.default_rng([seed, key, n])
        x, y = source.window(0, rng)
        windows.append((change(x, n, rng).astype(np.float32), y))
    return source.stream(windows)


def words_replaced(seed: int) -> Stream:
    """Short texts of four topics, whose words are replaced one after another by new ones that mean
    the same.
    """
    rng = np.random.default_rng([seed, 69])
    names = [f"w{rng.integers(10**6):06d}x{number}" for number in range(TOPICS * WORDS * 2 + 200)]
    topical = np.array(names[: TOPICS * WORDS * 2]).reshape(TOPICS, WORDS, 2)
    common = np.array(names[TOPICS * WORDS * 2 :])

    def drawn(rows: int, n: int) -> tuple[np.ndarray, Integers]:
        y = rng.integers(TOPICS, size=rows)
        gone = np.arange(WORDS) < WORDS * 0.9 * n / WINDOWS
        texts = []
        for topic in y:
            word = rng.integers(WORDS, size=LENGTH)
            of_topic = topical[topic, word, gone[word].astype(int)]
            texts.append(
                " ".join(
                    np.where(rng.uniform(size=LENGTH) < 0.35, of_topic, rng.choice(common, LENGTH))
                )
            )
        return np.array(texts, dtype=object).reshape(-1, 1), y

    seed_x, seed_y = drawn(SEED_ROWS, 0)
    return Stream(
        input=InputSpec(kind="text", shape=(1,), classes=("a", "b", "c", "d")),
        network=NetworkSpec(network="text"),
        seed_x=seed_x,
        seed_y=seed_y,
        windows=tuple(shown(*drawn(ROWS, n)) for n in range(1, WINDOWS + 1)),
    )


def speech_noise(seed: int) -> Stream:
    """Spoken digits of six speakers as spectrograms; from window to window there is more noise
    behind them.
    """
    arrays, rng = read("fsdd_logmel"), np.random.default_rng([seed, 70])
    rows = rng.permutation(len(arrays["y"]))
    x, y = arrays["x"][rows].astype(np.float32), arrays["y"][rows]
    windows: list[Shown] = []
    for n, part in enumerate(np.array_split(np.arange(1_000, len(y)), 8), start=1):
        floor = rng.normal(30 + 12 * n, 8, size=x[part].shape)
        windows.append(shown(np.clip(np.maximum(x[part], floor), 0, 255), y[part]))
    return Stream(
        input=images(x.shape[1:], 10),
        network=NetworkSpec(network="cnn"),
        seed_x=x[:1_000],
        seed_y=y[:1_000],
        windows=tuple(windows),
    )


DEFINITIONS = tuple(
    Definition(name=name, family="unseen", about=about, build=build, file=file, gap=gap)
    for name, about, build, file, gap in (
        (
            "moons-shift",
            "two moons that move across their gap, 12 windows of 300; mlp",
            moons_shift,
            None,
            True,
        ),
        (
            "circles-grow",
            "a ring around a disc, both grow to twice their size; mlp",
            circles_grow,
            None,
            True,
        ),
        (
            "sensors-age",
            "12 sensors of 4 gases, sensitivities drift up to threefold; mlp",
            sensors_age,
            None,
            True,
        ),
        (
            "rare-class",
            "two classes, nine to one, that wander in ten columns; mlp",
            rare_class,
            None,
            True,
        ),
        (
            "turning-rule",
            "inputs stay, what they mean turns by 90 degrees; mlp",
            turning_rule,
            None,
            False,
        ),
        ("digits-fade", "scikit-learn's digits on ever greyer paper; cnn", digits_fade, None, True),
        ("digits-noise", "scikit-learn's digits under rising noise; cnn", digits_noise, None, True),
        (
            "digits-slant",
            "scikit-learn's digits, more and more aslant; cnn",
            digits_slant,
            None,
            True,
        ),
        (
            "words-replaced",
            "texts of four topics whose words are replaced by new ones; text",
            words_replaced,
            None,
            True,
        ),
        (
            "speech-noise",
            "spoken digits under rising noise, 8 windows of 250; cnn",
            speech_noise,
            "fsdd_logmel",
            True,
        ),
    )
)
