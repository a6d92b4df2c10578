"""Real streams on which an earlier loop was played from outside: four of them were harmed by it."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from acclimate.learning.spec import NetworkSpec
from benchmarks.streams.draws import spec_of_words
from benchmarks.streams.stream import Definition, Stream, read, shown, vectors

MAIL_SEED, MAIL_ROWS = 1_865, 622
DAY = 1_440
"""Rows of a day: one a minute."""
SEED_PEOPLE, PEOPLE = 8, 4
"""People of the seed set, and of each window."""
GAS_ROWS = 300


def mail(seed: int) -> Stream:
    """Binary words of mails in their order; the share of spam goes from 60 to 1 % and back."""
    arrays = read("spam_assassin")
    x, y = arrays["x"].astype(np.float32), arrays["y"]
    spec, network = spec_of_words(x.shape[1])
    starts = range(MAIL_SEED, len(y), MAIL_ROWS)
    return Stream(
        input=spec,
        network=network,
        seed_x=x[:MAIL_SEED],
        seed_y=y[:MAIL_SEED],
        windows=tuple(shown(x[at : at + MAIL_ROWS], y[at : at + MAIL_ROWS]) for at in starts),
    )


def room(seed: int) -> Stream:
    """Is the room occupied: climate and light of an office, a day a window."""
    return _room(seed, columns=(0, 1, 2, 3, 4))


def room_dark(seed: int) -> Stream:
    """The same without the light sensor: it can hardly be followed."""
    return _room(seed, columns=(0, 1, 3, 4))


def _room(seed: int, *, columns: tuple[int, ...]) -> Stream:
    arrays, rng = read("occupancy"), np.random.default_rng([seed, 81])
    x, y, first = arrays["x"][:, columns], arrays["y"], arrays["part"] == 0
    later = np.flatnonzero(~first)
    days = [rng.permutation(later[at : at + DAY]) for at in range(0, len(later), DAY)]
    return _vectors(x, y, first, days)


def people(seed: int) -> Stream:
    """Six activities by the phone in the pocket, of eight people; four others in each window."""
    arrays, rng = read("wisdm_har"), np.random.default_rng([seed, 82])
    x, y, user = arrays["x"], arrays["y"], arrays["t"]
    others = np.unique(user[user > SEED_PEOPLE])
    groups = [others[at : at + PEOPLE] for at in range(0, len(others), PEOPLE)]
    windows = [rng.permutation(np.flatnonzero(np.isin(user, group))) for group in groups]
    return _vectors(x, y, user <= SEED_PEOPLE, windows)


def typing_backwards(seed: int) -> Stream:
    """Typing of four persons from the last session to the first."""
    arrays, rng = read("keystroke"), np.random.default_rng([seed, 83])
    session = arrays["t"]
    last = int(session.max())
    windows = [rng.permutation(np.flatnonzero(session == t)) for t in range(last - 1, -1, -1)]
    return _vectors(arrays["x"], arrays["y"], session == last, windows)


def gas_short(seed: int) -> Stream:
    """Gas sensors in windows of about 300 rows, each scored by itself."""
    arrays, rng = read("gasdrift_8of10"), np.random.default_rng([seed, 84])
    batch = arrays["t"]
    first, *later = np.unique(batch)
    windows: list[NDArray[np.intp]] = []
    for number in later:
        inside = rng.permutation(np.flatnonzero(batch == number))
        windows += np.array_split(inside, math.ceil(len(inside) / GAS_ROWS))
    return _vectors(arrays["x"], arrays["y"], batch == first, windows)


def _vectors(
    x: NDArray[np.float32],
    y: NDArray[np.int64],
    first: NDArray[np.bool_],
    windows: list[NDArray[np.intp]],
) -> Stream:
    return Stream(
        input=vectors(x.shape[1], int(y.max()) + 1),
        network=NetworkSpec(network="mlp"),
        seed_x=x[first].astype(np.float32),
        seed_y=y[first],
        windows=tuple(shown(x[rows], y[rows]) for rows in windows),
    )


DEFINITIONS = tuple(
    Definition(name=name, family="played", about=about, build=build, file=file, gap=gap)
    for name, about, build, file, gap in (
        (
            "mail",
            "1,000 words of real mails, 12 windows of 622; the share of spam swings; mlp",
            mail,
            "spam_assassin",
            True,
        ),
        ("room", "is a real room occupied, windows of a day; mlp", room, "occupancy", True),
        (
            "room-dark",
            "the same without the light sensor; mlp",
            room_dark,
            "occupancy",
            True,
        ),
        (
            "people",
            "real activities of other people, four in each window; mlp",
            people,
            "wisdm_har",
            True,
        ),
        (
            "typing-backwards",
            "real typing of 4 persons, from the last session to the first; mlp",
            typing_backwards,
            "keystroke",
            True,
        ),
        (
            "gas-short",
            "real gas sensors in windows of 300 rows; mlp",
            gas_short,
            "gasdrift_8of10",
            True,
        ),
    )
)
