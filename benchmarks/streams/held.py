"""Streams of other kinds, written before the guard of serving and its limits were chosen, and not
looked at while they were.
"""

from __future__ import annotations

import numpy as np
from sklearn.datasets import load_breast_cancer

from acclimate.learning.data import Floats, Integers
from acclimate.learning.spec import InputSpec, NetworkSpec
from benchmarks.streams.draws import Gaussians, Rng
from benchmarks.streams.gradual import FULL_TURN
from benchmarks.streams.stream import Definition, Stream, shown, vectors

WINDOWS, ROWS = 12, 300
Labelled = tuple[Floats, Integers]


def _stream(first: Labelled, windows: list[Labelled]) -> Stream:
    return Stream(
        input=vectors(first[0].shape[1], int(first[1].max()) + 1),
        network=NetworkSpec(network="mlp"),
        seed_x=np.asarray(first[0], dtype=np.float32),
        seed_y=np.asarray(first[1], dtype=np.int64),
        windows=tuple(shown(x, y) for x, y in windows),
    )


def subjects(seed: int) -> Stream:
    """Five classes in 20 columns; each subject has gains, offsets and class shares of its own, and
    each window has three new ones.
    """
    rng = np.random.default_rng([seed, 91])
    centers = rng.normal(size=(5, 20))

    def subject(rows: int) -> Labelled:
        y = rng.choice(5, size=rows, p=rng.dirichlet(np.ones(5)))
        gain, offset = np.exp(rng.normal(0, 0.4, 20)), rng.normal(0, 0.7, 20)
        return (centers[y] + rng.normal(0, 0.9, (rows, 20))) * gain + offset, y

    def drawn(number: int, rows: int) -> Labelled:
        x, y = zip(*(subject(rows) for _ in range(number)), strict=True)
        order = rng.permutation(number * rows)
        return np.concatenate(x)[order], np.concatenate(y)[order]

    first = drawn(8, 120)
    return _stream(first, [drawn(3, 100) for _ in range(WINDOWS)])


def vanishing_class(seed: int) -> Stream:
    """Three overlapping classes turn slowly; one of them is all but gone for five windows."""
    classes, rng = Gaussians.placed(seed, classes=3, size=8), np.random.default_rng([seed, 92])
    windows = []
    for n in range(1, WINDOWS + 1):
        share = np.array([0.01, 0.6, 0.39]) if 4 <= n <= 8 else np.full(3, 1 / 3)
        y = rng.choice(3, size=ROWS, p=share)
        windows.append(classes.of(y, rng, turn=0.6 * FULL_TURN * n / WINDOWS))
    return _stream(classes.of(classes.uniform(600, rng), rng), windows)


def rounds(seed: int) -> Stream:
    """Texts of two classes, most sent two to six times; shares swing, words are replaced."""
    rng = np.random.default_rng([seed, 93])
    topical = [[f"t{c}x{number}" for number in range(80)] for c in range(2)]
    common = [f"c{number}" for number in range(300)]

    def text(y: int, n: int) -> str:
        first = 40 * n // WINDOWS
        own = rng.choice(topical[y][first : first + 40], size=12)
        other = rng.choice(topical[1 - y][first : first + 40], size=12)
        words = np.where(rng.uniform(size=12) < 0.15, own, rng.choice(common, size=12))
        return " ".join(np.where(rng.uniform(size=12) < 0.05, other, words))

    def drawn(rows: int, n: int, spam: float) -> tuple[np.ndarray, Integers]:
        texts: list[str] = []
        y: list[int] = []
        while len(y) < rows:
            label = int(rng.uniform() < spam)
            times = int(rng.integers(2, 7)) if rng.uniform() < 0.7 else 1
            texts += [text(label, n)] * times
            y += [label] * times
        order = rng.permutation(len(y))[:rows]
        return np.array(texts, dtype=object)[order].reshape(-1, 1), np.array(y)[order]

    shares = (0.5, 0.4, 0.1, 0.05, 0.05, 0.2, 0.7, 0.8, 0.5, 0.1, 0.03, 0.4)
    seed_x, seed_y = drawn(900, 0, 0.5)
    return Stream(
        input=InputSpec(kind="text", shape=(1,), classes=("ham", "spam")),
        network=NetworkSpec(network="text"),
        seed_x=seed_x,
        seed_y=seed_y,
        windows=tuple(shown(*drawn(400, n, share)) for n, share in enumerate(shares, start=1)),
    )


def weekend(seed: int) -> Stream:
    """Six sensors of a place that is used on five days of seven; each day has its own weather."""
    rng = np.random.default_rng([seed, 94])
    effect = rng.normal(0, 1.3, 6)
    weather = rng.normal(0, 1.0, 6)

    def day(n: int, rows: int, base: Floats) -> Labelled:
        busy = 0.02 if n % 7 in (5, 6) else 0.45
        y = (rng.uniform(size=rows) < busy).astype(np.int64)
        slow = rng.normal(0, 0.3, 6)
        x = base + slow + y[:, None] * effect + rng.normal(0, 0.8, (rows, 6))
        return x, y

    base = np.zeros(6)
    parts = [day(n, 250, base + rng.normal(0, 0.4, 6)) for n in range(3)]
    first = np.concatenate([x for x, _ in parts]), np.concatenate([y for _, y in parts])
    days = []
    for n in range(14):
        base = base + 0.12 * weather + rng.normal(0, 0.25, 6)
        days.append(day(n, 400, base))
    return _stream(first, days)


def cells(seed: int) -> Stream:
    """scikit-learn's breast cancer cells (30 measures); the microscope's scales wander."""
    data, rng = load_breast_cancer(), np.random.default_rng([seed, 95])
    order = rng.permutation(len(data.target))
    x, y = data.data[order], data.target[order]
    pace = rng.normal(0, 0.5, 30)

    def drawn(n: int) -> Labelled:
        rows = rng.permutation(np.arange(250, len(y)))[:220]
        noise = np.exp(rng.normal(0, 0.05, (220, 30)))
        return x[rows] * noise * np.exp(pace * n / WINDOWS), y[rows]

    return _stream((x[:250], y[:250]), [drawn(n) for n in range(1, WINDOWS + 1)])


def noisy_seed(seed: int) -> Stream:
    """Four classes that turn; of the seed set's labels 15 % are wrong."""
    classes, rng = Gaussians.placed(seed, classes=4, size=12), np.random.default_rng([seed, 96])
    x, y = classes.of(classes.uniform(700, rng), rng)
    wrong = rng.uniform(size=len(y)) < 0.15
    y = np.where(wrong, (y + rng.integers(1, 4, size=len(y))) % 4, y)
    windows = [
        classes.of(classes.uniform(ROWS, rng), rng, turn=0.8 * FULL_TURN * n / WINDOWS)
        for n in range(1, WINDOWS + 1)
    ]
    return _stream((x, y), windows)


def customers(seed: int) -> Stream:
    """Who leaves: amounts that inflate, habits as yes and no, and answers of which a fifth is
    chance.
    """
    rng = np.random.default_rng([seed, 97])
    weight_amount, weight_habit = rng.normal(0, 1.2, 5), rng.normal(0, 0.8, 10)

    def drawn(rows: int, n: int) -> Labelled:
        z = rng.normal(size=(rows, 5))
        habit = rng.uniform(size=(rows, 10)) < 0.3 + 0.2 * np.sin(n / 3 + np.arange(10))
        score = z @ weight_amount + (habit - 0.3) @ weight_habit + rng.logistic(0, 1.0, rows)
        amounts = np.exp(z * 0.6 + 0.08 * n)
        return np.concatenate([amounts, habit], axis=1), (score > 0.5).astype(np.int64)

    return _stream(drawn(900, 0), [drawn(400, n) for n in range(1, WINDOWS + 1)])


def there_and_back(seed: int) -> Stream:
    """Five classes that turn by 60 degrees in eight windows and back in eight."""
    classes, rng = Gaussians.placed(seed, apart=1.05), np.random.default_rng([seed, 98])
    turns = [*range(1, 9), *range(7, -1, -1)]
    windows = [
        classes.of(classes.uniform(ROWS, rng), rng, turn=np.deg2rad(60) * n / 8) for n in turns
    ]
    return _stream(classes.of(classes.uniform(600, rng), rng), windows)


def one_of_two(seed: int) -> Stream:
    """Two classes of four modes each; one mode after another moves across the other class's, at
    once.
    """
    rng = np.random.default_rng([seed, 99])
    modes = rng.normal(0, 2.2, (2, 4, 8))

    def drawn(rows: int, n: int, rng: Rng) -> Labelled:
        y, mode = rng.integers(2, size=rows), rng.integers(4, size=rows)
        moved = mode < n // 4
        where = np.where(moved[:, None], 0.6 * modes[1 - y, mode] + 0.4 * modes[y, mode], 0)
        x = np.where(moved[:, None], where, modes[y, mode]) + rng.normal(size=(rows, 8))
        return x, y

    return _stream(drawn(600, 0, rng), [drawn(ROWS, n, rng) for n in range(1, WINDOWS + 1)])


DEFINITIONS = tuple(
    Definition(name=name, family="held", about=about, build=build, gap=gap)
    for name, about, build, gap in (
        ("subjects", "5 classes, three new subjects in each window; mlp", subjects, True),
        (
            "vanishing-class",
            "3 classes that turn, one is gone for five windows; mlp",
            vanishing_class,
            True,
        ),
        ("rounds", "texts sent two to six times, shares swing, words change; text", rounds, True),
        ("weekend", "6 sensors, a place that is used five days of seven; mlp", weekend, True),
        ("cells", "scikit-learn's breast cancer, scales wander; mlp", cells, True),
        (
            "noisy-seed",
            "4 classes that turn, 15 % of the seed's labels wrong; mlp",
            noisy_seed,
            True,
        ),
        ("customers", "who leaves: amounts inflate, a fifth is chance; mlp", customers, False),
        ("there-and-back", "5 classes that turn by 60 degrees and back; mlp", there_and_back, True),
        ("one-of-two", "two classes, modes cross over one at a time; mlp", one_of_two, False),
    )
)
