"""The table of the promise: what is served beside version 1, by how many labels there are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from benchmarks.streams import figures, scores
from benchmarks.streams.figures import Figures

LABELS = {"ours": "no labels", "ours_few": "10 labels", "ours_audited": "25 labels"}
MOST_HARM, MOST_IN_A_WINDOW = -0.010, -0.10
"""What is promised without labels: served less frozen, in the mean and in the worst window."""
WORST_SHOWN = 8


def table(rows: Mapping[str, Figures], order: Sequence[str]) -> list[str]:
    """A row for each stream; harm first in each cell: mean difference, worst window."""
    methods = [name for name in LABELS if any(rows[row].of(name) for row in order)]
    heads = [f"{LABELS[name]} (worst window)" for name in methods]
    lines = [
        f"| stream | seeds | frozen | {' | '.join(heads)} | oracle | harmful promotions | "
        "divergence, mean (most) | ECE: frozen, served |",
        "| --- |" + " --- |" * (len(heads) + 6),
    ]
    for row in order:
        found = rows[row]
        if not found.of("ours"):
            continue
        cells = [_difference(found, name) for name in methods]
        errors = ", ".join(_points(found.calibration_error(m).mean) for m in ("frozen", "ours"))
        lines.append(
            f"| {row} | {len(found.of('ours'))} | {_points(found.accuracy('frozen').mean)} | "
            f"{' | '.join(cells)} | {_points(found.accuracy('oracle').mean)} | "
            f"{_harmful(found)} | {_divergence(found)} | {errors} |"
        )
    return lines


def summary(rows: Mapping[str, Figures], order: Sequence[str]) -> list[str]:
    """Where the promise is broken, worst first, and how often it is kept."""
    lines = []
    for method, words in LABELS.items():
        known = [row for row in order if rows[row].of(method)]
        if not known:
            continue
        harmed = sorted((_mean(rows[row], method), row) for row in known)
        deep = sorted((min(_windows(rows[row].of(method))), row) for row in known)
        below = [f"{row} {100 * value:+.1f}" for value, row in harmed if value < MOST_HARM]
        fell = [f"{row} {100 * value:+.0f}" for value, row in deep if value < MOST_IN_A_WINDOW]
        bad, of = figures.harmful([each for row in known for each in rows[row].compared(method)])
        lines.append(
            f"- **{words}**, {len(known)} streams: more than a point below version 1: "
            f"{', '.join(below[:WORST_SHOWN]) or 'none'}; a window more than 10 points below: "
            f"{', '.join(fell[:WORST_SHOWN]) or 'none'}; harmful promotions {bad} of {of}."
        )
    return lines


def _mean(found: Figures, method: str) -> float:
    return scores.mean(found.gains(method).values()) or 0.0


def _windows(records: Iterable[dict[str, Any]]) -> list[float]:
    """Served less frozen in every scored window."""
    return [
        window["served"] - window["frozen"]
        for record in records
        for window in record["windows"]
        if window["served"] is not None
    ]


def _difference(found: Figures, method: str) -> str:
    records = found.of(method)
    if not records:
        return "-"
    return f"{100 * _mean(found, method):+.1f} ({100 * min(_windows(records)):+.0f})"


def _harmful(found: Figures) -> str:
    told = (figures.harmful(found.compared(method)) for method in LABELS)
    return ", ".join(f"{bad} of {of}" if of else "-" for bad, of in told)


def _divergence(found: Figures) -> str:
    """Between what answered and the proved version, over the windows that compared them."""
    shares = [
        window["serving"]["divergence"]["value"]
        if window["serving"]["serves"] == "learner"
        else 0.0
        for record in found.of("ours")
        for window in record["windows"]
        if (window.get("serving") or {}).get("divergence") is not None
    ]
    if not shares:
        return "-"
    return f"{100 * sum(shares) / len(shares):.0f} ({100 * max(shares):.0f})"


def _points(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}"
