"""From the records of cells to the figures of a row of the tables: means over seeds, gaps,
promotions, estimates, calibration.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.streams import scores
from benchmarks.streams.gradual import TARGET

Record = dict[str, Any]
Records = Mapping[tuple[str, str, int], Record]
"""By (row of the tables, method, seed)."""


@dataclass(frozen=True, kw_only=True)
class Over:
    """A figure over seeds: its mean, its standard deviation (None of one seed), and its values by
    seed.
    """

    values: dict[int, float]

    @property
    def mean(self) -> float | None:
        return scores.mean(self.values.values())

    @property
    def spread(self) -> float | None:
        return scores.spread(self.values.values())


@dataclass(frozen=True, kw_only=True)
class Figures:
    """All that is known of one row of the tables. Accuracies and shares are in 0..1."""

    row: str
    records: dict[str, dict[int, Record]]
    """By method and seed."""

    def of(self, method: str) -> list[Record]:
        return [record for _, record in sorted(self.records.get(method, {}).items())]

    def accuracy(self, method: str) -> Over:
        """Served before adaptation; of `frozen` from whichever cells of the seed there are. Target
        windows are no part of it.
        """
        return self._over(method, lambda groups: scores.mean(groups))

    def last(self, method: str) -> Over:
        """In the last group of windows."""
        return self._over(method, lambda groups: groups[-1] if groups else None)

    def target(self, method: str) -> Over:
        """On rows that are asked after the last window and never learnt from."""
        found = {}
        for seed, (record, key) in self._cells(method).items():
            windows = [window for window in record["windows"] if window["group"] == TARGET]
            if windows:
                found[seed] = scores.by_group(windows, key)[0]
        return Over(values=found)

    def gap(self, method: str, figure: Callable[[str], Over] | None = None) -> float | None:
        """The share of the gap closed, of means over the seeds that method and oracle share."""
        take = figure or self.accuracy
        served, frozen, oracle = (take(name).values for name in (method, "frozen", "oracle"))
        seeds = sorted(set(served) & set(frozen) & set(oracle))
        if not seeds:
            return None
        means = [
            float(np.mean([each[seed] for seed in seeds])) for each in (served, frozen, oracle)
        ]
        return scores.gap_closed(*means)

    def gains(self, method: str) -> dict[int, float]:
        """Served minus frozen of the same cell, by seed."""
        found = {}
        for seed, record in self.records.get(method, {}).items():
            served, frozen = (
                scores.mean(scores.by_group(_ordinary(record), key)) for key in ("served", "frozen")
            )
            if served is not None and frozen is not None:
                found[seed] = served - frozen
        return found

    def calibration_error(self, method: str) -> Over:
        found = {}
        for seed, (record, key) in self._cells(method).items():
            bins = "frozen_bins" if key == "frozen" else "bins"
            found[seed] = scores.calibration_error(
                scores.pooled_bins(window[bins] for window in _ordinary(record))
            )
        return Over(values=found)

    def bins(self, method: str) -> np.ndarray:
        """Pooled over all windows and seeds."""
        key = "frozen_bins" if method == "frozen" else "bins"
        cells = [record for record, _ in self._cells(method).values()]
        return scores.pooled_bins(window[key] for record in cells for window in record["windows"])

    def outcomes(self, method: str) -> Counter[str]:
        return Counter(
            window["outcome"] for record in self.of(method) for window in record["windows"]
        )

    def compared(self, method: str) -> list[dict[str, Any]]:
        """The paired test of every promotion that had a next window."""
        windows = (window for record in self.of(method) for window in record["windows"])
        return [
            window["after_promotion"] for window in windows if window["after_promotion"] is not None
        ]

    def estimates(self, method: str) -> list[dict[str, Any]]:
        windows = (window for record in self.of(method) for window in record["windows"])
        return [window["estimate"] for window in windows if window.get("estimate") is not None]

    def rollbacks(self, method: str) -> int:
        """How often a watch took a new version back."""
        return sum(
            bool(window.get("rolled_back"))
            for record in self.of(method)
            for window in record["windows"]
        )

    def path(self, method: str, key: str) -> list[float | None]:
        """The mean over seeds of each window, for pictures."""
        cells = [(record, key) for record in self.of(method)]
        if not cells:
            return []
        length = min(len(record["windows"]) for record, _ in cells)
        return [
            scores.mean(record["windows"][n][key] for record, key in cells) for n in range(length)
        ]

    def _cells(self, method: str) -> dict[int, tuple[Record, str]]:
        """By seed the record to read, and the key to read in it."""
        if method != "frozen" or "frozen" in self.records:
            return {
                seed: (record, "served") for seed, record in self.records.get(method, {}).items()
            }
        found: dict[int, tuple[Record, str]] = {}
        for records in self.records.values():
            for seed, record in records.items():
                found.setdefault(seed, (record, "frozen"))
        return found

    def _over(self, method: str, of: Callable[[list[float]], float | None]) -> Over:
        found = {}
        for seed, (record, key) in self._cells(method).items():
            value = of(scores.by_group(_ordinary(record), key))
            if value is not None:
                found[seed] = value
        return Over(values=dict(sorted(found.items())))


def gathered(records: Records) -> dict[str, Figures]:
    """The figures of each row, in the order of the records."""
    rows: dict[str, dict[str, dict[int, Record]]] = {}
    for (row, method, seed), record in records.items():
        rows.setdefault(row, {}).setdefault(method, {})[seed] = record
    return {row: Figures(row=row, records=found) for row, found in rows.items()}


def harmful(compared: Sequence[dict[str, Any]]) -> tuple[int, int]:
    """How many promotions were harmful, of how many that had a next window."""
    return sum(bool(each["harmful"]) for each in compared), len(compared)


def covered(estimates: Sequence[dict[str, Any]]) -> tuple[int, int, int]:
    """How many estimates held the truth, how many were given, of how many runs."""
    given = [each for each in estimates if each["value"] is not None]
    return sum(bool(each["held"]) for each in given), len(given), len(estimates)


def estimate_error(estimates: Sequence[dict[str, Any]]) -> float | None:
    """The mean distance from the truth of those that were given."""
    return scores.mean(
        abs(each["value"] - each["truth"]) for each in estimates if each["value"] is not None
    )


def _ordinary(record: Record) -> list[dict[str, Any]]:
    return [window for window in record["windows"] if window["group"] != TARGET]
