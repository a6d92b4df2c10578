"""`python -m benchmarks.streams`: play what is missing, then write tables and pictures of all that
is there.
"""

from __future__ import annotations

import argparse
import datetime
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.streams import ablation, catalogue, cells
from benchmarks.streams.cells import Cell
from benchmarks.streams.methods import MODULES, USUAL

RESULTS = Path("benchmarks/results")
QUICK_METHODS = ("ours", "oracle", "kumar")
QUICK_MINUTES = 8.0


def main(arguments: list[str] | None = None) -> int:
    asked = parser().parse_args(arguments)
    methods = _split(asked.methods) or (QUICK_METHODS if asked.quick else USUAL)
    try:
        rows = catalogue.chosen(_split(asked.only)) if asked.only else _usual(asked.quick)
        rules = ablation.chosen(_split(asked.ablate))
        _check(methods)
    except (catalogue.UnknownStream, ablation.UnknownRule, UnknownMethod) as error:
        print(error, file=sys.stderr)
        return 2
    seeds = [int(seed) for seed in _split(asked.seeds)] or (
        [12, 13] if asked.quick else [12, 13, 14, 15, 16]
    )
    skipped = {row: path for row in rows if (path := catalogue.definition(row).absent) is not None}
    for row, path in skipped.items():
        print(f"skipped {row}: {path} is not there (ACCLIMATE_STREAMS)", flush=True)
    here = [row for row in rows if row not in skipped]
    plan = ablation.planned(here, rules, seeds) if rules else cells.planned(here, methods, seeds)
    if asked.verbose:
        _play_here(plan)
        return 0
    if not asked.report_only:
        minutes = QUICK_MINUTES if asked.minutes is None and asked.quick else asked.minutes
        for line in cells.run_all(plan, jobs=asked.jobs, minutes=minutes):
            print(line, flush=True)
    if rules:
        print(ablation.table(here, rules, seeds))
        return 0
    _report(plan, asked, sorted(skipped))
    return 0


def _play_here(plan: list[Cell]) -> None:
    for cell in plan:
        print(cell.name, flush=True)
        record = cells.run(cell, say=lambda line: print(line, flush=True))
        print(cells.summary(record), flush=True)


def _report(plan: list[Cell], asked: argparse.Namespace, skipped: list[str]) -> None:
    from benchmarks.mechanisms import gates
    from benchmarks.streams import report

    if not (asked.report_only or asked.only or asked.quick or gates.known()):
        gates.main([])
    today = datetime.date.today().isoformat()
    usual = RESULTS / f"streams-{today}{'-quick' if asked.quick else ''}"
    folder = Path(asked.out) if asked.out else usual
    print(report.write(plan, folder, skipped=skipped, date=today))


class UnknownMethod(ValueError):
    """No method has this name; the message lists those there are."""


def _check(methods: Sequence[str]) -> None:
    for method in methods:
        if method not in MODULES:
            raise UnknownMethod(f"unknown method {method!r}; known: {', '.join(MODULES)}")


def parser() -> argparse.ArgumentParser:
    out = argparse.ArgumentParser(prog="python -m benchmarks.streams", description=__doc__)
    out.add_argument("--only", default="", help="streams, patterns or families, by commas")
    out.add_argument("--methods", default="", help=f"by commas, of {', '.join(MODULES)}")
    out.add_argument(
        "--ablate",
        default="",
        help="rules of learning by commas, or all: the loop without each, beside the whole loop",
    )
    out.add_argument("--seeds", default="", help="by commas [12,13,14,15,16]")
    out.add_argument(
        "--jobs", type=int, default=2, help="cells at a time, each in a process of one thread [2]"
    )
    out.add_argument(
        "--minutes", type=float, default=None, help="begin no cell after so many minutes"
    )
    out.add_argument(
        "--quick", action="store_true", help="few streams and methods, two seeds, under ten minutes"
    )
    out.add_argument(
        "--report-only", action="store_true", help="play nothing, report what is known"
    )
    out.add_argument(
        "--out", default="", help="folder of the report [benchmarks/results/streams-DATE]"
    )
    out.add_argument(
        "-v",
        "--verbose",
        action="store_true",
        help="play the cells here, known or not, a line for each window; no report",
    )
    return out


def _usual(quick: bool) -> tuple[str, ...]:
    return catalogue.QUICK if quick else catalogue.rows()


def _split(text: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in text.split(",") if word.strip())


if __name__ == "__main__":
    raise SystemExit(main())
