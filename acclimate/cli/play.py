"""The command `play`, and its output, which the demo shares: lines, table, report, plot."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from acclimate.cli import output, picture, playing, scoring
from acclimate.cli.connection import connect
from acclimate.cli.options import AsJson, Home, Model, Url
from acclimate.cli.scoring import Played
from acclimate.client.http import Client

PATIENCE = 15.0
"""Seconds for which an unreachable service is tried again."""


def play(
    model: Model,
    stream: Annotated[
        Path,
        typer.Argument(metavar="STREAM.npz", help="Arrays: rows x, classes y, window numbers t."),
    ],
    audit: Annotated[
        int,
        typer.Option("--audit", min=0, help="True labels sent for each window before its run."),
    ] = 0,
    report: Annotated[
        Path | None,
        typer.Option(
            "--report",
            metavar="FILE",
            help="JSON report; the plot is written beside it [play-MODEL.json].",
        ),
    ] = None,
    home: Home = None,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Send a labeled stream as unlabeled traffic, window by window, and compare the accuracy of the
    served model with that of the frozen anchor.
    """
    labeled = playing.read(stream)
    path = report or Path(f"play-{model}.json")
    with connect(home, url, patience=PATIENCE) as client:
        windows = play_shown(client, model, labeled, audit=audit)
    if as_json:
        output.print_json(scoring.report(windows))
    else:
        output.print_table(windows_table(model, windows))
        print(summary(scoring.report(windows)))
    output.say(keep(windows, path, title=f"{model}: {stream.name}"))


def play_shown(
    client: Client, model: str, stream: playing.LabeledStream, *, audit: int = 0
) -> list[Played]:
    """Play the stream, with a line per window and a progress bar on a terminal; returns the
    windows.
    """
    windows: list[Played] = []
    with output.bars() as progress:
        task = progress.add_task("", total=None, note="")

        def say(text: str, done: int, total: int) -> None:
            progress.update(task, description=text, completed=done, total=total or None)

        for window in playing.play(client, model, stream, audit=audit, say=say):
            windows.append(window)
            if progress.disable:
                output.say(line(window))
            else:
                progress.console.print(line(window))
    return windows


def line(window: Played) -> str:
    """One window as a line: its accuracies and the outcome of its run."""
    end = f"run {window.state}" if window.run else "no run"
    after = f", version {window.version_after} promoted" if window.promoted else ""
    why = f": {window.detail}" if window.detail and not window.promoted else ""
    mark = f" ({window.mark})" if window.mark else ""
    return (
        f"window {window.window}{mark}: {window.rows} rows, served "
        f"{output.percent(window.served_accuracy)}, "
        f"frozen {output.percent(window.frozen_accuracy)}, {end}{after}{why}"
    )


def windows_table(model: str, windows: Sequence[Played]) -> Table:
    """The table of the windows: frozen and served accuracy, ECE, run."""
    columns = ("window", "rows", "frozen", "served", "ECE", "run", "version after", "mark")
    rows = [
        [
            window.window,
            window.rows,
            output.percent(window.frozen_accuracy),
            output.percent(window.served_accuracy),
            f"{window.ece:.3f}",
            window.state,
            window.version_after,
            window.mark,
        ]
        for window in windows
    ]
    return output.table(
        model, columns, rows, right=("window", "rows", "frozen", "served", "ECE", "version after")
    )


def summary(report: dict[str, Any]) -> str:
    """A line with the means over unmarked windows, and the counts of promotions and rejections."""
    mean = report["mean"]
    if mean["served_accuracy"] is None:
        means = "every window is marked"
    else:
        means = (
            f"mean: frozen {output.percent(mean['frozen_accuracy'])}, served "
            f"{output.percent(mean['served_accuracy'])}, "
            f"ECE {mean['ece']:.3f}"
        )
    return f"{means}; promotions {report['promotions']}, rejections {report['rejections']}"


def keep(windows: Sequence[Played], path: Path, *, title: str) -> str:
    """Write report and plot; returns a message with their paths."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(scoring.report(windows), indent=2) + "\n", encoding="utf-8")
    image = path.with_suffix(".png")
    if picture.draw(windows, image, title=title):
        return f"report {path}, plot {image}"
    return f"report {path}; no plot: it needs matplotlib, install the extra acclimate[demo]"
