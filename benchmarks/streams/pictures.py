"""The pictures of the report: accuracy by window, gaps closed, reliability, harmful promotions."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.streams import catalogue, figures
from benchmarks.streams.figures import Figures
from benchmarks.streams.scores import BINS

COLOURS = {
    "frozen": "#b9b9b9",
    "ours": "#1f6f8b",
    "ours_audited": "#2a9d4a",
    "oracle": "#e9a23b",
    "kumar": "#b5651d",
    "naive": "#c94f4f",
    "one_shot": "#8a6fb0",
    "tent": "#5c8a8a",
}
LABELS = {
    "ours_audited": "ours, 25 audits",
    "kumar": "Kumar 2020",
    "one_shot": "one-shot",
    "tent": "TENT",
}
LINES = ("oracle", "kumar", "ours_audited", "ours")


def draw(rows: dict[str, Figures], order: Sequence[str], folder: Path) -> int:
    """Writes them as PNG and says how many; none without matplotlib (extra `demo`)."""
    try:
        import matplotlib.backends.backend_agg  # noqa: F401
    except ModuleNotFoundError:
        return 0
    for row in order:
        _windows(rows[row], folder / f"accuracy-{row.replace('!', '-')}.png")
    for name, of in (
        ("gap-closed", _gaps),
        ("reliability", _reliability),
        ("harmful-promotions", _harm),
    ):
        of(rows, order, folder / f"{name}.png")
    return len(order) + 3


def _windows(found: Figures, path: Path) -> None:
    """Accuracy by window, the mean over seeds; triangles where a version was promoted, by how many
    seeds.
    """
    figure, axes = _sheet(9, 4.4)
    definition = catalogue.definition(found.row)
    carrier = next((method for method in ("ours", *found.records) if found.of(method)), None)
    if carrier is not None:
        _line(axes, found.path(carrier, "frozen"), "frozen", width=4.0)
    for method in LINES:
        if found.of(method):
            _line(
                axes, found.path(method, "served"), method, width=2.4 if method == "ours" else 1.4
            )
    records = found.of("ours")
    for place in range(len(records[0]["windows"]) if records else 0):
        promoted = sum(record["windows"][place]["outcome"] == "P" for record in records)
        alarms = sum(record["windows"][place]["outcome"] == "A" for record in records)
        if promoted:
            axes.plot(
                place + 1.5,
                2,
                marker="^",
                ms=4 + 5 * promoted / len(records),
                color=COLOURS["ours_audited"],
                clip_on=False,
            )
        if alarms:
            axes.plot(
                place + 1,
                6,
                marker="x",
                ms=4 + 5 * alarms / len(records),
                color=COLOURS["naive"],
                clip_on=False,
            )
    for number in definition.marked:
        axes.axvspan(number - 0.5, number + 0.5, color="#e9c46a", alpha=0.3, lw=0)
    axes.plot([], [], "^", color=COLOURS["ours_audited"], label="promotion (larger: more seeds)")
    axes.plot([], [], "x", color=COLOURS["naive"], label="alarm")
    axes.set(ylim=(0, 103), xlabel="window", ylabel="accuracy, per cent")
    axes.set_title(f"{found.row}: {definition.about}", fontsize=9)
    axes.grid(axis="y", color="#dddddd", lw=0.7)
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=4, frameon=False, fontsize=8)
    figure.savefig(path)


def _line(axes: Any, values: Sequence[float | None], method: str, *, width: float) -> None:
    y = [math.nan if value is None else 100 * value for value in values]
    axes.plot(
        range(1, len(y) + 1),
        y,
        color=COLOURS[method],
        lw=width,
        marker="o",
        ms=3,
        label=LABELS.get(method, method),
    )


def _gaps(rows: dict[str, Figures], order: Sequence[str], path: Path) -> None:
    """A bar for each method on every stream with a gap."""
    methods = ("one_shot", "naive", "kumar", "tent", "ours", "ours_audited")
    named = [
        row for row in order if catalogue.definition(row).gap and rows[row].gap("ours") is not None
    ]
    _bars(
        named,
        methods,
        lambda row, method: rows[row].gap(method),
        path,
        title="share of the gap between frozen and oracle that was closed",
        limits=(-60, 120),
        line=80,
    )


def _harm(rows: dict[str, Figures], order: Sequence[str], path: Path) -> None:
    def harm(row: str, method: str) -> float | None:
        bad, compared = figures.harmful(rows[row].compared(method))
        return bad / compared if compared else None

    named = [
        row
        for row in order
        if any(rows[row].compared(method) for method in ("ours", "ours_audited"))
    ]
    _bars(
        named,
        ("naive", "kumar", "ours", "ours_audited"),
        harm,
        path,
        title="share of promotions after which the next window was answered worse (McNemar, 5 %)",
        limits=(0, 100),
        line=20,
    )


def _bars(
    named: Sequence[str],
    methods: Sequence[str],
    value: Callable[[str, str], float | None],
    path: Path,
    *,
    title: str,
    limits: tuple[float, float],
    line: float,
) -> None:
    figure, axes = _sheet(max(7, 0.75 * len(named) + 2), 4.6)
    width = 0.8 / len(methods)
    for place, method in enumerate(methods):
        heights = [value(row, method) for row in named]
        if any(height is not None for height in heights):
            x = np.arange(len(named)) - 0.4 + width * (place + 0.5)
            y = [math.nan if height is None else 100 * height for height in heights]
            axes.bar(
                x,
                np.clip(y, *limits),
                width,
                color=COLOURS[method],
                label=LABELS.get(method, method),
            )
    axes.axhline(line, color="#444444", lw=0.8, ls="--")
    axes.axhline(0, color="#444444", lw=0.8)
    axes.set_xticks(range(len(named)), named, rotation=35, ha="right", fontsize=8)
    axes.set(ylim=limits, ylabel="per cent")
    axes.set_title(title, fontsize=9)
    axes.grid(axis="y", color="#dddddd", lw=0.7)
    if named:
        axes.legend(frameon=False, fontsize=8, ncols=3)
    figure.savefig(path)


def _reliability(rows: dict[str, Figures], order: Sequence[str], path: Path) -> None:
    """How often answers of each confidence were right: ours and frozen, a panel a stream."""
    named = [row for row in order if rows[row].of("ours")]
    columns = 6
    lines = max(1, math.ceil(len(named) / columns))
    figure, _ = _sheet(2.1 * columns, 2.2 * lines, panels=False)
    for place, row in enumerate(named):
        axes = figure.add_subplot(lines, columns, place + 1)
        axes.plot([0, 1], [0, 1], color="#999999", lw=0.8, ls="--")
        for method in ("frozen", "ours"):
            count, confidence, right = rows[row].bins(method)
            there = count >= BINS
            size = 3 + 25 * count[there] / max(count.sum(), 1)
            x, y = confidence[there] / count[there], right[there] / count[there]
            axes.plot(x, y, color=COLOURS[method], lw=1.2)
            axes.scatter(x, y, s=size, color=COLOURS[method], label=method)
        axes.set(xlim=(0, 1), ylim=(0, 1))
        axes.set_title(row, fontsize=8)
        axes.tick_params(labelsize=6)
        if place == 0:
            axes.legend(frameon=False, fontsize=6)
    figure.supxlabel("confidence", fontsize=8)
    figure.supylabel("share of right answers", fontsize=8)
    figure.savefig(path)


def _sheet(width: float, height: float, *, panels: bool = True) -> tuple[Any, Any]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    if not panels:
        return figure, None
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes
