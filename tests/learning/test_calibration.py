import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from turned_digits import accuracy

from acclimate.learning import calibration, loop
from acclimate.learning.calibration import calibrate


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
    again = calibrate(hot, parts.calibration, rng=np.random.default_rng(0), tick=lambda done, total: None)
    assert again.temperature == pytest.approx(anchor.temperature)
    assert again.members is hot.members
    assert accuracy(again, stream.x, stream.y) == accuracy(anchor, stream.x, stream.y)


def test_logits_that_are_not_finite_keep_temperature_1(anchor, parts):
    broken = loop.plain_step(0)("calibrate", calibrate, _broken(anchor), parts.calibration)
    assert broken.temperature == 1.0


def _broken(bundle):
    members = tuple(copy.deepcopy(member) for member in bundle.members)
    with torch.no_grad():
        members[0].layers[0].weight.fill_(float("nan"))
    return replace(bundle, members=members)
