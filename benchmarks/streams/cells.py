"""The cells of the benchmark: stream x method x seed, each kept as JSON under the digest of the
code that made it.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.streams import catalogue, sources
from benchmarks.streams.methods import MODULES, module

FOLDER = Path(".bench/cells")
FORMAT = 1
"""Of the records; one more when the reports need what older ones do not have."""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One method on one row of the tables under one seed."""

    row: str
    method: str
    seed: int

    @property
    def name(self) -> str:
        return f"{self.row} {self.method} seed {self.seed}"

    def path(self, folder: Path) -> Path:
        """Where its record is kept; another path as soon as its code is another."""
        return folder / self.row / f"{self.method}-{self.seed}-{digest(self)}.json"


def digest(cell: Cell) -> str:
    """Of the code of stream, method and scoring, and of the product's learning as far as the method
    imports it.
    """
    build = catalogue.definition(cell.row).build
    code = sources.digest((build.__module__, module(cell.method), "benchmarks.streams.scores"))
    return f"{code}-{build.__name__}-{FORMAT}"


def planned(rows: Iterable[str], methods: Sequence[str], seeds: Sequence[int]) -> list[Cell]:
    """The cells in the order in which they are worth running: ours and the oracle of all seeds
    first, row by row of each seed.

    One row's cells of a seed are far apart, so that one trains the anchor and the others read it.
    """
    chosen = list(rows)
    ordered = [method for method in MODULES if method in methods]
    return [
        Cell(row=row, method=method, seed=seed)
        for group in (ordered[:2], ordered[2:])
        for seed in seeds
        for method in group
        for row in chosen
    ]


def known(cell: Cell, folder: Path = FOLDER) -> dict[str, Any] | None:
    """The record of a cell, if this code has made it."""
    path = cell.path(folder)
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def keep(cell: Cell, record: dict[str, Any], folder: Path = FOLDER) -> None:
    path = cell.path(folder)
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_suffix(f".{os.getpid()}.tmp")
    beside.write_text(json.dumps(record), encoding="utf-8")
    beside.replace(path)


def run(
    cell: Cell, folder: Path = FOLDER, say: Callable[[str], None] = lambda line: None
) -> dict[str, Any]:
    """Play the cell in this process and keep its record."""
    from benchmarks.streams.walk import walk

    record = walk(cell.row, cell.method, cell.seed, say=say)
    keep(cell, record, folder)
    return record


def run_all(
    cells: Sequence[Cell], *, jobs: int, minutes: float | None = None, folder: Path = FOLDER
) -> Iterator[str]:
    """Play those that are not known, in so many processes, and say a line for each; begins none
    after so many minutes.
    """
    left = [cell for cell in cells if known(cell, folder) is None]
    yield f"{len(cells)} cells, {len(cells) - len(left)} known, {len(left)} to play"
    if not left:
        return
    until = time.monotonic() + 60 * minutes if minutes is not None else float("inf")
    queue = iter(left)
    done = 0
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, mp_context=context, max_tasks_per_child=20) as pool:
        waiting: dict[Future[str], Cell] = {}
        while True:
            while (
                len(waiting) < jobs
                and time.monotonic() < until
                and (cell := next(queue, None)) is not None
            ):
                waiting[pool.submit(_played, cell, folder)] = cell
            if not waiting:
                break
            finished, _ = wait(waiting, return_when=FIRST_COMPLETED)
            for future in finished:
                done += 1
                cell = waiting.pop(future)
                yield f"[{done}/{len(left)}] {cell.name}: {future.result()}"
    if done < len(left):
        yield f"{len(left) - done} cells not begun: the time was over; the same command goes on"


def _played(cell: Cell, folder: Path) -> str:
    os.nice(5)
    try:
        record = run(cell, folder)
    except Exception:  # one broken cell must not end the others; its row says "not measured"
        return "FAILED\n" + traceback.format_exc()
    return summary(record)


def summary(record: dict[str, Any]) -> str:
    """A record in a line."""
    from benchmarks.streams import scores

    windows = record["windows"]
    frozen, served = (
        scores.mean(scores.by_group(windows, key)) or 0.0 for key in ("frozen", "served")
    )
    last = scores.by_group(windows, "frozen")[-1], scores.by_group(windows, "served")[-1]
    letters = "".join(window["outcome"] for window in windows)
    return (
        f"frozen {100 * frozen:.1f} served {100 * served:.1f} last "
        f"{100 * last[0]:.0f}/{100 * last[1]:.0f} "
        f"{letters} strength {record['strength']} begin {record['begin_seconds']:.0f} s, all "
        f"{record['seconds']:.0f} s"
    )
