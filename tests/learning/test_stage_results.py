"""The result of a stage is the same after it was taken apart and put together, bit for bit."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from acclimate.learning import stage_results
from acclimate.learning.data import Part, Past, PseudoLabels, SeedSet, Snapshot
from acclimate.learning.models.bundle import Bundle
from acclimate.learning.pipeline import begin, plain_step
from acclimate.learning.results import Diagnosis, Drift, Effect, Gate, Screening, Verdict
from acclimate.learning.spec import InputSpec, ModelSpec, NetworkSpec


def again(result: Any) -> Any:
    manifest, arrays = stage_results.pack(result)
    return stage_results.unpack(json.loads(json.dumps(manifest, allow_nan=False)), arrays)


def diagnosis(drift: Drift) -> Diagnosis:
    """With a screening of a window of four rows and three held-out seed rows."""
    screening = Screening(
        drifted=Effect(value=0.1 + 0.2, threshold=0.5, n=4),
        unsupported=np.array([True, False, False, True]),
        dense=np.array([False, False, True, True]),
        seed_dense=np.array([True, False, True]),
    )
    return Diagnosis(screening=screening, drift=drift)


def test_a_diagnosis_comes_back_equal_however_odd_its_numbers():
    effects = {
        "tiny": Effect(value=5e-324, threshold=0.1 + 0.2, n=3),
        "numpy": Effect(value=np.float64(1 / 3), threshold=-0.0, n=2**53),  # type: ignore[arg-type]
        "within": Effect(value=0.2, threshold=0.1, n=3, lower=0.1 + 0.2, upper=None),
        "none": Effect(value=float("inf"), threshold=float("-inf"), n=0),
    }
    drift = Drift(
        kind="covariate",
        amount=0.1,
        effects=effects,
        agreement=2 / 3,
        priors=(0.1 + 0.2, 0.7),
        alarms=True,
        over=True,
        detail="ä",
    )
    kept = diagnosis(drift)
    found = again(kept)
    assert found.drift == drift
    assert found.screening.drifted == kept.screening.drifted
    for name in ("unsupported", "dense", "seed_dense"):
        assert np.array_equal(getattr(found.screening, name), getattr(kept.screening, name))
    lost = again(diagnosis(replace(drift, amount=float("nan"))))
    assert np.isnan(lost.drift.amount)


@pytest.mark.parametrize("stage_format", [None, 1, stage_results.FORMAT + 1])
def test_what_another_release_stored_is_done_again(stage_format):
    effects = {"input": Effect(value=2.0, threshold=1.0, n=300)}
    drift = Drift(kind="covariate", amount=0.5, effects=effects, agreement=0.9)
    for kept in (diagnosis(drift), Snapshot(labels=np.array([-1]))):
        manifest, arrays = stage_results.pack(kept)
        assert stage_results.unpack(manifest, arrays) is not None
        other = {**manifest, "stage_format": stage_format}
        if stage_format is None:
            del other["stage_format"]
        assert stage_results.unpack(other, arrays) is None


def test_a_verdict_comes_back_equal_with_gates_that_have_no_value():
    gates = (
        Gate(gate="max_ece", value=0.031, limit=0.08, n=124, verdict="pass"),
        Gate(gate="audit", value=None, limit=None, n=0, verdict="insufficient", binds=False),
    )
    for evidence in ("audited", None):
        assert again(Verdict(gates=gates, evidence=evidence)) == Verdict(
            gates=gates, evidence=evidence
        )


@pytest.mark.parametrize(
    "refusal", [["", "duplicate", "", "low_confidence"], [""] * 4, ["disagreement"] * 4]
)
def test_pseudo_labels_come_back_equal_with_the_reason_of_each_refusal(refusal):
    labels = PseudoLabels(
        label=np.array([0, 1, 2, 1]),
        confidence=np.array([0.1, 0.7, 1.0, 1 / 3], dtype=np.float32),
        votes=np.array([3, 2, 1, 3]),
        refusal=np.array(refusal),
        needed=8,
    )
    found = again(labels)
    for name in ("label", "confidence", "votes", "refusal"):
        before, after = getattr(labels, name), getattr(found, name)
        assert np.array_equal(before, after) and before.dtype.kind == after.dtype.kind
    assert (found.needed, found.refused, found.too_few) == (8, labels.refused, labels.too_few)


def test_what_was_known_of_the_rows_comes_back_equal():
    for past in (None, Past(agreement=0.1 + 0.2, anchor_confidence=0.1, standing=True)):
        found = again(Snapshot(labels=np.array([-1, 3, -2]), past=past, released=past is None))
        assert found.labels.tolist() == [-1, 3, -2] and found.past == past
        assert found.released == (past is None)


@pytest.mark.parametrize("x", [np.ones((2, 3), np.float32), np.array([["ä"], [""]], dtype=object)])
def test_rows_that_teach_and_judge_from_earlier_windows_come_back_equal(x):
    late = Part(x=x[:1], y=np.array([2]))
    known = Snapshot(
        labels=np.array([-1]),
        past=None,
        taught=Part(x=x, y=np.array([0, 1])),
        late=late,
        peeks=3,
        number=5,
    )
    found = again(known)
    assert (found.peeks, found.number) == (3, 5)
    assert found.taught.x.tolist() == x.tolist()
    assert found.taught.y.tolist() == [0, 1]
    assert (found.late.x.tolist(), found.late.y.tolist()) == (x[:1].tolist(), [2])
    assert again(replace(known, taught=None)).taught is None


def test_a_student_comes_back_with_the_same_weights_and_answers_and_can_be_judged():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(120, 4)).astype(np.float32), np.tile([0, 1], 60)
    x[y == 1] += 2
    part = Part(x=x, y=y)
    spec = ModelSpec(
        name="two",
        network=NetworkSpec(network="mlp", args={"hidden": [8]}, members=2),
        input=InputSpec(kind="vector", shape=(4,), classes=("a", "b")),
        seed_path=None,
    )
    kept: dict[str, Any] = {}
    plain = plain_step(0)

    def resumed(stage: str, verb: Any, /, *args: Any) -> Any:
        kept[stage] = again(plain(stage, verb, *args))
        return kept[stage]

    seed = SeedSet(train=part, calibration=part, judging=part)
    unbroken, broken = begin(spec, seed, step=plain), begin(spec, seed, step=resumed)
    assert isinstance(kept["train"], Bundle) and unbroken.verdict == broken.verdict
    assert unbroken.student.temperature == broken.student.temperature
    assert np.array_equal(unbroken.student.member_logits(x), broken.student.member_logits(x))


def test_what_no_stage_gives_is_refused_by_name():
    with pytest.raises(TypeError, match="dict"):
        stage_results.pack({})  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="pickle"):
        stage_results.unpack({"stage_format": stage_results.FORMAT, "result": "pickle"}, {})
