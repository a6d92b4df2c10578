"""The output of the commands: results on stdout, progress on stderr, progress bars only on a
terminal.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

NOTHING = "–"
UNFOLDED = 400
"""Width in columns of tables that are not printed to a terminal: narrower ones are not wrapped."""
STYLES = {
    "ok": "green",
    "succeeded": "green",
    "champion": "green",
    "warn": "yellow",
    "cancelled": "yellow",
    "quarantined": "yellow",
    "bad": "bold red",
    "failed": "bold red",
}
"""Colours of states. `rejected` has none: it is a normal end of a run."""


def stdout() -> Console:
    """The console for results. Lines are not wrapped unless stdout is a terminal."""
    return Console(file=sys.stdout, soft_wrap=not sys.stdout.isatty(), highlight=False)


def stderr() -> Console:
    """The console for progress and errors."""
    return Console(file=sys.stderr, soft_wrap=not sys.stderr.isatty(), highlight=False)


def print_json(value: Any) -> None:
    """Print one JSON document on stdout."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False, indent=2) + "\n")
    sys.stdout.flush()


def say(text: str) -> None:
    """Print one line on stderr and flush."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def table(
    title: str | None,
    columns: Sequence[str],
    rows: Iterable[Sequence[Any]],
    *,
    right: Iterable[str] = (),
) -> Table:
    """A table of `cell`s; the columns named in `right` are aligned right and not wrapped."""
    made = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left", pad_edge=False)
    numbers = set(right)
    for name in columns:
        made.add_column(
            name, justify="right" if name in numbers else "left", no_wrap=name in numbers
        )
    for row in rows:
        made.add_row(*(cell(value) for value in row))
    return made


def print_table(made: Table) -> None:
    """Print the table on stdout, as wide as needed unless stdout is a terminal."""
    console = (
        stdout()
        if sys.stdout.isatty()
        else Console(file=sys.stdout, highlight=False, width=UNFOLDED)
    )
    console.print(made)


def print_fields(fields: Mapping[str, Any], *, indent: int = 0) -> None:
    """Print one line per field on stdout, without null fields; nested objects are indented."""
    known = {name: value for name, value in fields.items() if value is not None}
    width = max((len(name) for name in known), default=0)
    for name, value in known.items():
        if isinstance(value, Mapping) and any(
            isinstance(part, (Mapping, list)) for part in value.values()
        ):
            print(f"{' ' * indent}{name}")
            print_fields(value, indent=indent + 2)
        elif isinstance(value, list) and value and all(isinstance(part, Mapping) for part in value):
            print(f"{' ' * indent}{name}")
            for part in value:
                print(f"{' ' * indent}- {cell(part)}")
        else:
            print(f"{' ' * indent}{name:<{width}}  {cell(value)}")


def pick(item: Mapping[str, Any], *paths: str) -> list[Any]:
    """The values at dotted paths such as `window.rows`; None where a path does not exist."""
    found = []
    for path in paths:
        value: Any = item
        for key in path.split("."):
            value = value.get(key) if isinstance(value, Mapping) else None
        found.append(value)
    return found


def cell(value: Any) -> Text:
    """One value as text: a dash for nothing, and the colour of a state."""
    if value is None or value == "":
        return Text(NOTHING, style="dim")
    if isinstance(value, Text):
        return value
    if isinstance(value, bool):
        return Text("yes" if value else "no")
    if isinstance(value, float):
        return Text(f"{value:.4g}")
    if isinstance(value, Mapping):
        return Text(", ".join(f"{key} {part}" for key, part in value.items()) or NOTHING)
    if isinstance(value, (list, tuple)):
        return Text(", ".join(str(part) for part in value) or NOTHING)
    return Text(str(value), style=STYLES.get(str(value), ""))


def percent(share: float | None) -> str | None:
    """A ratio in 0..1 as a percentage with one decimal."""
    return None if share is None else f"{100 * share:.1f} %"


def duration(seconds: float | None) -> str | None:
    """Seconds as text: `4.2 s`, `3 m 15 s`, `2 h 5 m`, `3 d 4 h`."""
    if seconds is None:
        return None
    if seconds < 10:
        return f"{max(0.0, seconds):.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    for unit, size, lower, lower_size in (
        ("d", 86_400, "h", 3600),
        ("h", 3600, "m", 60),
        ("m", 60, "s", 1),
    ):
        if whole >= size:
            return f"{whole // size} {unit} {whole % size // lower_size} {lower}"
    raise AssertionError(whole)


def elapsed(run: Mapping[str, Any]) -> str | None:
    """The duration of a run, until now for an active one."""
    start = instant(run.get("started_at") or run.get("created_at"))
    end = instant(run.get("ended_at")) or datetime.now(UTC)
    return None if start is None else duration((end - start).total_seconds())


def instant(text: str | None) -> datetime | None:
    """The time in an RFC 3339 text."""
    return datetime.fromisoformat(text.replace("Z", "+00:00")) if text else None


def bars() -> Progress:
    """Progress bars on stderr, removed at the end; disabled unless stderr is a terminal."""
    console = stderr()
    return Progress(
        TextColumn("{task.description:<14}"),
        BarColumn(bar_width=32),
        MofNCompleteColumn(),
        TextColumn("{task.fields[note]}"),
        TimeRemainingColumn(compact=True),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
