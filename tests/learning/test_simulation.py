"""The simulation before any traffic tells models that can learn by themselves from others."""

import json
from dataclasses import replace

import numpy as np
import pytest

from acclimate.learning import pipeline, seed_split
from acclimate.learning.evaluation import synthetic_drift
from acclimate.learning.evaluation.simulation_report import Act, Simulation
from acclimate.learning.models import encoding, tokens
from acclimate.learning.outcomes import FirstVersion
from acclimate.learning.spec import InputSpec, ModelSpec, NetworkSpec, Policy
from acclimate.learning.thresholds import DEFAULT, Thresholds

NOISY = InputSpec(kind="vector", shape=(8,), classes=("dry", "rain"))


def noisy(n: int, draw: int):
    """Two classes that overlap: no network is right on more than about 75 of 100 rows."""
    rng = np.random.default_rng([7, draw])
    x = rng.normal(size=(n, 8))
    y = (x @ np.linspace(-1, 1, 8) + rng.logistic(0, 1.3, n) > 0).astype(np.int64)
    return x.astype(np.float32), y


def begun(policy: Policy, limits: Thresholds = DEFAULT) -> FirstVersion:
    x, y = noisy(600, 0)
    spec = ModelSpec(
        name="rain",
        network=NetworkSpec(network="mlp", args={"hidden": [32]}),
        input=NOISY,
        seed_path=None,
        policy=policy,
    )
    parts = seed_split.split(x, y, NOISY, rng=np.random.default_rng(0))
    return pipeline.begin(spec, parts, step=pipeline.plain_step(0), limits=limits)


def test_digits_are_found_learnable_and_the_report_says_by_how_much(first):
    assert first.simulation.learnable
    assert first.simulation.gain > 0.05
    assert "can learn gradual drift" in first.simulation.detail
    assert {act.drift for act in first.simulation.acts} == {"inputs", "inputs and class shares"}


def test_a_noisy_binary_model_is_found_not_learnable():
    simulation = begun(Policy()).simulation
    assert not simulation.learnable
    assert "cannot learn drift" in simulation.detail


def test_the_simulation_selects_rows_under_the_limits_of_the_loop():
    nothing_accepted = replace(DEFAULT, accepted_share=1.01)
    acts = begun(Policy(), nothing_accepted).simulation.acts
    assert [act.served for act in acts] == [act.frozen for act in acts]
    acts = begun(Policy()).simulation.acts
    assert [act.served for act in acts] != [act.frozen for act in acts]


@pytest.mark.parametrize("decided", ["yes", "no"])
def test_where_the_policy_decides_nothing_is_simulated(decided):
    assert begun(Policy(learnable=decided)).simulation is None


def test_a_report_survives_json_and_keeps_its_conclusion(first):
    again = Simulation.from_json(json.loads(json.dumps(first.simulation.as_json())))
    assert again == first.simulation


def test_a_drift_that_learning_ruins_makes_a_model_unlearnable_however_much_the_others_gain():
    acts = [Act(drift="inputs", frozen=0.6, served=0.95)] * 3 + [
        Act(drift="inputs", frozen=0.6, served=0.45)
    ]
    assert Simulation(acts=tuple(acts[:3])).learnable
    assert not Simulation(acts=tuple(acts)).learnable


def test_synthetic_drift_of_vectors_and_images_grows_with_its_strength_and_is_finite():
    rng = np.random.default_rng(0)
    for spec in (NOISY, InputSpec(kind="image", shape=(3, 9, 8), classes=("a", "b"))):
        x = rng.normal(2, 5, (40, *spec.shape)).astype(np.float32)
        drift = synthetic_drift.draw(encoding.fit(x, spec), rng)
        moved = [float(np.abs(drift(x, strength) - x).mean()) for strength in (0.0, 0.2, 0.8)]
        assert moved[0] < 1e-4 < moved[1] < moved[2] < np.inf


def test_synthetic_drift_renames_a_share_of_the_words_and_ids():
    rng = np.random.default_rng(0)
    text = InputSpec(kind="text", shape=(1,), classes=("a", "b"))
    rows = np.array([[" ".join(f"w{word}" for word in range(200))]], dtype=object)
    drift = synthetic_drift.draw(tokens.of(text, NetworkSpec(network="text")), rng)
    same = len(set(drift(rows, 0.3)[0, 0].split()) & set(rows[0, 0].split()))
    assert 110 < same < 170
    assert drift(rows, 0.0)[0, 0] == rows[0, 0]
    sequence = InputSpec(kind="sequence", shape=(60,), classes=("a", "b"))
    ids = np.arange(1, 61).reshape(1, 60)
    drift = synthetic_drift.draw(
        tokens.of(sequence, NetworkSpec(network="text", args={"vocabulary": 500})), rng
    )
    assert 5 < (drift(ids, 0.3) != ids).sum() < 35
    assert (drift(ids, 0.0) == ids).all()
