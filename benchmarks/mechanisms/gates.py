"""`python -m benchmarks.mechanisms.gates`: how often the gate against the anchor lets a student
pass that it should not.

The null: a student whose true accuracy is below the anchor's by exactly the margin, 500 of them on
one judging part, through the product's own `gates.judge`. A row that the anchor has right is lost
with one chance, one it has wrong is won with another, so that students differ from the anchor on a
share of rows, as real ones do. Power: the same with students that are as good as the anchor, and
with students that are two points better.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from acclimate.learning.data import Part, Window
from acclimate.learning.evaluation import gates
from acclimate.learning.models import encoding, networks
from acclimate.learning.models.bundle import Bundle
from acclimate.learning.results import Drift, Verdict
from acclimate.learning.spec import Gates, InputSpec, NetworkSpec
from benchmarks.streams import sources

GATE = "accuracy_against_anchor"
RUNS = 500
ALPHA = 0.05
"""What a one-sided 95 % bound promises."""
SIZES = (60, 150, 300, 1000)
ACCURACIES = (0.75, 0.90, 0.97)
AMOUNTS = (0.0, 1.0)
CHANGED = 0.06
"""Rows that a student has right and the anchor wrong, or the other way round, beyond what the
difference itself takes.
"""
BETTER = 0.02
KEPT = Path(".bench/gates.json")
CODE = "benchmarks.mechanisms.gates"
SPEC = InputSpec(kind="vector", shape=(1,), classes=("0", "1"))


class Right(nn.Module):
    """Answers row i, which is the number i, with class 1 where it is to be right, since every row
    has class 1.
    """

    def __init__(self, right: NDArray[np.bool_], sure: float) -> None:
        super().__init__()
        self.register_buffer(
            "answer", torch.from_numpy(np.where(right, sure, -sure).astype(np.float32))
        )

    def forward(self, x_N1: torch.Tensor) -> torch.Tensor:
        logit = self.answer[x_N1[:, 0].long()] / 2
        return torch.stack([-logit, logit], dim=1)


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One judging part: its rows, the anchor's true accuracy, how much drift the gate is told."""

    rows: int
    accuracy: float
    amount: float

    @property
    def margin(self) -> float:
        limits = Gates()
        return limits.accuracy_margin + limits.accuracy_margin_per_drift * self.amount


def version(right: NDArray[np.bool_], accuracy: float) -> Bundle:
    """A version that is right on these rows, and as sure as it is right on average."""
    x = np.arange(len(right), dtype=np.float32)[:, None]
    sure = math.log(accuracy / (1 - accuracy))
    made = Bundle(
        input_spec=SPEC,
        network_spec=NetworkSpec(network="mlp", members=1),
        members=networks.seal((Right(right, sure),)),
        encoding=encoding.fit(x, SPEC, raw=True),
        strength=0.0,
        temperature=1.0,
        selftest_x=x[:0],
        selftest_probabilities=np.empty((0, 2), dtype=np.float32),
    )
    return made.with_self_test(x)


def student(
    anchor_right: NDArray[np.bool_], accuracy: float, difference: float, rng: np.random.Generator
) -> Any:
    """Where a student of a true accuracy of `accuracy` + `difference` is right, drawn row by row
    beside the anchor.
    """
    lost_rows = min(CHANGED / 2 + max(-difference, 0.0), accuracy)
    won_rows = min(lost_rows + difference, 1 - accuracy)
    lost_rows = won_rows - difference
    lost, won = lost_rows / accuracy, won_rows / (1 - accuracy)
    draw = rng.random(len(anchor_right))
    return np.where(anchor_right, draw >= lost, draw < won)


def passes(setting: Setting, difference: float, *, runs: int, seed: int) -> float:
    """The share of such students that the gate lets pass, all on one judging part with one
    anchor.
    """
    rng = np.random.default_rng(
        [seed, setting.rows, round(1000 * setting.accuracy), round(10 * setting.amount)]
    )
    # The judging part is typical: the anchor's share of right rows is its true accuracy, so that no
    # luck of the part enters.
    right = rng.permutation(setting.rows) < round(setting.accuracy * setting.rows)
    accuracy = float(right.mean())
    anchor = version(right, accuracy)
    x = np.arange(setting.rows, dtype=np.float32)[:, None]
    judging = Part(x=x, y=np.ones(setting.rows, dtype=np.int64))
    window = Window(x=x, held_out=x, held_out_labels=np.full(setting.rows, -1))
    drift = Drift(kind="covariate", amount=setting.amount, effects={}, agreement=1.0)
    trial = gates.Trial(
        champion=anchor, anchor=anchor, judging=judging, window=window, drift=drift, gates=Gates()
    )
    passed = 0
    for _ in range(runs):
        made = version(student(right, accuracy, difference, rng), max(accuracy, 0.51))
        verdict: Verdict = gates.judge(made, trial, rng=rng, tick=lambda done, total: None)
        passed += next(gate.verdict == "pass" for gate in verdict.gates if gate.gate == GATE)
    return passed / runs


def simulated(*, runs: int = RUNS, seed: int = 0) -> Iterator[dict[str, Any]]:
    """A document for each judging part: false promotions of students worse by exactly the margin,
    and power.
    """
    for rows in SIZES:
        for accuracy in ACCURACIES:
            for amount in AMOUNTS:
                setting = Setting(rows=rows, accuracy=accuracy, amount=amount)
                false = passes(setting, -setting.margin, runs=runs, seed=seed)
                yield {
                    "rows": rows,
                    "accuracy": accuracy,
                    "amount": amount,
                    "margin": round(setting.margin, 4),
                    "runs": runs,
                    "false_promotions": false,
                    "equal": passes(setting, 0.0, runs=runs, seed=seed + 1),
                    "better": passes(
                        setting, min(BETTER, (1 - accuracy) / 2), runs=runs, seed=seed + 2
                    ),
                }


def line(found: dict[str, Any]) -> str:
    return (
        f"| {found['rows']} | {100 * found['accuracy']:.0f} | {100 * found['margin']:.0f} | "
        f"{100 * found['false_promotions']:.1f} | {100 * found['equal']:.0f} | "
        f"{100 * found['better']:.0f} |"
    )


HEADING = (
    "| judging rows | anchor right, % | margin, points | false promotions, % | passes if "
    "equal, % | if 2 points better, % |\n"
    "| --- | --- | --- | --- | --- | --- |"
)


def known(path: Path = KEPT) -> list[dict[str, Any]]:
    """What was simulated with this code; nothing where that was other code, or never."""
    if not path.is_file():
        return []
    kept = json.loads(path.read_text(encoding="utf-8"))
    return list(kept["found"]) if kept["code"] == sources.digest((CODE,)) else []


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.mechanisms.gates", description=__doc__
    )
    parser.add_argument("--runs", type=int, default=RUNS)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--out", type=Path, default=KEPT, help="where the JSON goes, for the report of the streams"
    )
    asked = parser.parse_args(arguments)
    torch.set_num_threads(1)
    print(HEADING, flush=True)
    found = []
    for each in simulated(runs=asked.runs, seed=asked.seed):
        print(line(each), flush=True)
        found.append(each)
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    document = {"code": sources.digest((CODE,)), "found": found}
    asked.out.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    pooled = float(np.mean([each["false_promotions"] for each in found]))
    worst = max(each["false_promotions"] for each in found)
    print(
        f"false promotions: {100 * pooled:.1f} % over all, {100 * worst:.1f} % at worst, "
        f"{100 * ALPHA:.0f} % allowed"
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
