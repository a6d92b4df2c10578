"""Follows a run to its end: one progress bar per stage on a terminal, else plain lines."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import typer

from acclimate.cli import output
from acclimate.client.errors import Json
from acclimate.client.http import TERMINAL, Client

STAGES = ("snapshot", "diagnose", "pseudo_label", "train", "calibrate", "judge", "publish")


@dataclass(frozen=True, kw_only=True)
class Bar:
    """The progress of one stage; `total` is None while it is not known."""

    stage: str
    done: int
    total: int | None
    note: str


def watch(client: Client, run: str, show: Callable[[Json], None]) -> Json:
    """Wait until the run has ended; returns it.

    Args:
        show: called after every event with the run's `state`, `stage` and `progress`.
    """
    where: Json = {"state": None, "stage": None, "progress": None}
    for event in client.events(run):
        if event.kind == "state":
            where = {**where, "state": event.content["state"]}
        elif event.kind == "stage":
            where = {**where, "stage": event.content["stage"], "progress": None}
        elif event.kind == "progress":
            where = {**where, "progress": event.content}
        show(where)
    return client.run(run)


def follow(client: Client, run: str, home: Path | None) -> Json:
    """Wait until the run has ended, with its progress on stderr; returns it.

    Ctrl-C exits 130 and prints how to follow the run again; the run continues.
    """
    try:
        with output.bars() as progress:
            if progress.disable:
                return watch(client, run, _print_stages(run))
            tasks = {
                stage: progress.add_task(stage, total=None, start=False, note="")
                for stage in STAGES
            }

            def show(found: Json) -> None:
                for bar in stage_bars(found):
                    progress.start_task(tasks[bar.stage])
                    progress.update(
                        tasks[bar.stage], completed=bar.done, total=bar.total, note=bar.note
                    )

            return watch(client, run, show)
    except KeyboardInterrupt:
        where = f" --home {home}" if home else ""
        output.say(
            f"run {run} continues; follow it again with: acclimate runs show {run} --follow{where}"
        )
        raise typer.Exit(130) from None


def stage_bars(run: Json) -> Iterator[Bar]:
    """A full bar for every stage that the run has passed, and one for its current stage."""
    stage = run.get("stage")
    progress = run.get("progress") or {}
    if stage not in STAGES:
        return
    for passed in STAGES[: STAGES.index(stage)]:
        yield Bar(stage=passed, done=1, total=1, note="")
    if run["state"] == "succeeded":
        yield Bar(stage=stage, done=1, total=1, note="")
    else:
        unit = str(progress.get("unit") or "")
        yield Bar(
            stage=stage, done=progress.get("done") or 0, total=progress.get("total"), note=unit
        )


def _print_stages(run: str) -> Callable[[Json], None]:
    """A function that prints a line whenever the run's stage or final state changed."""
    printed: list[str] = []

    def show(found: Json) -> None:
        now = (
            found["state"]
            if found["state"] in TERMINAL or not found.get("stage")
            else found["stage"]
        )
        if [now] != printed[-1:]:
            printed.append(now)
            output.say(f"run {run}: {now}")

    return show
