"""The scores of `acclimate play`: accuracy and calibration per window, and the report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

BINS = 15
"""Number of equal-width confidence bins of the expected calibration error."""


@dataclass(frozen=True, kw_only=True)
class Played:
    """One played window of a stream. Accuracies and `ece` are in 0..1; `run` is None when no run
    was started.
    """

    window: int
    rows: int
    served_accuracy: float
    frozen_accuracy: float
    ece: float
    run: str | None
    state: str | None
    detail: str | None
    version_before: str
    version_after: str
    mark: str | None = None

    @property
    def promoted(self) -> bool:
        return self.state == "succeeded"

    def as_json(self) -> dict[str, Any]:
        return {
            "window": self.window,
            "rows": self.rows,
            "served_accuracy": round(self.served_accuracy, 6),
            "frozen_accuracy": round(self.frozen_accuracy, 6),
            "ece": round(self.ece, 6),
            "run": self.run,
            "state": self.state,
            "detail": self.detail,
            "version_before": self.version_before,
            "version_after": self.version_after,
            "mark": self.mark,
        }


def accuracy(answers: Sequence[int] | NDArray[Any], truth: Sequence[int] | NDArray[Any]) -> float:
    """The share of predictions (N,) that equal the labels (N,); NaN for no rows."""
    right = np.asarray(answers) == np.asarray(truth)
    return float(right.mean()) if right.size else float("nan")


def calibration_error(
    confidence: Sequence[float] | NDArray[Any], right: Sequence[bool] | NDArray[Any]
) -> float:
    """The expected calibration error (Guo et al. 2017) over 15 equal-width bins; NaN for no rows.

    The mean over the bins, weighted by rows, of |mean confidence - accuracy|. It is not debiased:
    with few rows it is above 0 also for a calibrated model.
    """
    sure = np.asarray(confidence, dtype=np.float64)
    hit = np.asarray(right, dtype=np.float64)
    if not sure.size:
        return float("nan")
    bins = np.clip(np.ceil(sure * BINS).astype(int) - 1, 0, BINS - 1)
    gap = np.bincount(bins, weights=sure - hit, minlength=BINS)
    return float(np.abs(gap).sum() / sure.size)


def report(windows: Sequence[Played]) -> dict[str, Any]:
    """The JSON report. `mean` is the unweighted mean over the unmarked windows; promotions and
    rejections count all windows.
    """
    good = [window for window in windows if window.mark is None]
    return {
        "windows": [window.as_json() for window in windows],
        "mean": {
            name: round(float(np.mean([getattr(window, name) for window in good])), 6)
            if good
            else None
            for name in ("served_accuracy", "frozen_accuracy", "ece")
        },
        "promotions": sum(window.promoted for window in windows),
        "rejections": sum(window.state == "rejected" for window in windows),
    }
