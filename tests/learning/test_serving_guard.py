"""Who answers: the learner while it is not behind, the proved version else; labels decide."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import clouds
import numpy as np
import pytest
from scipy import stats
from turned_digits import window_of

from acclimate.learning import pipeline
from acclimate.learning.evaluation import serving_guard
from acclimate.learning.evaluation.serving_guard import STARTING, Standing
from acclimate.learning.results import Comparison
from acclimate.learning.thresholds import DEFAULT

SHADOWED = Standing(serves="proved")
ROWS, SERIES, WINDOWS = 300, 500, 20


def answers(label: Any, confidence: Any) -> np.ndarray:
    """Answers (N, 3) that give each row its label with this confidence."""
    label, sure = np.asarray(label), np.broadcast_to(np.asarray(confidence), np.shape(label))
    out = np.repeat((1 - sure)[:, None] / 2, 3, axis=1).astype(np.float32)
    out[np.arange(len(label)), label] = sure
    return out


def compared(advantage: float, *, differ: float = 0.2, gains: int = 0, losses: int = 0):
    """A comparison on 300 rows, of which so many get another label."""
    rng = np.random.default_rng(0)
    sure = np.clip(0.8 + rng.normal(0, 0.05, ROWS), 0.4, 0.95)
    label = np.zeros(ROWS, dtype=int)
    other = np.where(np.arange(ROWS) < differ * ROWS, 1, 0)
    none = np.full(ROWS, -1)
    found = serving_guard.compare(answers(other, sure + advantage), answers(label, sure), none)
    return replace(found, gains=gains, losses=losses)


def decided(before: Standing, found: Comparison, **how: Any) -> serving_guard.Serving:
    return serving_guard.decide(before, found, **how)


def test_a_comparison_counts_rows_that_one_alone_has_right():
    y = np.array([0, 1, 2, 0, -1])
    learner, proved = answers([0, 1, 1, 1, 0], 0.9), answers([0, 0, 2, 0, 1], 0.8)
    found = serving_guard.compare(learner, proved, y)
    assert (found.gains, found.losses) == (1, 2)
    assert found.divergence.value == pytest.approx(0.8)
    assert found.advantage.value == pytest.approx(0.1, abs=1e-6)
    assert 0 < found.divergence.lower < 0.8 < found.divergence.upper <= 1


def test_a_learner_serves_until_it_falls_behind_and_again_when_clearly_ahead():
    standing, serves = STARTING, []
    for advantage in (0.0, -0.01, -0.05, 0.0, 0.01, 0.10, -0.01):
        standing = decided(standing, compared(advantage)).standing
        serves.append(standing.serves)
    assert serves == ["learner"] * 2 + ["proved"] * 3 + ["learner"] * 2


def test_in_a_window_of_an_alarm_the_proved_version_serves():
    found = decided(STARTING, compared(0.10), alarm=True)
    assert found.standing.serves == "proved"
    assert "alarm" in found.reason
    same = decided(STARTING, compared(0.10, differ=0.0), alarm=True)
    assert same.standing.serves == "learner"


def test_labels_that_lean_to_one_side_count_before_they_decide():
    against = decided(STARTING, compared(0.10, losses=2))
    assert against.standing.serves == "proved" and not against.refutes
    split = decided(STARTING, compared(0.10, gains=4, losses=5))
    assert split.standing.serves == "learner"
    for_it = decided(STARTING, compared(0.10, gains=2), alarm=True)
    assert for_it.standing.serves == "learner"


def test_seven_labels_refute_a_learner_that_is_surer():
    found = decided(STARTING, compared(0.10, losses=7))
    assert found.refutes and not found.proves
    assert found.standing == Standing(serves="proved")
    assert "refute" in found.reason


def test_labels_of_several_windows_prove_a_learner_that_is_less_sure():
    first = decided(SHADOWED, compared(-0.10, gains=5, losses=1))
    assert not first.proves
    assert (first.standing.gains, first.standing.losses) == (5, 1)
    second = decided(first.standing, compared(-0.10, gains=5))
    assert second.proves and second.standing == STARTING


def test_labels_that_speak_against_it_keep_a_surer_learner_in_the_shadow():
    ahead = compared(0.10)
    assert decided(SHADOWED, ahead).standing.serves == "learner"
    assert decided(SHADOWED, replace(ahead, losses=1)).standing.serves == "proved"


def test_off_the_scale_of_the_seed_the_proved_version_is_compared_in_the_scale_of_the_learner():
    y, label = np.full(50, -1), np.zeros(50, dtype=int)
    learner, proved, in_scale = (answers(label, sure) for sure in (0.8, 0.95, 0.7))
    plain = serving_guard.compare(learner, proved, y)
    scaled = serving_guard.compare(learner, proved, y, in_scale=in_scale)
    assert plain.advantage.value < 0 < scaled.advantage.value


def null_series(seed: int) -> dict[str, int]:
    """Of two versions that are equally sure and equally often right: what the guard claims."""
    rng = np.random.default_rng([7, seed])
    standing, told = SHADOWED, {"switches": 0, "proofs": 0, "refutations": 0}
    for _ in range(WINDOWS):
        ours, theirs = rng.beta(6, 2, (2, ROWS))
        differ = rng.random(ROWS) < 0.15
        label, other = np.zeros(ROWS, dtype=int), np.where(differ, 1, 0)
        y = np.where(rng.random(ROWS) < 0.5, label, other)
        asked = rng.permutation(np.flatnonzero(differ))[:5]
        known = np.full(ROWS, -1)
        known[asked] = y[asked]
        found = serving_guard.compare(
            answers(other, 0.4 + 0.6 * ours), answers(label, 0.4 + 0.6 * theirs), known
        )
        after = decided(standing, found)
        told["proofs"] += after.proves
        told["refutations"] += after.refutes
        switched = standing.serves == "proved" and after.standing.serves == "learner"
        told["switches"] += switched and not after.proves
        standing = after.standing
    return told


def test_under_the_null_proofs_refutations_and_switches_are_as_rare_as_alpha():
    series = [null_series(seed) for seed in range(SERIES)]
    for claim in ("switches", "proofs", "refutations"):
        false = sum(told[claim] > 0 for told in series)
        # What chance exceeds once in a thousand runs where the true share is alpha.
        assert false <= stats.binom.isf(1e-3, SERIES, DEFAULT.audit_error), claim


def test_noise_alone_does_not_make_serving_change_to_and_fro():
    changes = []
    for seed in range(100):
        rng, standing, count = np.random.default_rng([8, seed]), STARTING, 0
        for _ in range(WINDOWS):
            found = compared(float(rng.normal(0, 0.015)))
            after = decided(standing, found).standing
            count += after.serves != standing.serves
            standing = after
        changes.append(count)
    assert np.mean(changes) < 3 and max(changes) <= 8


def test_a_learner_that_differs_on_more_than_the_policy_allows_does_not_serve():
    far, near = compared(0.10, differ=0.2), compared(0.10, differ=0.05)
    found = decided(STARTING, far, max_unproved=0.1)
    assert found.standing.serves == "proved"
    assert "max_unproved allows 10.0%" in found.reason and "gives it to 20.0%" in found.reason
    assert decided(STARTING, near, max_unproved=0.1).standing.serves == "learner"
    assert decided(STARTING, far, max_unproved=0.0).standing.serves == "learner"


def test_labels_that_prove_a_learner_make_it_serve_whatever_the_policy_allows():
    found = decided(SHADOWED, compared(0.10, gains=10), max_unproved=0.1)
    assert found.proves and found.standing == STARTING


def test_a_run_obeys_the_share_that_its_policy_allows():
    judged = clouds.student(clouds.version())
    outcome = replace(judged, diagnosis=replace(judged.diagnosis, comparison=compared(0.10)))
    free = clouds.inputs(window_of(clouds.rows(100, 4)[0]), clouds.version())
    strict = replace(free, policy=replace(free.policy, max_unproved=0.1))
    serves = [pipeline._serving(given, outcome).standing.serves for given in (free, strict)]
    assert serves == ["learner", "proved"]
