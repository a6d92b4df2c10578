"""The stream of the demo is as documented."""

from __future__ import annotations

import tomllib
from pathlib import Path

import numpy as np
import pytest

from acclimate.cli import digits, playing

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def made() -> tuple[digits.Floats, digits.Integers, digits.Stream]:
    return digits.make()


def test_the_seed_set_and_the_stream_share_no_digit(made):
    from sklearn.datasets import load_digits

    x, y, _ = made
    images, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(labels))
    assert (x.shape, y.shape) == ((897, 8, 8), (897,))
    assert np.array_equal(x, images[order[:897]].astype(np.float32).reshape(-1, 8, 8))


def test_there_are_eleven_windows_of_300_and_the_fourth_is_marked(made):
    stream = made[2]
    assert np.unique(stream.t, return_counts=True)[1].tolist() == [300] * 11
    assert (stream.t[0], stream.t[-1], stream.marks) == (1, 11, {4: "permuted on purpose"})
    assert np.isfinite(stream.x).all()


def test_junk_rows_are_permuted_each_anew_and_keep_their_pixels(made):
    from sklearn.datasets import load_digits

    junk = made[2].x[made[2].t == 4].reshape(-1, 64)
    whole = {tuple(sorted(image)) for image in load_digits().data.tolist()}
    assert all(tuple(sorted(row)) in whole for row in junk.tolist())
    assert not np.array_equal(junk[0].argsort(), junk[1].argsort())


def test_a_quarter_turn_moves_the_pixels_as_a_quarter_turn_does():
    image = np.arange(64, dtype=np.float32).reshape(1, 8, 8)
    turned = digits.turn(image, np.array([90.0]))[0]
    assert np.allclose(turned, np.rot90(image[0]), atol=1e-3)


def test_a_turn_of_one_degree_leaves_the_border_line_where_it_is():
    full = np.ones((1, 8, 8), dtype=np.float32)
    border = np.ones((8, 8), dtype=bool)
    border[1:-1, 1:-1] = False
    assert digits.turn(full, np.array([1.0]))[0][border].mean() > 0.95


def test_the_same_seed_makes_the_same_stream_and_another_one_another(made):
    assert np.array_equal(digits.make(0)[2].x, made[2].x)
    assert not np.array_equal(digits.make(1)[2].x, made[2].x)


def test_what_is_written_is_read_back_by_play(tmp_path):
    spec = digits.write(tmp_path / "digits", name="digits-2")
    stream = playing.read(tmp_path / "digits" / "stream.npz")
    assert tomllib.loads(spec.read_text())["model"]["name"] == "digits-2"
    assert [window for window, _, _ in stream.windows()] == list(range(1, 12))
    assert stream.marks == {4: "permuted on purpose"}


def test_the_example_shows_the_spec_of_the_demo():
    assert (ROOT / "examples/digits/spec.toml").read_text() == digits.SPEC.format(name="digits")


@pytest.mark.parametrize("example", ["comments", "digits", "gas", "own_module"])
def test_the_specs_of_the_examples_are_right_and_leave_every_run_to_play(example):
    from acclimate.spec import parse

    spec = ROOT / f"examples/{example}/spec.toml"
    policy = parse(spec.read_text(), network_allowlist=("own_network:build",)).policy
    assert (policy.schedule, policy.on_drift, policy.max_rows) == ("never", False, 0)
