"""The loop over the other kinds of rows: images that turn, and texts and sequences whose
words are slowly replaced.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from stages import select
from turned_digits import DIGITS, accuracy, learn, spec, window_of
from turned_digits import promoted as is_promoted

from acclimate.learning import pipeline, seed_split
from acclimate.learning.data import Integers, Past, Rows, SeedSet
from acclimate.learning.models import bundle_format
from acclimate.learning.models.bundle import Bundle
from acclimate.learning.spec import InputSpec, ModelSpec, NetworkSpec

CLASSES = ("ham", "spam", "other")
TEXT = InputSpec(kind="text", shape=(1,), classes=CLASSES)
SEQUENCE = InputSpec(kind="sequence", shape=(16,), classes=CLASSES)


def replaced(share: float, rows: int, *, draw: int) -> tuple[Integers, Integers]:
    """Sequences (N, 16) of 12 words: a class has 30 of its own, of which a share was
    replaced by new ones; 100 say nothing.
    """
    rng = np.random.default_rng(draw)
    y = rng.integers(3, size=rows)
    own = 1 + 60 * y[:, None] + rng.integers(30, size=(rows, 12))
    own += 30 * (rng.random((rows, 12)) < share)
    words = np.where(rng.random((rows, 12)) < 0.4, own, 200 + rng.integers(100, size=(rows, 12)))
    return np.pad(words, ((0, 0), (0, 4))), y


def rows_of(spec: InputSpec, tokens: Integers) -> Rows:
    if spec.kind == "sequence":
        return tokens
    return spec.rows([[" ".join(f"word{token}" for token in row if token)] for row in tokens])


def followed(
    windows: list[tuple[Rows, Integers]], parts: SeedSet, anchor: Bundle
) -> tuple[Bundle, int, float]:
    """The last champion, how many were promoted, and how right the answers to the last
    window were before it was learnt.
    """
    champion, past, promoted, served = anchor, None, 0, 0.0
    for number, (x, y) in enumerate(windows, 1):
        served = accuracy(champion, x, y)
        found = learn(window_of(x, past=past, draw=number), parts, champion, anchor, run=number)
        drift = found.diagnosis.drift
        past = past if drift.alarms else Past.of(drift.document)
        if is_promoted(found):
            champion, promoted = found.student, promoted + 1
    return champion, promoted, served


@pytest.mark.slow
def test_images_that_turn_are_followed(stream):
    image = replace(DIGITS, kind="image", shape=(8, 8))
    parts = seed_split.split(
        stream.seed_x.reshape(-1, 8, 8), stream.seed_y, image, rng=np.random.default_rng(0)
    )
    given = replace(
        spec(image), network=NetworkSpec(network="cnn", args={"channels": [8], "hidden": [64]})
    )
    anchor = pipeline.begin(given, parts, step=pipeline.plain_step(0)).student
    assert anchor.strength > 0
    turned = [
        stream.turned(8 * number, rng=np.random.default_rng([0, number])) for number in range(1, 6)
    ]
    _, promoted, served = followed([(x.reshape(-1, 8, 8), y) for x, y in turned], parts, anchor)
    x, y = turned[-1]
    assert promoted >= 3
    assert served > accuracy(anchor, x.reshape(-1, 8, 8), y) + 0.1


@pytest.mark.slow
@pytest.mark.parametrize("spec", [TEXT, SEQUENCE], ids=["text", "sequence"])
def test_words_that_are_slowly_replaced_are_followed(spec):
    tokens, y = replaced(0.0, 400, draw=0)
    parts = seed_split.split(rows_of(spec, tokens), y, spec, rng=np.random.default_rng(0))
    network_spec = NetworkSpec(network="text", args={"dim": 16, "hidden": [16]}, members=2)
    given = ModelSpec(name="words", network=network_spec, input=spec, seed_path=None)
    anchor = pipeline.begin(given, parts, step=pipeline.plain_step(0)).student
    drawn = [replaced(0.15 * number, 300, draw=number) for number in range(1, 7)]
    windows = [(rows_of(spec, tokens), y) for tokens, y in drawn]
    champion, promoted, served = followed(windows, parts, anchor)
    x, y = windows[-1]
    assert promoted >= 3
    assert served > accuracy(anchor, x, y) + 0.05
    again = bundle_format.build(*bundle_format.pack(champion), device="cpu")
    assert (again.network_probabilities(x) == champion.network_probabilities(x)).all()


def test_a_repeated_text_teaches_once():
    tokens, y = replaced(0.0, 200, draw=0)
    parts = seed_split.split(rows_of(TEXT, tokens), y, TEXT, rng=np.random.default_rng(0))
    given = ModelSpec(
        name="w", network=NetworkSpec(network="text", members=1), input=TEXT, seed_path=None
    )
    anchor = pipeline.begin(given, parts, step=pipeline.plain_step(0)).student
    x = rows_of(TEXT, replaced(0.3, 40, draw=1)[0])
    repeated = window_of(np.repeat(x, 5, axis=0))
    labels = select(repeated, anchor, parts.train)
    assert (labels.refusal == "duplicate").sum() >= len(repeated.x) - 40
