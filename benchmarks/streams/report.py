"""Tables in markdown, all figures as JSON, and pictures, of the cells that are known."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.mechanisms import gates
from benchmarks.streams import catalogue, cells, figures, musts, pictures, promise
from benchmarks.streams.cells import Cell
from benchmarks.streams.figures import Figures, Over
from benchmarks.streams.learner import OUTCOMES
from benchmarks.streams.methods import MODULES
from benchmarks.streams.musts import Demand

FAMILIES = {
    "gradual": "Gradual drift: what can be learnt",
    "real": "Other real streams",
    "still": "Nothing to learn",
    "axis": "A shift along the decision axis (only labels tell harmless from harmful)",
    "prior": "Class shares that swing",
    "event": "Events",
    "fresh": "Written after the rules",
    "unseen": "Written after all rules",
    "played": "Real streams played from outside",
    "held": "Written before the guard of serving",
}
SHOWN = ("frozen", "one_shot", "naive", "kumar", "tent", "ours", "ours_audited", "oracle")
HEADINGS = {
    "one_shot": "one-shot",
    "kumar": "Kumar 2020",
    "tent": "TENT",
    "ours": "**ours**",
    "ours_audited": "ours, 25 audits",
}


def write(plan: Sequence[Cell], folder: Path, *, skipped: Sequence[str], date: str) -> str:
    """Writes tables.md, results.json and the pictures; says where, and how the demands stand."""
    records = {
        (cell.row, cell.method, cell.seed): found
        for cell in plan
        if (found := cells.known(cell)) is not None
    }
    rows = figures.gathered(records)
    order = [row for row in catalogue.rows() if row in rows]
    found = musts.demands(rows, gates=gates.known())
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tables.md").write_text(
        text(rows, order, found, skipped=skipped, date=date), encoding="utf-8"
    )
    document = results(rows, order, found, skipped=skipped, date=date)
    (folder / "results.json").write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    drawn = pictures.draw(rows, order, folder)
    counts = {
        verdict: sum(each.verdict == verdict for each in found)
        for verdict in ("PASS", "FAIL", "not measured")
    }
    stand = ", ".join(f"{count} {verdict}" for verdict, count in counts.items())
    lines = [f"{len(records)} of {len(plan)} cells known; demands: {stand}"]
    lines += [
        f"FAIL {each.demand}, {each.of}: {_value(each)} {each.direction} {_limit(each)}"
        for each in found
        if each.verdict == "FAIL"
    ]
    return "\n".join([*lines, f"wrote {folder}/tables.md, results.json and {drawn} pictures"])


def text(
    rows: dict[str, Figures],
    order: Sequence[str],
    found: Sequence[Demand],
    *,
    skipped: Sequence[str],
    date: str,
) -> str:
    """The page of tables."""
    parts = [
        f"# Streams, {date}",
        "",
        _preface(rows, skipped),
        "",
        "## The promise",
        "",
        "Served less frozen (version 1), in points: mean over windows and seeds, worst window of "
        "all; harmful promotions without labels, with 10 and with 25 labels a window.",
        "",
        *promise.summary(rows, order),
        "",
        *promise.table(rows, order),
        "",
        "## The demands",
        "",
        *_demands(found),
        "",
    ]
    for family, title in FAMILIES.items():
        named = [row for row in order if catalogue.definition(row).family == family]
        if named:
            parts += [
                f"## {title}",
                "",
                *_accuracies(rows, named),
                "",
                *_behaviour(rows, named),
                "",
            ]
            if family == "gradual":
                parts += _target(rows)
    parts += ["## The streams", "", *_streams(order)]
    return "\n".join(parts) + "\n"


def _preface(rows: dict[str, Figures], skipped: Sequence[str]) -> str:
    seeds = sorted(
        {seed for row in rows.values() for method in row.records.values() for seed in method}
    )
    letters = ", ".join(f"{letter} {words}" for letter, words in OUTCOMES.items())
    return (
        f"Seeds {', '.join(map(str, seeds))}. Accuracy in per cent, before the method learnt "
        f"from the window: mean over windows "
        "(gas, speech, comments and words: over batches, speakers and videos), then mean ± "
        "standard deviation over seeds. "
        "Rows that have none of the classes are not counted, but an estimate that holds them "
        "wrong is. "
        "Frozen is version 1 (three members, the same augmentation); the oracle is the same "
        "student on the true labels of each "
        "past window. Gap closed = (served - frozen) / (oracle - frozen), of means over seeds; "
        "a dash where the gap is below 2 "
        "points. A promotion is harmful where the new version was worse than the old one on "
        "the next window (exact one-sided "
        f"McNemar test at 5 %). A row with `!norot` has no rotation in the augmentation. "
        f"Outcomes: {letters}."
        + (f" Skipped, their files were absent: {', '.join(skipped)}." if skipped else "")
    )


def _demands(found: Sequence[Demand]) -> list[str]:
    lines = [
        "| demand | of | measured | limit | | goal | note |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for each in found:
        goal = f"{_number(each.goal, each)} {each.reached}".strip() if each.goal is not None else ""
        verdict = f"**{each.verdict}**" if each.verdict == "FAIL" else each.verdict
        lines.append(
            f"| {each.demand} | {each.of} | {_value(each)} | {each.direction} {_limit(each)} | "
            f"{verdict} | {goal} | {each.note} |"
        )
    return lines


def _accuracies(rows: dict[str, Figures], named: Sequence[str]) -> list[str]:
    methods = [
        method for method in SHOWN if any(rows[row].accuracy(method).values for row in named)
    ]
    heads = [HEADINGS.get(method, method) for method in methods]
    lines = [
        f"| stream | {' | '.join(heads)} | gap closed, % | last window, % | with audits, % |",
        "| --- |" + " --- |" * (len(heads) + 3),
    ]
    for row in named:
        found = rows[row]
        values = [_over(found.accuracy(method)) for method in methods]
        gaps = [
            _share(found.gap("ours")),
            _share(found.gap("ours", found.last)),
            _share(found.gap("ours_audited")),
        ]
        tuned = (
            " (tuned on)"
            if row.removesuffix(catalogue.WITHOUT_ROTATION) in catalogue.TUNED_ON
            else ""
        )
        lines.append(f"| {row}{tuned} | {' | '.join([*values, *gaps])} |")
    return lines


def _behaviour(rows: dict[str, Figures], named: Sequence[str]) -> list[str]:
    lines = [
        "| stream | ECE, % (frozen) | last window: frozen, ours, oracle | promotions | harmful | "
        "with audits, harmful | alarms, rollbacks | estimates right of given of runs | "
        "outcomes of the first seed |",
        "| --- |" + " --- |" * 8,
    ]
    for row in named:
        found = rows[row]
        outcomes = found.outcomes("ours")
        errors = (
            f"{_points(found.calibration_error('ours').mean)} "
            f"({_points(found.calibration_error('frozen').mean)})"
        )
        last = ", ".join(
            _points(found.last(method).mean) for method in ("frozen", "ours", "oracle")
        )
        first = next(iter(found.of("ours")), None)
        letters = "".join(window["outcome"] for window in first["windows"]) if first else ""
        held, given, runs = figures.covered(found.estimates("ours"))
        alarms = f"{outcomes['A']}, {found.rollbacks('ours')}"
        lines.append(
            f"| {row} | {errors} | {last} | {outcomes['P']} of {sum(outcomes.values())} | "
            f"{_of(found, 'ours')} | "
            f"{_of(found, 'ours_audited')} | {alarms} | {held} of {given} of {runs} | `{letters}` |"
        )
    return lines


def _target(rows: dict[str, Figures]) -> list[str]:
    lines = []
    for row in ("kumar", "kumar!norot"):
        if row in rows:
            values = ((HEADINGS.get(method, method), rows[row].target(method)) for method in SHOWN)
            told = ", ".join(f"{name} {_over(value)}" for name, value in values if value.values)
            lines.append(
                f"{row}, the 10,000 target test rows at 55 to 60 degrees (published: 87.9): {told}."
            )
            lines.append("")
    return lines


def _streams(order: Sequence[str]) -> list[str]:
    lines = ["| stream | family | what | tuned on |", "| --- | --- | --- | --- |"]
    for row in order:
        if not row.endswith(catalogue.WITHOUT_ROTATION):
            each = catalogue.definition(row)
            lines.append(
                f"| {row} | {each.family} | {each.about} | "
                f"{'yes' if row in catalogue.TUNED_ON else 'no'} |"
            )
    return lines


def results(
    rows: dict[str, Figures],
    order: Sequence[str],
    found: Sequence[Demand],
    *,
    skipped: Sequence[str],
    date: str,
) -> dict[str, Any]:
    """The same as plain values, with every window of every cell."""
    return {
        "date": date,
        "skipped": list(skipped),
        "demands": [
            {
                "demand": each.demand,
                "of": each.of,
                "value": each.value,
                "limit": each.limit,
                "direction": each.direction,
                "goal": each.goal,
                "verdict": each.verdict,
                "note": each.note,
            }
            for each in found
        ],
        "streams": {row: _document(rows[row]) for row in order},
    }


def _document(found: Figures) -> dict[str, Any]:
    definition = catalogue.definition(found.row)
    methods: dict[str, Any] = {}
    for method in MODULES:
        if not found.accuracy(method).values:
            continue
        bad, compared = figures.harmful(found.compared(method))
        methods[method] = {
            "accuracy": found.accuracy(method).values,
            "last": found.last(method).values,
            "target": found.target(method).values,
            "gap_closed": found.gap(method),
            "gap_closed_last": found.gap(method, found.last),
            "ece": found.calibration_error(method).values,
            "promotions": found.outcomes(method)["P"],
            "promotions_compared": compared,
            "promotions_harmful": bad,
            "windows": {
                record["seed"]: [_short(window) for window in record["windows"]]
                for record in found.of(method)
            },
        }
    return {
        "family": definition.family,
        "about": definition.about,
        "tuned_on": definition.name in catalogue.TUNED_ON,
        "methods": methods,
    }


def _short(window: dict[str, Any]) -> dict[str, Any]:
    kept = (
        "window",
        "group",
        "rows",
        "served",
        "frozen",
        "outcome",
        "after_promotion",
        "estimate",
        "detail",
    )
    short = {key: window.get(key) for key in kept}
    short["drift"] = (window.get("drift") or {}).get("kind")
    return short


def _of(found: Figures, method: str) -> str:
    bad, compared = figures.harmful(found.compared(method))
    return f"{bad} of {compared}" if compared else "-"


def _over(found: Over) -> str:
    return (
        f"{_points(found.mean)} ± {_points(found.spread)}"
        if found.spread is not None
        else _points(found.mean)
    )


def _points(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}"


def _share(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.0f}"


def _value(each: Demand) -> str:
    return "-" if each.value is None else _number(each.value, each)


def _limit(each: Demand) -> str:
    return _number(each.limit, each)


def _number(value: float, each: Demand) -> str:
    """Counts as counts, differences in points with their sign, everything else in per cent."""
    if each.demand.startswith(("label-free promotions", "judging parts")):
        return f"{value:.0f}"
    return (
        f"{100 * value:+.2f} points" if each.demand.startswith("served") else f"{100 * value:.1f} %"
    )
