"""The plot of a played stream: accuracy of the served model and of the frozen anchor per window,
with the promotions.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from acclimate.cli.scoring import Played

SERVED = "#1f6f8b"
FROZEN = "#b9b9b9"
SHADE = "#e9c46a"
PROMOTED = "#2a9d4a"


def draw(windows: Sequence[Played], path: Path, *, title: str) -> bool:
    """Write the plot as PNG; returns False when matplotlib (extra `demo`) is not installed.

    A triangle after a window marks a promotion, with the number of the promoted version. Marked
    windows are shaded and named, and not part of the two lines.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
        from matplotlib.ticker import MaxNLocator
    except ModuleNotFoundError:
        return False
    figure = Figure(figsize=(9, 4.6), dpi=130, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    _draw_accuracies(axes, windows)
    for number, window in enumerate(windows, start=1):
        if window.mark is not None:
            _draw_mark(axes, number, window)
        if window.promoted:
            _draw_promotion(axes, number, window)
    if any(window.promoted for window in windows):
        label = "promotion, with the promoted version"
        axes.plot([], [], marker="^", ms=9, color=PROMOTED, ls="", label=label)
    axes.set(
        xlim=(0.5, len(windows) + 0.9),
        ylim=(0, 103),
        xlabel="window",
        ylabel="accuracy, %",
        title=title,
    )
    numbers = range(1, len(windows) + 1)
    axes.set_xticks(numbers, [str(window.window) for window in windows])
    if len(windows) > 25:
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(axis="y", color="#dddddd", lw=0.7, zorder=0)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=3, frameon=False, fontsize=9)
    figure.savefig(path)
    return True


def _draw_accuracies(axes: Any, windows: Sequence[Played]) -> None:
    """The lines of both accuracies over the unmarked windows, and a cross in each marked one."""
    at = np.arange(1, len(windows) + 1)
    marked = np.array([window.mark is not None for window in windows])
    for name, colour, width, label in (
        ("frozen_accuracy", FROZEN, 4.5, "frozen (version 1)"),
        ("served_accuracy", SERVED, 2.0, "served"),
    ):
        share = np.array([100 * getattr(window, name) for window in windows])
        mean = f", mean {share[~marked].mean():.1f} %" if (~marked).any() else ""
        axes.plot(
            at[~marked],
            share[~marked],
            color=colour,
            lw=width,
            marker="o",
            ms=5,
            label=label + mean,
            zorder=3,
        )
        axes.plot(at[marked], share[marked], color=colour, ls="", marker="x", ms=6, zorder=3)


def _draw_mark(axes: Any, number: int, window: Played) -> None:
    """The shade of a marked window, with its mark and the state of its run."""
    axes.axvspan(number - 0.5, number + 0.5, color=SHADE, alpha=0.35, lw=0, zorder=0)
    axes.text(
        number,
        50,
        f"{window.mark}\nrun {window.state or 'not started'}",
        rotation=90,
        ha="center",
        va="center",
        fontsize=8,
        color="#6b4e00",
        zorder=4,
    )


def _draw_promotion(axes: Any, number: int, window: Played) -> None:
    """A triangle after the window, with the number of the promoted version."""
    x = number + 0.5
    axes.plot(x, 3.5, marker="^", ms=9, color=PROMOTED, ls="", zorder=5, clip_on=False)
    axes.text(
        x,
        7.5,
        window.version_after,
        ha="center",
        va="bottom",
        fontsize=8,
        color="#1e7a38",
    )
