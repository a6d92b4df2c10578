"""One method on one stream, window by window: asked, scored against the withheld truth, then shown
the window.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch

from benchmarks.streams import catalogue, methods, scores
from benchmarks.streams.learner import Answer, Learner, Learnt
from benchmarks.streams.starts import Task, rotation
from benchmarks.streams.stream import Shown

Say = Callable[[str], None]


def walk(row: str, method: str, seed: int, *, say: Say = lambda line: None) -> dict[str, Any]:
    """The record of a cell: a document of each window, and how long it took."""
    torch.set_num_threads(1)
    definition = catalogue.definition(row)
    stream = definition.build(seed)
    windows: list[dict[str, Any]] = []
    begun = time.monotonic()
    with rotation(row):
        task = Task.of(row, seed, stream)
        learner = methods.made(method, task, sum(window.learnt for window in stream.windows))
        beginning = time.monotonic() - begun
        replaced: Answer | None = None
        for number, window in enumerate(stream.windows, start=1):
            told, replaced = _window(learner, window, replaced, number)
            windows.append(told)
            say(line(told))
    return {
        "stream": row,
        "family": definition.family,
        "method": method,
        "seed": seed,
        "strength": learner.anchor.strength,
        "judged": scores.accuracy(
            learner.anchor.network_probabilities(task.parts.judging.x), task.parts.judging.y
        ),
        "begin_seconds": round(beginning, 2),
        "seconds": round(time.monotonic() - begun, 2),
        "windows": windows,
    }


def _window(
    learner: Learner, window: Shown, replaced: Answer | None, number: int
) -> tuple[dict[str, Any], Answer | None]:
    """The document of a window; `replaced` answers as the version before the last promotion, to be
    compared on this one.
    """
    started = time.monotonic()
    answers = learner.answers(window.x)
    frozen = learner.anchor.network_probabilities(window.x)
    told: dict[str, Any] = {
        "window": number,
        "group": window.group,
        "rows": len(window),
        "scored": int((window.y >= 0).sum()),
        "served": scores.accuracy(answers, window.y),
        "frozen": scores.accuracy(frozen, window.y),
        "bins": scores.binned(answers, window.y),
        "frozen_bins": scores.binned(frozen, window.y),
        "after_promotion": scores.paired(answers, replaced(window.x), window.y)
        if replaced is not None
        else None,
    }
    learnt = learner.learn(window.x, window.y, answers) if window.learnt else Learnt(outcome="-")
    told |= {"outcome": learnt.outcome, "detail": learnt.detail, **learnt.told}
    told["seconds"] = round(time.monotonic() - started, 3)
    return told, learnt.replaced


def line(window: dict[str, Any]) -> str:
    """A window in a line, for who watches a cell."""
    served, frozen = (
        f"{100 * window[key]:5.1f}" if window[key] is not None else "    -"
        for key in ("served", "frozen")
    )
    told = window.get("estimate") or {}
    known = f" estimate {100 * told['value']:.0f}" if told.get("value") is not None else ""
    compared = window["after_promotion"]
    harm = f" last promotion +{compared['gained']} -{compared['lost']}" if compared else ""
    mark = " HARMFUL" if compared and compared["harmful"] else ""
    kind = (window.get("drift") or {}).get("kind", "")
    return (
        f"{window['window']:3d} {window['group'] or '':10s} {window['rows']:5d} rows  frozen "
        f"{frozen}  served {served}  "
        f"{window['outcome']} {kind:9s}{known}{harm}{mark} {window['seconds']:.1f} s  "
        f"{window['detail'][:140]}"
    )
