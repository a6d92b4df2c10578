import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from turned_digits import accuracy

from acclimate.learning import pipeline
from acclimate.learning.training import calibration
from acclimate.learning.training.calibration import calibrate, calibrate_student


@pytest.mark.parametrize("truth", [0.3, 1.0, 4.0])
def test_the_temperature_that_made_the_labels_is_found(truth):
    rng = np.random.default_rng(0)
    logits = 3 * rng.standard_normal((1, 20_000, 5))
    chances = np.exp(logits[0] / truth)
    chances /= chances.sum(axis=1, keepdims=True)
    y = (rng.random((len(chances), 1)) > chances.cumsum(axis=1)).sum(axis=1)
    assert calibration.fit_temperature(logits, y) == pytest.approx(truth, rel=0.05)


def test_calibrating_changes_the_temperature_alone(anchor, parts, stream):
    hot = replace(anchor, temperature=5.0)
    again = calibrate(
        hot, parts.calibration, rng=np.random.default_rng(0), tick=lambda done, total: None
    )
    assert again.temperature == pytest.approx(anchor.temperature)
    assert again.members is hot.members
    assert accuracy(again, stream.x, stream.y) == accuracy(anchor, stream.x, stream.y)


def test_logits_that_are_not_finite_keep_temperature_1(anchor, parts):
    broken = pipeline.plain_step(0)("calibrate", calibrate, _broken(anchor), parts.calibration)
    assert broken.temperature == 1.0


def test_a_student_is_no_surer_of_its_window_than_it_agrees_with_its_teacher(anchor, parts, stream):
    x, teacher = stream.x[:300], _with_two_classes_swapped(anchor)
    student = _calibrated(anchor, parts, teacher, x)
    agreed = (
        student.network_probabilities(x).argmax(axis=1)
        == teacher.network_probabilities(x).argmax(axis=1)
    ).mean()
    assert agreed < anchor.network_probabilities(x).max(axis=1).mean()
    assert student.network_probabilities(x).max(axis=1).mean() == pytest.approx(agreed, abs=0.01)


def test_where_teacher_and_student_agree_trusted_rows_set_the_temperature(anchor, parts, stream):
    assert _calibrated(anchor, parts, anchor, stream.x[:300]).temperature == pytest.approx(
        anchor.temperature
    )
    assert _calibrated(anchor, parts, anchor, stream.x[:0]).temperature == pytest.approx(
        anchor.temperature
    )


def test_a_student_that_cannot_be_calibrated_is_left_to_the_gates(anchor, parts, stream):
    assert _calibrated(_broken(anchor), parts, anchor, stream.x[:300]).temperature == 1.0


def _with_two_classes_swapped(bundle):
    members = tuple(copy.deepcopy(member) for member in bundle.members)
    order = [1, 0, *range(2, 10)]
    with torch.no_grad():
        for member in members:
            last = member.layers[-1]
            last.weight.copy_(last.weight[order])
            last.bias.copy_(last.bias[order])
    return replace(bundle, members=members)


def _calibrated(student, parts, teacher, rows):
    return pipeline.plain_step(0)(
        "calibrate", calibrate_student, student, parts.calibration, teacher, rows
    )


def _broken(bundle):
    members = tuple(copy.deepcopy(member) for member in bundle.members)
    with torch.no_grad():
        members[0].layers[0].weight.fill_(float("nan"))
    return replace(bundle, members=members)
