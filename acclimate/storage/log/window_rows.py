"""Assembles a window from its segments: for a run in the trainer, and for a plan of one."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from sqlalchemy import RowMapping

from acclimate.learning.data import Integers, Senders, Snapshot, Window
from acclimate.storage.log.logged_rows import LoggedRows
from acclimate.storage.log.segments import Segments, deduplicate

Lines = Sequence[RowMapping]
Tick = Callable[[int, int], None]
"""Called with (segments read, segments to read)."""


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """Read at most `most` rows, drawn at random: first whole segments, then rows of these."""

    most: int
    rng: np.random.Generator


@dataclass(frozen=True, kw_only=True, eq=False)
class AssembledWindow:
    """A window with the rows that it was made of.

    `learnt` (N,) are the positions in `rows` of the rows to learn from. `total` counts the rows of
    the segments, those that were not sampled included.
    """

    window: Window
    rows: LoggedRows
    snapshot: Snapshot
    learnt: Integers
    total: int


def assemble(
    segments: Segments,
    lines: Lines,
    snapshot_of: Callable[[LoggedRows], Snapshot],
    *,
    rng: np.random.Generator,
    tick: Tick = lambda done, total: None,
    sampling: Sampling | None = None,
) -> AssembledWindow:
    """Read the rows of these segments, at least one, and split them into learnt and held out.

    `snapshot_of` returns what is known of the rows: their labels, and rows of earlier windows.
    `rng` draws the rows that are held out. Raises `SegmentDamaged`, `StoreError`.
    """
    rows, total = _sample(segments, lines, tick, sampling)
    snapshot = snapshot_of(rows)
    # The same draw over positions says which rows the window has to learn from.
    positions = Window.split(np.arange(len(rows)), snapshot, rng=copy.deepcopy(rng))
    window = Window.split(rows.x, snapshot, rng=rng, senders=senders(rows))
    return AssembledWindow(
        window=window, rows=rows, snapshot=snapshot, learnt=positions.x, total=total
    )


def read(segments: Segments, lines: Lines, tick: Tick) -> LoggedRows:
    """The first copy of each row of these segments, at least one. Raises `SegmentDamaged`."""
    parts = []
    for done, line in enumerate(lines, 1):
        parts.append(segments.read(line["key"], line["digest"]))
        tick(done, len(lines))
    return deduplicate(LoggedRows.concatenate(parts))


def senders(rows: LoggedRows) -> Senders:
    """The keys that sent the rows."""
    names, numbers = np.unique(np.array(rows.client, dtype=np.str_), return_inverse=True)
    return Senders(client=numbers.astype(np.int64), names=tuple(names.tolist()))


def _sample(
    segments: Segments, lines: Lines, tick: Tick, sampling: Sampling | None
) -> tuple[LoggedRows, int]:
    """The rows, or a sample of them, and how many there are."""
    if sampling is None:
        rows = read(segments, lines, tick)
        return rows, len(rows)
    chosen = _sampled_lines(lines, sampling)
    rows = read(segments, chosen, tick)
    total = len(rows) if len(chosen) == len(lines) else sum(line["rows"] for line in lines)
    if len(rows) > sampling.most:
        drawn = sampling.rng.permutation(len(rows))[: sampling.most]
        rows = rows.take(np.sort(drawn))
    return rows, total


def _sampled_lines(lines: Lines, sampling: Sampling) -> Lines:
    """Segments drawn at random until they have the rows asked for, in their own order."""
    if sum(line["rows"] for line in lines) <= sampling.most:
        return lines
    drawn: list[int] = []
    rows = 0
    for number in sampling.rng.permutation(len(lines)).tolist():
        drawn.append(number)
        rows += lines[number]["rows"]
        if rows >= sampling.most:
            break
    return [lines[number] for number in sorted(drawn)]
