"""Rows read in their own mean and deviation: drift that is offset and scale of the columns goes,
and no other mode is touched.
"""

from dataclasses import replace

import numpy as np
import pytest

from acclimate.learning.data import Part, Window
from acclimate.learning.models import encoding, networks
from acclimate.learning.spec import InputSpec, NetworkSpec
from acclimate.learning.training.student import bring


@pytest.fixture(scope="module")
def bundle():
    rng = np.random.default_rng(0)
    spec = InputSpec(kind="vector", shape=(4,), classes=("a", "b"))
    x = rng.normal(size=(200, 4)).astype(np.float32)
    member = networks.initialise(spec, NetworkSpec(network="mlp", members=1), rng=rng)[0]
    weights = {name: value.numpy() for name, value in member.state_dict().items()}
    brought = bring(
        spec,
        NetworkSpec(network="mlp", members=1),
        Part(x=x, y=rng.integers(2, size=200)),
        weights,
        rng=rng,
        tick=_unheard,
    )
    return replace(brought, encoding=encoding.fit(x, spec))


def _unheard(done, total):
    pass


def test_rows_that_were_shifted_and_stretched_are_read_as_they_were(bundle):
    rows = np.random.default_rng(1).normal(size=(500, 4)).astype(np.float32)
    moved = rows * np.array([1.2, 0.7, 1.1, 1.0], dtype=np.float32) + np.array(
        [0.5, -1.0, 0.3, 0.0], dtype=np.float32
    )
    plain, own = (rescale.read(rescale.following(bundle, each), each) for each in (rows, moved))
    assert np.allclose(plain, own, atol=1e-3)
    assert not np.allclose(moved, own, atol=0.1)


def test_what_is_read_so_is_answered_as_the_version_answers_in_its_starting_state(bundle):
    rows = np.random.default_rng(2).normal(loc=1.0, size=(32, 4)).astype(np.float32)
    follows = rescale.following(bundle, rows)
    served = follows.predict(rows, follows.mode.start).probabilities
    assert np.allclose(bundle.network_probabilities(rescale.read(follows, rows)), served, atol=1e-4)


def test_another_mode_reads_rows_as_they_came_and_keeps_labelled_rows_of_earlier_windows(bundle):
    rows = np.ones((3, 4), dtype=np.float32)
    late = Part(x=rows, y=np.zeros(3, dtype=np.int64))
    window = Window(x=rows, held_out=rows, held_out_labels=np.full(3, -1), late=late)
    assert rescale.caught_up(bundle, rows) is bundle
    assert rescale.read(bundle, rows) is rows
    assert rescale.window_read(bundle, window) is window
    assert rescale.window_read(rescale.following(bundle, rows), window).late is None


def test_only_vectors_that_the_version_normalises_itself_can_be_read_so(bundle):
    assert rescale.fits(bundle.encoding)
    image = InputSpec(kind="image", shape=(2, 2), classes=("a", "b"))
    assert not rescale.fits(encoding.fit(np.random.default_rng(3).normal(size=(20, 2, 2)), image))
    vector = bundle.input_spec
    assert not rescale.fits(encoding.fit(np.ones((20, 4)), vector, raw=True))
