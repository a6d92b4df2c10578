"""The scores of a played stream."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from acclimate.cli.scoring import Played, accuracy, calibration_error, report

WINDOW = Played(
    window=1,
    rows=300,
    served_accuracy=0.9,
    frozen_accuracy=0.5,
    ece=0.02,
    run="r1",
    state="succeeded",
    detail=None,
    version_before="1",
    version_after="2",
)


def test_calibration_error_is_the_gap_of_each_bin_weighted_by_its_rows():
    confidence = [0.95, 0.95, 0.95, 0.95, 0.55, 0.55]
    right = [True, True, True, False, True, True]
    assert calibration_error(confidence, right) == pytest.approx((4 * 0.20 + 2 * 0.45) / 6)


def test_gaps_of_one_bin_cancel_and_gaps_of_two_bins_do_not():
    assert calibration_error([0.5, 0.5], [True, False]) == pytest.approx(0)
    assert calibration_error([0.3, 0.7], [True, False]) == pytest.approx(0.7)


def test_full_confidence_falls_into_the_last_of_fifteen_bins_and_none_into_the_first():
    assert calibration_error([1.0, 0.94], [True, False]) == pytest.approx(abs(1.94 - 1) / 2)
    assert calibration_error([1.0, 0.93], [True, False]) == pytest.approx(0.93 / 2)
    assert calibration_error([0.0], [True]) == 1.0


def test_answers_as_sure_as_they_are_right_have_nearly_no_calibration_error():
    rng = np.random.default_rng(0)
    confidence = rng.uniform(0.2, 1.0, 100_000)
    assert calibration_error(confidence, rng.uniform(size=100_000) < confidence) < 0.01


def test_no_rows_have_no_accuracy():
    assert math.isnan(accuracy([], []))
    assert accuracy([1, 2, 3, 4], [1, 2, 3, 0]) == 0.75


def test_a_marked_window_is_in_the_counts_and_not_in_the_mean():
    marked = replace(
        WINDOW, window=2, state="rejected", served_accuracy=0.1, mark="permuted on purpose"
    )
    last = replace(
        WINDOW, window=3, run=None, state=None, served_accuracy=0.8, frozen_accuracy=0.3, ece=0.04
    )
    found = report([WINDOW, marked, last])
    assert found["mean"] == {"served_accuracy": 0.85, "frozen_accuracy": 0.4, "ece": 0.03}
    assert (found["promotions"], found["rejections"]) == (1, 1)


def test_a_window_of_the_report_has_the_fields_of_the_contract():
    window = report([WINDOW])["windows"][0]
    promised = {
        "window",
        "rows",
        "served_accuracy",
        "frozen_accuracy",
        "ece",
        "run",
        "version_after",
    }
    assert promised <= set(window)
    assert (window["run"], window["version_after"]) == ("r1", "2")
