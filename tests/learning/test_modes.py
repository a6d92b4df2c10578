import itertools
import json
import math
from dataclasses import replace

import numpy as np
import pytest

from acclimate.learning.models import (
    bundle_format,
    encoding,
    mode_state,
    modes,
    networks,
    prior_estimation,
)
from acclimate.learning.models.bundle import Bundle
from acclimate.learning.models.modes import PriorAdapted, Standardised
from acclimate.learning.models.running import Running
from acclimate.learning.spec import InputSpec, NetworkSpec

SOURCE = np.array([0.5, 0.3, 0.2])


def calibrated(
    n: int, shares: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Classes (n,) drawn by their priors, and the answers (n, 3) of calibrated networks to them."""
    y = rng.choice(3, size=n, p=shares)
    seen = np.eye(3)[y] * 1.5 + rng.standard_normal((n, 3))
    likelihood = np.exp(-((seen[:, None, :] - np.eye(3)[None] * 1.5) ** 2).sum(axis=2) / 2)
    joint = likelihood * SOURCE
    return y, (joint / joint.sum(axis=1, keepdims=True)).astype(np.float32)


def follow(mode: modes.Mode, seen: np.ndarray, portion: int = 32) -> list[mode_state.Memory]:
    """The memory after each portion of what was seen."""
    memories = [mode.begin()]
    for start in range(0, len(seen), portion):
        memories.append(mode.advance(memories[-1], seen[start : start + portion]))
    return memories


@pytest.fixture(scope="module")
def vectors() -> Bundle:
    """An untrained version of vectors of four numbers, the last of which never varied in
    the seed.
    """
    rng = np.random.default_rng(0)
    spec = InputSpec(kind="vector", shape=(4,), classes=("a", "b", "c"))
    net = NetworkSpec(network="mlp", args={"hidden": [16]}, members=2)
    x = rng.normal(5, 2, (100, 4)).astype(np.float32)
    x[:, 3] = 7
    return Bundle(
        input_spec=spec,
        network_spec=net,
        members=networks.seal(networks.initialise(spec, net, rng=rng)),
        encoding=encoding.fit(x, spec),
        strength=1.0,
        temperature=1.0,
        selftest_x=x[:0],
        selftest_probabilities=np.empty((0, 3), np.float32),
    )


@pytest.mark.parametrize("true", [[0.1, 0.1, 0.8], [0.8, 0.15, 0.05], [1 / 3, 1 / 3, 1 / 3]])
def test_em_finds_the_priors_that_calibrated_answers_were_drawn_with(true):
    _, raw = calibrated(20_000, np.array(true), np.random.default_rng(1))
    assert np.abs(prior_estimation.estimated_prior(raw, SOURCE) - true).max() < 0.02


def test_re_weighting_gains_when_priors_swing_and_costs_little_when_they_do_not():
    rng = np.random.default_rng(2)
    mode = PriorAdapted.of(SOURCE)
    gain = {}
    for name, shares in {"swing": np.array([0.05, 0.05, 0.9]), "none": SOURCE}.items():
        y, raw = calibrated(6400, shares, rng)
        memories = follow(mode, raw)
        served = [
            mode.adapted(raw[32 * index : 32 * index + 32], memory.state)
            for index, memory in enumerate(memories[:-1])
        ]
        right = (np.concatenate(served).argmax(axis=1) == y).mean()
        gain[name] = right - (raw.argmax(axis=1) == y).mean()
    assert gain["swing"] > 0.1
    assert gain["none"] > -0.01


def test_what_was_before_a_swing_is_forgotten_at_the_next_renewal():
    rng = np.random.default_rng(7)
    before, after = np.array([0.9, 0.05, 0.05]), np.array([0.05, 0.05, 0.9])
    left = []
    for _ in range(20):
        raw = np.concatenate([calibrated(320, before, rng)[1], calibrated(32, after, rng)[1]])
        memory = follow(PriorAdapted.of(SOURCE), raw)[-1]
        left.append(len(memory.recent))
        assert memory.state.numbers[0, 2] > 0.4
    assert left == [32] * 20


def test_constant_priors_are_hardly_ever_taken_for_a_swing():
    """One renewal of a hundred may: of 600 some few, and each costs six renewals of a short
    memory.
    """
    _, raw = calibrated(600 * 32, np.array([0.2, 0.2, 0.6]), np.random.default_rng(8))
    lengths = [len(memory.recent) for memory in follow(PriorAdapted.of(SOURCE), raw)]
    assert sum(now < before for before, now in itertools.pairwise(lengths)) <= 15
    assert np.mean(np.array(lengths) == 192) > 0.8


def test_no_class_vanishes_however_long_it_is_absent():
    _, raw = calibrated(2000, np.array([1.0, 0.0, 0.0]), np.random.default_rng(3))
    shares = follow(PriorAdapted.of(SOURCE), raw)[-1].state.numbers[0]
    assert shares.min() > 0.2 * 10 / 202 * 0.9
    assert math.isclose(shares.sum(), 1, abs_tol=1e-6)


def test_a_share_of_the_re_weighting_lies_between_none_and_all():
    raw = np.array([[0.4, 0.3, 0.3]], np.float32)
    state = mode_state.State(numbers=np.array([[0.2, 0.3, 0.5]], np.float32))
    none, half, full = (
        PriorAdapted.of(SOURCE, share=s).adapted(raw, state)[0, 2] for s in (0.0, 0.5, 1.0)
    )
    assert math.isclose(none, 0.3, rel_tol=1e-6)
    assert none < half < full


def test_memory_and_state_stay_small_however_many_rows_come():
    rng = np.random.default_rng(4)
    _, raw = calibrated(5000, SOURCE, rng)
    memory = follow(PriorAdapted.of(SOURCE), raw, 512)[-1]
    assert memory.recent.shape == (192, 3)
    assert len(memory.state.packed()) == 12
    wide = follow(Standardised.of(7), rng.standard_normal((5000, 7)), 512)[-1]
    assert wide.recent.shape == (2, 7)
    assert len(wide.state.packed()) == 56
    assert wide.weight < 501
    assert wide.rows == memory.rows == 5000


def test_a_state_holds_until_32_rows_came_and_then_is_another_one():
    _, raw = calibrated(64, SOURCE, np.random.default_rng(5))
    states = [memory.state for memory in follow(PriorAdapted.of(SOURCE), raw, 1)]
    assert all(state is states[0] for state in states[:32])
    assert all(state is states[32] for state in states[33:64])
    assert states[32] is not states[0]
    assert states[64] is not states[32]


def test_the_same_portions_give_the_same_states_bit_for_bit():
    z = np.random.default_rng(6).standard_normal((400, 5)).astype(np.float32)
    for mode, seen in (
        (Standardised.of(5), z),
        (PriorAdapted.of(np.full(5, 0.2)), np.exp(z) / np.exp(z).sum(1)[:, None]),
    ):
        once, again = (
            follow(mode, seen.astype(np.float32), 50)[-1].state.packed() for _ in range(2)
        )
        assert once == again


@pytest.mark.parametrize("name", ["prior", "standardise"])
def test_rows_are_answered_from_rows_before_them_alone(vectors, name):
    mode = PriorAdapted.of(SOURCE) if name == "prior" else Standardised.of(4)
    bundle = vectors.with_mode(mode)
    rng = np.random.default_rng(7)
    x = rng.normal(8, 3, (300, 4)).astype(np.float32)
    other = np.concatenate([x[:200], rng.normal(-50, 1, (100, 4)).astype(np.float32)])
    first, second = (Running(bundle, request_rows=20).answer(rows) for rows in (x, other))
    assert (first[:200] == second[:200]).all()
    assert np.abs(first[:20] - vectors.network_probabilities(x[:20])).max() < 1e-6
    assert np.abs(first[200:] - vectors.network_probabilities(x[200:])).max() > 1e-3


def test_an_answer_is_the_same_again_from_the_version_and_the_bytes_of_its_state(vectors):
    x = np.random.default_rng(8).normal(8, 3, (96, 4)).astype(np.float32)
    for mode in (PriorAdapted.of(SOURCE), Standardised.of(4)):
        bundle = vectors.with_mode(mode)
        running = Running(bundle)
        running.answer(x)
        assert running.memory is not None
        state = running.memory.state
        served = running.answer(x[:32])
        again = bundle.predict(x[:32], mode.unpacked(state.packed()))
        assert (again.probabilities == served).all()


def test_standardised_rows_of_a_shifted_and_stretched_stream_are_read_as_those_of_the_seed(vectors):
    rng = np.random.default_rng(9)
    bundle = vectors.with_mode(Standardised.of(4))
    seed_like = rng.normal(5, 2, (3000, 4)).astype(np.float32)
    seed_like[:, 3] = 7
    moved = seed_like * np.float32([1.5, 0.5, 1, 1]) + np.float32([1, -2, 0, 0])
    running = Running(bundle)
    running.answer(moved[:2900])
    served, expected = running.answer(moved[2900:]), vectors.network_probabilities(seed_like[2900:])
    raw = vectors.network_probabilities(moved[2900:])
    assert np.abs(served - expected).mean() < 0.2 * np.abs(raw - expected).mean()


def test_a_huge_row_moves_the_statistics_no_further_than_six_deviations_do(vectors):
    bundle = vectors.with_mode(Standardised.of(4))
    rng = np.random.default_rng(10)
    running = Running(bundle)
    running.answer(rng.normal(5, 2, (500, 4)).astype(np.float32))
    assert running.memory is not None
    before = bundle.mode.distance(running.memory.state)
    rows = rng.normal(5, 2, (32, 4)).astype(np.float32)
    rows[3] = 1e38
    assert np.isfinite(running.answer(rows)).all()
    assert bundle.mode.distance(running.memory.state) < before + 0.05


def test_a_column_that_never_varied_in_the_seed_says_nothing_after_any_traffic(vectors):
    bundle = vectors.with_mode(Standardised.of(4))
    running = Running(bundle)
    x = np.random.default_rng(11).normal(5, 2, (200, 4)).astype(np.float32)
    running.answer(x)
    assert running.memory is not None
    other = x.copy()
    other[:, 3] = -1000
    state = running.memory.state
    answered = [bundle.predict(rows, state).probabilities for rows in (x, other)]
    assert (answered[0] == answered[1]).all()


def test_a_column_that_stands_still_for_long_is_not_blown_up(vectors):
    bundle = vectors.with_mode(Standardised.of(4))
    running = Running(bundle)
    x = np.full((3000, 4), 6, np.float32)
    running.answer(x)
    assert running.memory is not None
    assert running.memory.state.numbers[1].min() == np.float32(modes.SMALLEST_DEVIATION)
    assert np.abs(running.answer(x + 0.02) - running.answer(x)).max() < 0.1


def test_answers_that_are_not_finite_are_passed_over():
    mode = PriorAdapted.of(SOURCE)
    memory = mode.advance(mode.begin(), np.full((40, 3), np.nan, np.float32))
    assert (memory.rows, memory.pending) == (0, 0)
    assert memory.state is mode.start


@pytest.mark.parametrize("name", ["prior", "standardise"])
def test_a_mode_is_part_of_the_version_that_is_packed(vectors, name):
    start = np.array([0.2, 0.2, 0.6])
    mode = (
        PriorAdapted.of(SOURCE, start=start, share=0.5)
        if name == "prior"
        else Standardised.of(4, mean=np.ones(4))
    )
    bundle = vectors.with_mode(replace(mode, memory=99))
    manifest, arrays = bundle_format.pack(bundle)
    again = bundle_format.build(json.loads(json.dumps(manifest)), arrays, device="cpu")
    assert bundle_format.pack(again)[0] == manifest
    assert again.mode.start is not None
    assert again.mode.start.packed() == mode.start.packed()
    assert (again.mode.name, again.mode.memory) == (name, 99)
    assert getattr(again.mode, "share", 1.0) == getattr(mode, "share", 1.0)
    x = np.random.default_rng(12).normal(5, 2, (8, 4)).astype(np.float32)
    assert (Running(again).answer(x) != vectors.network_probabilities(x)).any()


def test_a_version_in_plain_mode_is_packed_as_before_there_were_modes(vectors):
    manifest, arrays = bundle_format.pack(vectors)
    assert "mode" not in manifest
    assert "mode.start" not in arrays
    assert bundle_format.build(manifest, arrays, device="cpu").mode.name == "plain"


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (PriorAdapted.of(np.array([0.5, 0.5])), "source prior must be 3"),
        (Standardised.of(3), r"shape \[2, 4\]"),
        (replace(PriorAdapted.of(SOURCE), share=2.0), "share 2.0"),
        (replace(PriorAdapted.of(SOURCE), memory=0), "needs a starting state"),
    ],
)
def test_a_mode_that_does_not_fit_the_version_is_refused_in_words(vectors, wrong, message):
    with pytest.raises(networks.BundleError, match=message):
        vectors.with_mode(wrong)


def test_images_and_brought_weights_cannot_be_standardised(vectors):
    image = replace(
        vectors, input_spec=InputSpec(kind="image", shape=(2, 2), classes=("a", "b", "c"))
    )
    with pytest.raises(networks.BundleError, match="vectors that the version normalises itself"):
        image.with_mode(Standardised.of(4))
    raw = replace(vectors, encoding=replace(vectors.encoding, raw=True))
    with pytest.raises(networks.BundleError, match="vectors that the version normalises itself"):
        raw.with_mode(Standardised.of(4))


def test_a_damaged_mode_of_a_manifest_is_refused_in_words(vectors):
    manifest, arrays = bundle_format.pack(vectors.with_mode(PriorAdapted.of(SOURCE)))
    for mode in ({}, {**manifest["mode"], "memory": "many"}, {**manifest["mode"], "source": None}):
        with pytest.raises(networks.BundleError, match="mode"):
            bundle_format.build({**manifest, "mode": mode}, arrays)
    with pytest.raises(networks.BundleError, match="unknown mode 'loud'"):
        bundle_format.build({**manifest, "mode": {**manifest["mode"], "name": "loud"}}, arrays)
    with pytest.raises(networks.BundleError, match=r"missing: mode\.start"):
        bundle_format.build(
            manifest, {name: array for name, array in arrays.items() if name != "mode.start"}
        )


def test_class_priors_are_those_of_the_seed_and_none_is_zero():
    assert prior_estimation.class_priors(np.array([0, 0, 1, 1, 1, 1]), 2).tolist() == pytest.approx(
        [1 / 3, 2 / 3]
    )
    assert prior_estimation.class_priors(np.array([0, 0]), 2)[1] == pytest.approx(0.2)
