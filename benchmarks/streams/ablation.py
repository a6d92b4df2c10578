"""What each rule of learning earns: the loop with a rule switched off, beside the whole loop."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from acclimate.learning.rules import GATES, RULES
from benchmarks.streams import cells, scores
from benchmarks.streams.cells import Cell
from benchmarks.streams.methods import WITHOUT

WHOLE = "ours"


class UnknownRule(ValueError):
    """No rule has this name; the message lists those there are."""


def chosen(words: Sequence[str]) -> tuple[str, ...]:
    """The rules that are meant: names, or `all`. Raises `UnknownRule`."""
    known = (*RULES, *GATES)
    if list(words) == ["all"]:
        return known
    for word in words:
        if word not in known:
            raise UnknownRule(f"unknown rule {word!r}; known: all, {', '.join(known)}")
    return tuple(words)


def planned(rows: Iterable[str], rules: Sequence[str], seeds: Sequence[int]) -> list[Cell]:
    """The cells of the whole loop first, then those without each rule."""
    methods = [WHOLE, *(f"{WHOLE}{WITHOUT}{rule}" for rule in rules)]
    listed = list(rows)
    return [
        Cell(row=row, method=method, seed=seed)
        for method in methods
        for seed in seeds
        for row in listed
    ]


def table(rows: Sequence[str], rules: Sequence[str], seeds: Sequence[int]) -> str:
    """Points that each rule earns on each stream: the whole less the loop without it.

    Accuracy served, mean over windows; mean and spread over the seeds that both have. `worst` is
    the same for the worst window against the frozen version.
    """
    lines = [
        "| rule | stream | whole | without | rule earns | worst, whole | worst, without |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for rule in rules:
        for row in rows:
            lines.append(_line(rule, row, seeds))
    return "\n".join(lines)


def _line(rule: str, row: str, seeds: Sequence[int]) -> str:
    pairs = []
    for seed in seeds:
        whole = cells.known(Cell(row=row, method=WHOLE, seed=seed))
        without = cells.known(Cell(row=row, method=f"{WHOLE}{WITHOUT}{rule}", seed=seed))
        if whole is not None and without is not None:
            pairs.append((whole, without))
    if not pairs:
        return f"| {rule} | {row} | not measured | | | | |"
    served = [[_served(record) for record in pair] for pair in pairs]
    worst = [[_worst(record) for record in pair] for pair in pairs]
    earned = [whole - without for whole, without in served]
    spread = scores.spread(earned)
    more = f" ± {100 * spread:.1f}" if spread is not None else ""
    figures = (
        _percent([whole for whole, _ in served]),
        _percent([without for _, without in served]),
        f"{100 * sum(earned) / len(earned):+.1f}{more}",
        f"{100 * min(whole for whole, _ in worst):+.0f}",
        f"{100 * min(without for _, without in worst):+.0f}",
    )
    return f"| {rule} | {row} | " + " | ".join(figures) + " |"


def _percent(values: Sequence[float]) -> str:
    return f"{100 * sum(values) / len(values):.1f}"


def _served(record: dict[str, Any]) -> float:
    return scores.mean(scores.by_group(record["windows"], "served")) or 0.0


def _worst(record: dict[str, Any]) -> float:
    """The lowest served - frozen of a window."""
    scored = [window for window in record["windows"] if window["served"] is not None]
    return float(min(window["served"] - window["frozen"] for window in scored))
