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
from acclimate.learning.results import Comparison, Effect
from acclimate.learning.stats import betting
from acclimate.learning.stats.neighbourhood import Neighbourhood
from acclimate.learning.thresholds import DEFAULT

SHADOWED, SHOWN = Standing(serves="proved"), Standing(shown=True)
ALONE = Neighbourhood.of(np.empty((0, 1), dtype=np.float32))
"""Rows without neighbours."""
ROWS, SERIES, WINDOWS = 300, 500, 20


def answers(label: Any, confidence: Any) -> np.ndarray:
    """Answers (N, 3) that give each row its label with this confidence."""
    label, sure = np.asarray(label), np.broadcast_to(np.asarray(confidence), np.shape(label))
    out = np.repeat((1 - sure)[:, None] / 2, 3, axis=1).astype(np.float32)
    out[np.arange(len(label)), label] = sure
    return out


def compared(
    ahead: float, *, surer: float = 0.0, differ: float = 0.2, gains: int = 0, losses: int = 0
):
    """A comparison on 300 rows, of which so many get another label; the learner is more consistent
    by so many standard errors.
    """
    rng = np.random.default_rng(0)
    sure = np.clip(0.8 + rng.normal(0, 0.05, ROWS), 0.4, 0.95)
    label = np.zeros(ROWS, dtype=int)
    other = np.where(np.arange(ROWS) < differ * ROWS, 1, 0)
    none = np.full(ROWS, -1)
    found = serving_guard.compare(answers(other, sure + surer), answers(label, sure), none, ALONE)
    consistency = Effect(value=0.01 * ahead, threshold=-0.01 * DEFAULT.behaviour_errors, n=ROWS)
    evidence = betting.log_evidence_of_errors(ahead)
    return replace(
        found, consistency=consistency, evidence=evidence, surer=0.0, gains=gains, losses=losses
    )


def decided(before: Standing, found: Comparison, **how: Any) -> serving_guard.Serving:
    return serving_guard.decide(before, found, **how)


def test_a_comparison_counts_rows_that_one_alone_has_right():
    y = np.array([0, 1, 2, 0, -1])
    learner, proved = answers([0, 1, 1, 1, 0], 0.9), answers([0, 0, 2, 0, 1], 0.8)
    found = serving_guard.compare(learner, proved, y, ALONE)
    assert (found.gains, found.losses) == (1, 2)
    assert found.divergence.value == pytest.approx(0.8)
    assert found.advantage.value == pytest.approx(0.1, abs=1e-6)
    assert 0 < found.divergence.lower < 0.8 < found.divergence.upper <= 1


def test_a_version_that_labels_near_rows_alike_is_ahead_of_one_that_flips_some():
    rng = np.random.default_rng(4)
    y = rng.integers(3, size=ROWS)
    x = (5 * y[:, None] + rng.standard_normal((ROWS, 2))).astype(np.float32)
    flipped = np.where(rng.random(ROWS) < 0.1, (y + 1) % 3, y)
    none, near = np.full(ROWS, -1), Neighbourhood.of(x)
    better, worse = answers(y, 0.7), answers(flipped, 0.7)
    ahead = serving_guard.compare(better, worse, none, near)
    behind = serving_guard.compare(worse, better, none, near)
    assert ahead.consistency.lower > 0 and ahead.evidence > 3 and not ahead.inconsistent
    assert behind.inconsistent and behind.consistency.value == -ahead.consistency.value
    assert decided(SHOWN, behind).standing.serves == "proved"
    assert decided(SHADOWED, ahead).standing.serves == "learner"


def test_a_learner_serves_until_it_is_inconsistent_and_again_when_clearly_ahead():
    standing, serves = SHOWN, []
    for ahead in (0.0, -2.0, -4.0, 0.0, 1.0, 6.0, -1.0):
        standing = decided(standing, compared(ahead)).standing
        serves.append(standing.serves)
    assert serves == ["learner"] * 2 + ["proved"] * 3 + ["learner"] * 2


def test_several_windows_together_show_that_a_shadowed_learner_is_ahead():
    standing, serves = SHADOWED, []
    for _ in range(5):
        standing = decided(standing, compared(2.0)).standing
        serves.append(standing.serves)
    assert serves == ["proved", "proved", "proved", "learner", "learner"]


def test_a_learner_that_is_far_less_sure_does_not_serve_however_consistent():
    assert decided(SHOWN, compared(4.0, surer=-0.10)).standing.serves == "proved"
    assert decided(SHADOWED, compared(4.0, surer=-0.10)).standing.serves == "proved"
    assert decided(SHOWN, compared(4.0, surer=-0.03)).standing.serves == "learner"


def test_a_model_of_which_it_is_not_known_that_it_learns_is_served_by_labels_alone():
    assert decided(SHADOWED, compared(9.0), by_labels=True).standing.serves == "proved"
    leaning = decided(SHADOWED, compared(9.0, gains=2), by_labels=True)
    assert leaning.standing.serves == "learner" and not leaning.proves
    assert decided(SHADOWED, compared(9.0, gains=2, losses=1), by_labels=True).standing == Standing(
        serves="proved", gains=2, losses=1, shadow=betting.log_evidence_of_errors(9.0)
    )


def test_in_a_window_of_an_alarm_the_proved_version_serves():
    found = decided(SHOWN, compared(9.0), alarm=True)
    assert found.standing.serves == "proved"
    assert "alarm" in found.reason
    same = decided(SHOWN, compared(9.0, differ=0.0), alarm=True)
    assert same.standing.serves == "learner"


def test_labels_that_lean_to_one_side_count_before_they_decide():
    against = decided(SHOWN, compared(9.0, losses=2))
    assert against.standing.serves == "proved" and not against.refutes
    split = decided(SHOWN, compared(9.0, gains=4, losses=5))
    assert split.standing.serves == "learner"
    for_it = decided(SHOWN, compared(9.0, gains=2), alarm=True)
    assert for_it.standing.serves == "learner"


def test_seven_labels_refute_a_learner_that_is_surer():
    found = decided(SHOWN, compared(9.0, losses=7))
    assert found.refutes and not found.proves
    assert found.standing == Standing(serves="proved")
    assert "refute" in found.reason


def test_labels_of_several_windows_prove_a_learner_that_is_less_sure():
    first = decided(SHADOWED, compared(-9.0, gains=5, losses=1))
    assert not first.proves
    assert (first.standing.gains, first.standing.losses) == (5, 1)
    second = decided(first.standing, compared(-9.0, gains=5))
    assert second.proves and second.standing == STARTING


def test_labels_that_speak_against_it_keep_a_surer_learner_in_the_shadow():
    ahead = compared(9.0)
    assert decided(SHADOWED, ahead).standing.serves == "learner"
    assert decided(SHADOWED, replace(ahead, losses=1)).standing.serves == "proved"


class Null:
    """Windows of three groups, and two versions that are equally sure and equally often right.

    Either both flip rows by chance, or each has its boundary on another side of the right place.
    """

    def __init__(self, seed: int) -> None:
        rng = np.random.default_rng([6, seed])
        self.y = rng.integers(3, size=ROWS)
        self.x = (2.5 * self.y[:, None] + rng.standard_normal((ROWS, 2))).astype(np.float32)
        self.near = Neighbourhood.of(self.x)

    def labels(self, rng: np.random.Generator, *, moved: bool) -> list[np.ndarray]:
        if moved:
            sides = rng.permutation([-0.4, 0.4])
            return [np.digitize(self.x.mean(axis=1) + side, [1.25, 3.75]) for side in sides]
        flips = rng.random((2, ROWS)) < 0.08
        return [np.where(flip, rng.integers(3, size=ROWS), self.y) for flip in flips]


def null_series(seed: int, windows: list[Null], before: Standing) -> dict[str, int]:
    """What the guard claims of two versions in a series of windows."""
    rng = np.random.default_rng([7, seed])
    standing, labelled = before, before
    told = {"switches": 0, "proofs": 0, "refutations": 0}
    for number in rng.permutation(len(windows))[:WINDOWS]:
        window = windows[number]
        ours, theirs = window.labels(rng, moved=seed % 2 == 1)
        sure = 0.4 + 0.6 * rng.beta(6, 2, (2, ROWS))
        differ = np.flatnonzero(ours != theirs)
        asked = rng.permutation(differ)[:5]
        known = np.full(ROWS, -1)
        known[asked] = np.where(rng.random(len(asked)) < 0.5, ours[asked], theirs[asked])
        found = serving_guard.compare(
            answers(ours, sure[0]), answers(theirs, sure[1]), known, window.near
        )
        after = decided(standing, replace(found, gains=0, losses=0))
        told["switches"] += standing.serves != after.standing.serves
        with_labels = decided(labelled, found)
        told["proofs"] += with_labels.proves
        told["refutations"] += with_labels.refutes
        standing, labelled = after.standing, with_labels.standing
    return told


@pytest.mark.parametrize("before", [SHOWN, SHADOWED], ids=["serving", "shadowed"])
def test_under_the_null_proofs_refutations_and_switches_are_as_rare_as_alpha(before):
    windows = [Null(seed) for seed in range(2 * WINDOWS)]
    series = [null_series(seed, windows, before) for seed in range(SERIES)]
    for claim in ("switches", "proofs", "refutations"):
        false = sum(told[claim] > 0 for told in series)
        # What chance exceeds once in a thousand runs where the true share is alpha.
        assert false <= stats.binom.isf(1e-3, SERIES, DEFAULT.audit_error), claim


def test_noise_alone_does_not_make_serving_change_to_and_fro():
    changes = []
    for seed in range(100):
        rng, standing, count = np.random.default_rng([8, seed]), SHOWN, 0
        for _ in range(WINDOWS):
            found = compared(float(rng.standard_normal()))
            after = decided(standing, found).standing
            count += after.serves != standing.serves
            standing = after
        changes.append(count)
    assert np.mean(changes) < 0.2 and max(changes) <= 2


def test_a_learner_that_differs_on_more_than_the_policy_allows_does_not_serve():
    far, near = compared(9.0, differ=0.2), compared(9.0, differ=0.05)
    found = decided(SHOWN, far, max_unproved=0.1)
    assert found.standing.serves == "proved"
    assert "max_unproved allows 10.0%" in found.reason and "gives it to 20.0%" in found.reason
    assert decided(SHOWN, near, max_unproved=0.1).standing.serves == "learner"
    assert decided(SHOWN, far, max_unproved=0.0).standing.serves == "learner"


def test_labels_that_prove_a_learner_make_it_serve_whatever_the_policy_allows():
    found = decided(SHADOWED, compared(9.0, gains=10), max_unproved=0.1)
    assert found.proves and found.standing == STARTING


def test_a_run_obeys_the_share_that_its_policy_allows():
    judged = clouds.student(clouds.version())
    outcome = replace(judged, diagnosis=replace(judged.diagnosis, comparison=compared(9.0)))
    given = clouds.inputs(window_of(clouds.rows(100, 4)[0]), clouds.version())
    free = replace(given, policy=replace(given.policy, learnable="yes"))
    strict = replace(free, policy=replace(free.policy, max_unproved=0.1))
    serves = [pipeline._serving(given, outcome).standing.serves for given in (free, strict)]
    assert serves == ["learner", "proved"]


def test_labels_of_the_newest_window_take_serving_from_a_learner_that_was_ahead_before():
    before = Standing(gains=9, losses=3, shown=True)
    found = decided(before, compared(9.0, losses=2))
    assert found.standing.serves == "proved" and "2 to 0 of the newest" in found.reason
    assert decided(before, compared(9.0, losses=1)).standing.serves == "learner"


def test_labels_that_lean_to_a_shadowed_learner_let_it_serve():
    assert decided(SHADOWED, compared(-9.0, surer=-0.2, gains=2)).standing.serves == "learner"


def test_a_withdrawn_proof_starts_the_comparison_with_version_1_anew():
    before = Standing(gains=5, losses=4, proof_gains=1, proof_losses=3, shadow=7.0)
    found = replace(compared(0.0, gains=1), proof=(0, 2), withdraws=True)
    after = decided(before, found)
    assert after.withdraws and after.document["withdraws"]
    assert after.standing == Standing(
        serves="proved", gains=1, shadow=betting.log_evidence_of_errors(0.0)
    )
    kept = decided(before, replace(compared(0.0), proof=(0, 1)))
    assert not kept.withdraws
    assert (kept.standing.proof_gains, kept.standing.proof_losses) == (1, 4)


def test_a_run_withdraws_the_proof_of_a_version_that_labels_contradict():
    x, y = clouds.rows(120, 4)
    good = clouds.version()
    bad = clouds.with_rotated_classes(good)
    labels = np.where(np.arange(len(y)) < 6, y, -1)
    window = window_of(x, labels=labels)
    given = replace(clouds.inputs(window, good), proved=bad, champion=clouds.version())
    found = pipeline._compare(given, window)
    assert found.withdraws and found.proof[1] > found.proof[0]
    assert found.divergence.value == 0.0  # the learner answers as version 1 does
    kept = pipeline._compare(replace(given, proved=good), window)
    assert not kept.withdraws and kept.proof == (0, 0)


def test_a_first_student_serves_on_only_if_it_is_ahead_or_the_policy_lets_it():
    even, ahead = compared(0.0), compared(9.0)
    assert decided(STARTING, even).standing.serves == "proved"
    assert decided(STARTING, even, at_once=True).standing == SHOWN
    assert decided(STARTING, ahead).standing == SHOWN
    # What its first window said counts beside what later ones say.
    after = decided(STARTING, compared(3.0)).standing
    assert after.serves == "proved" and after.shadow == betting.log_evidence_of_errors(3.0)
    assert decided(after, compared(3.0)).standing == SHOWN


def test_a_learner_that_is_surer_but_less_consistent_does_not_begin_to_serve():
    surer = replace(compared(0.5), surer=9.0)
    assert decided(SHADOWED, surer).standing.serves == "learner"
    assert decided(SHADOWED, replace(compared(-0.5), surer=9.0)).standing.serves == "proved"
    unsure = replace(compared(0.5, surer=-0.01), surer=9.0)
    assert decided(SHADOWED, unsure).standing.serves == "proved"
