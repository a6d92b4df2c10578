"""Temperature scaling: one temperature for all members of a version."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from acclimate.learning.data import Floats, Integers, Part, Rows
from acclimate.learning.models.bundle import Bundle
from acclimate.learning.thresholds import DEFAULT, Thresholds

COLDEST, HOTTEST = 0.05, 20.0
SEARCH_STEPS = 40
GOLDEN = (math.sqrt(5) - 1) / 2


def calibrate(
    student: Bundle,
    calibration: Part,
    *,
    rng: np.random.Generator,
    tick: Callable[[int, int], None],
) -> Bundle:
    """The student at the temperature of least negative log likelihood on the calibration rows.

    Temperature scaling (Guo et al. 2017) of the members' mean, fitted after averaging (Rahaman and
    Thiery 2021). A student whose logits are not finite keeps temperature 1: gates refuse it.
    """
    logits = student.member_logits(calibration.x).astype(np.float64)
    temperature = fit_temperature(logits, calibration.y) if np.isfinite(logits).all() else 1.0
    tick(1, 1)
    return replace(student, temperature=temperature)


def calibrate_student(
    student: Bundle,
    calibration: Part,
    teacher: Bundle,
    rows: Rows,
    *,
    rng: np.random.Generator,
    tick: Callable[[int, int], None],
    limits: Thresholds = DEFAULT,
) -> Bundle:
    """The student calibrated, and on rows of its window no surer than it agrees with its teacher.

    Trusted rows have not drifted: the temperature that fits them is too sure of rows that have.
    Where teacher and student differ on a row, one of them is wrong, and what moved the teacher's
    answers since will move the student's until the next window.
    """
    fitted = calibrate(student, calibration, rng=rng, tick=tick)
    if not limits.on("agreement_temperature"):
        return fitted
    logits = fitted.member_logits(rows, fitted.start).astype(np.float64)
    if not len(rows) or not np.isfinite(logits).all():
        return fitted
    answers = fitted.network_probabilities(rows, fitted.start).argmax(axis=1)
    taught = teacher.network_probabilities(rows, teacher.start).argmax(axis=1)
    agreed = float((answers == taught).mean())
    return replace(fitted, temperature=max(fitted.temperature, temperature_at(logits, agreed)))


def temperature_at(logits_MNC: Floats | np.ndarray, confidence: float) -> float:
    """The temperature in 0.05..20 at which the mean confidence of the answers is this: the hotter,
    the less sure.
    """
    low, high = math.log(COLDEST), math.log(HOTTEST)
    for _ in range(SEARCH_STEPS):
        middle = (low + high) / 2
        if float(_answers(logits_MNC, math.exp(middle)).max(axis=-1).mean()) > confidence:
            low = middle
        else:
            high = middle
    return math.exp((low + high) / 2)


def fit_temperature(logits_MNC: Floats | np.ndarray, y: Integers) -> float:
    """The temperature in 0.05..20 of least negative log likelihood, by golden section on its
    logarithm.
    """

    def loss(log_temperature: float) -> float:
        true = _answers(logits_MNC, math.exp(log_temperature))[np.arange(len(y)), y]
        return float(-np.log(np.maximum(true, 1e-12)).mean())

    low, high = math.log(COLDEST), math.log(HOTTEST)
    for _ in range(SEARCH_STEPS):
        left, right = high - GOLDEN * (high - low), low + GOLDEN * (high - low)
        if loss(left) <= loss(right):
            high = right
        else:
            low = left
    return math.exp((low + high) / 2)


def _answers(logits_MNC: Floats | np.ndarray, temperature: float) -> np.ndarray:
    """The mean (N, C) of the members' softmax at a temperature."""
    scaled = logits_MNC / temperature
    scaled = scaled - scaled.max(axis=-1, keepdims=True)
    likelihood = np.exp(scaled)
    likelihood /= likelihood.sum(axis=-1, keepdims=True)
    return np.asarray(likelihood.mean(axis=0))
