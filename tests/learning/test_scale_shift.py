"""Vectors in their own mean and deviation: drift of offset and scale goes, other modes stay."""

from dataclasses import replace

import numpy as np
import pytest
from stages import silent

from acclimate.learning.data import Part, SeedSet, Window
from acclimate.learning.drift.scale_shift import in_own_scale, may_age
from acclimate.learning.models import encoding, networks
from acclimate.learning.models.modes import PLAIN
from acclimate.learning.results import Diagnosis, Drift, Effect, Screening
from acclimate.learning.run_inputs import Lesson, RunInputs
from acclimate.learning.spec import Gates, InputSpec, NetworkSpec, Policy
from acclimate.learning.training.student import bring


@pytest.fixture(scope="module")
def bundle():
    rng = np.random.default_rng(0)
    spec = InputSpec(kind="vector", shape=(4,), classes=("a", "b"))
    network = NetworkSpec(network="mlp", members=1)
    x = rng.normal(size=(200, 4)).astype(np.float32)
    member = networks.initialise(spec, network, rng=rng)[0]
    weights = {name: value.numpy() for name, value in member.state_dict().items()}
    part = Part(x=x, y=rng.integers(2, size=200))
    brought = bring(spec, network, part, weights, rng=rng, tick=silent)
    return replace(brought, encoding=encoding.fit(x, spec))


def normal(rows, *, draw, loc=0.0):
    return np.random.default_rng(draw).normal(loc=loc, size=(rows, 4)).astype(np.float32)


def test_rows_that_were_shifted_and_stretched_are_read_as_they_were(bundle):
    rows = normal(500, draw=1)
    gain = np.array([1.2, 0.7, 1.1, 1.0], dtype=np.float32)
    offset = np.array([0.5, -1.0, 0.3, 0.0], dtype=np.float32)
    moved = rows * gain + offset
    plain, own = (_read(in_own_scale(bundle, each), each) for each in (rows, moved))
    assert np.allclose(plain, own, atol=1e-3)
    assert not np.allclose(bundle.encode(moved), own, atol=0.1)


def test_features_in_the_own_scale_are_what_networks_read(bundle):
    rows = normal(32, draw=2, loc=1.0)
    follows = in_own_scale(bundle, rows)
    assert np.array_equal(follows.features(rows, follows.start), _read(follows, rows))


def test_rows_are_answered_as_the_version_answers_in_its_starting_state(bundle):
    rows = normal(32, draw=2, loc=1.0)
    follows = in_own_scale(bundle, rows)
    served = follows.predict(rows, follows.mode.start).probabilities
    assert np.allclose(follows.network_probabilities(rows, follows.start), served, atol=1e-4)
    assert not np.allclose(bundle.network_probabilities(rows), served, atol=1e-4)


def test_a_version_in_its_own_scale_catches_up_with_newer_rows(bundle):
    rows, newer = normal(32, draw=2), normal(64, draw=3, loc=2.0)
    caught_up = in_own_scale(bundle, rows).caught_up(newer)
    assert caught_up.start.packed() == in_own_scale(bundle, newer).start.packed()


def test_another_mode_reads_rows_in_the_seeds_scale_and_does_not_move(bundle):
    rows = np.ones((3, 4), dtype=np.float32)
    assert bundle.caught_up(rows).mode is PLAIN
    assert np.array_equal(_read(bundle, rows), bundle.encode(rows))


def test_only_vectors_that_the_version_normalises_itself_are_rescalable(bundle):
    assert bundle.encoding.rescalable
    image = InputSpec(kind="image", shape=(2, 2), classes=("a", "b"))
    pixels = np.random.default_rng(3).normal(size=(20, 2, 2))
    assert not encoding.fit(pixels, image).rescalable
    assert not encoding.fit(np.ones((20, 4)), bundle.input_spec, raw=True).rescalable


def test_only_mostly_log_scaled_columns_may_age(bundle):
    assert not may_age(bundle)
    folded = np.array([True, True, True, False])
    assert may_age(replace(bundle, encoding=replace(bundle.encoding, folded=folded)))
    raw = replace(bundle.encoding, folded=folded, raw=True)
    assert not may_age(replace(bundle, encoding=raw))


def test_under_drift_of_scale_labelled_rows_of_earlier_windows_do_not_teach(bundle):
    lesson = _lesson(bundle, of_scale=0.9)
    assert lesson.teacher.mode.name == "standardise"
    assert lesson.window.taught is None and lesson.window.late is None
    assert lesson.candidates.as_served is not None


def test_under_other_drift_labelled_rows_of_earlier_windows_teach(bundle):
    lesson = _lesson(bundle, of_scale=0.1)
    assert lesson.teacher.mode is PLAIN
    assert lesson.window.taught is not None and lesson.window.late is not None
    assert lesson.candidates.as_served is None


def test_a_champion_in_its_own_scale_teaches_itself(bundle):
    lesson = _lesson(in_own_scale(bundle, normal(50, draw=4)), of_scale=0.9, anchor=bundle)
    assert lesson.teacher is lesson.served
    assert lesson.window.taught is None and lesson.window.late is None


def _read(bundle, rows):
    return bundle.encode(rows, bundle.start)


def _lesson(champion, *, of_scale, anchor=None):
    """What the pipeline would teach from a window of which this share is drift of scale."""
    rows = normal(30, draw=5, loc=1.0)
    part = Part(x=rows[:5], y=np.zeros(5, dtype=np.int64))
    window = Window(x=rows[:20], held_out=rows[20:], held_out_labels=np.full(10, -1))
    inputs = RunInputs(
        window=replace(window, taught=part, late=part),
        seed=SeedSet(train=part, calibration=part, judging=part),
        champion=champion,
        anchor=anchor or champion,
        policy=Policy(),
        gates=Gates(),
    )
    nothing = np.zeros(30, dtype=bool)
    screening = Screening(
        drifted=Effect(value=1.0, threshold=0.5, n=30),
        unsupported=nothing,
        dense=nothing,
        seed_dense=nothing[:10],
    )
    effects = {"scale": Effect(value=of_scale, threshold=0.5, n=30)}
    drift = Drift(kind="covariate", amount=1.0, effects=effects, agreement=0.9)
    return Lesson.of(inputs, Diagnosis(screening=screening, drift=drift))
