"""`python -m benchmarks.mechanisms.attacks`: a sender who wants a region to get another class,
through the product's own loop.

He asks the served version of many rows that he makes up, and sends those that it already gives the
class wanted, nearest to the region: what is learnt from them moves the boundary, and next time they
are nearer. Each attack is played beside the same traffic without it. Flipped is the share of the
region's rows that are given the wanted class after a window was learnt from, beside what version 1
says of them: where traffic drifts, the region does too. Taught is the share of his rows that were
learnt.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch

from acclimate.learning.data import Floats, Integers, Rows, Senders, Window
from acclimate.learning.outcomes import Judged, Outcome
from acclimate.learning.spec import NetworkSpec
from acclimate.learning.thresholds import DEFAULT, Thresholds
from benchmarks.streams import gradual
from benchmarks.streams.play import Ours
from benchmarks.streams.starts import Task
from benchmarks.streams.stream import Shown, Stream, shown, source, vectors

SHARE = 0.4
"""Of the traffic: what the attacker sends."""
HONEST_KEYS = 10
CANDIDATES = 20_000
ROUNDS = 15
PLANE_ROWS, PLANE_SEED = 500, 600
REGION_ROWS = 40

COLUMNS = (
    "scene | seed | keys | sure | outcomes | n | flipped | at most | version 1 | his taught | "
    "others' taught | served | "
    "frozen | seconds"
)

Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True, eq=False)
class Region:
    """Rows (K, F) that are to get the class `wanted`, and rows that the attacker can make up to get
    there.
    """

    rows: Rows
    wanted: int
    candidates: Rows
    scale: Floats

    def nearest(self, ours: Ours, rows: int, sure: float) -> Rows:
        """So many rows that are given the wanted class with such a confidence, those nearest to the
        region's middle.
        """
        said = served(ours, self.candidates)
        fitting = self.candidates[(said.argmax(axis=1) == self.wanted) & (said.max(axis=1) >= sure)]
        distance = np.linalg.norm((fitting - self.rows.mean(axis=0)) / self.scale, axis=1)
        return fitting[np.argsort(distance)[:rows]]

    def flipped(self, answers: Floats) -> float:
        """The share of its rows that have the wanted class in such answers to them."""
        return float((answers.argmax(axis=1) == self.wanted).mean())


def served(ours: Ours, rows: Rows) -> Floats:
    """What is answered to rows now, in the state that the version has come to; the state stays as
    it is.
    """
    running = ours.serving.running
    state = None if running.memory is None else running.memory.state
    return running.bundle.predict(rows, state).probabilities


@dataclass(frozen=True, kw_only=True, eq=False)
class Scene:
    """A stream, and what an attacker aims at in each window of it."""

    name: str
    stream: Stream
    aim: Callable[[Ours, Shown, np.random.Generator], Region]


@dataclass(kw_only=True)
class Played:
    """What came of a scene: accuracies of honest rows, outcomes, the region's share that flipped
    after each window.

    `n`: rows of regions that were asked, in all windows. `taught`: of his rows and of the others to
    learn from, how many were.
    """

    outcomes: str = ""
    n: int = 0
    taught: Integers = field(default_factory=lambda: np.zeros(2, dtype=np.int64))
    rows: Integers = field(default_factory=lambda: np.zeros(2, dtype=np.int64))
    served: list[float] = field(default_factory=list)
    frozen: list[float] = field(default_factory=list)
    flipped: list[float] = field(default_factory=list)
    frozen_flipped: list[float] = field(default_factory=list)

    @property
    def line(self) -> str:
        served, frozen = 100 * np.mean(self.served), 100 * np.mean(self.frozen)
        flipped = (
            f"{np.mean(self.flipped):.3f} | {max(self.flipped):.3f} | "
            f"{np.mean(self.frozen_flipped):.3f}"
        )
        his, others = self.taught / np.maximum(self.rows, 1)
        return (
            f"{self.outcomes:16s} | {self.n} | {flipped} | {his:.3f} | {others:.3f} | "
            f"{served:.1f} | {frozen:.1f}"
        )


class Attacked(Ours):
    """The loop, which knows who sent each row."""

    sent_by: Integers | None = None
    taught: Integers
    """Of the last window, by whether its rows are the attacker's: how many taught, and how many
    there were to learn from.
    """

    def senders(self, x: Rows, number: int) -> Senders:
        assert self.sent_by is not None
        names = tuple(f"key-{key}" for key in range(int(self.sent_by.max()) + 1))
        return Senders(client=self.sent_by, names=names)

    def run(self, window: Window, number: int) -> Outcome:
        outcome = super().run(window, number)
        assert window.client is not None
        his = window.client >= HONEST_KEYS
        taught = np.zeros_like(his)
        if isinstance(outcome, Judged) and outcome.promoted and outcome.labels is not None:
            taught = outcome.labels.accepted
        self.taught = np.array(
            [(his & taught).sum(), (~his & taught).sum(), his.sum(), (~his).sum()]
        )
        return outcome


UNGUARDED = Thresholds(off=frozenset({"client_support", "contamination", "contradiction"}))
"""Limits without the rules of screening."""


def play(
    scene: Scene,
    seed: int,
    *,
    keys: int,
    sure: float = 0.0,
    share: float = SHARE,
    say: Say = lambda _: None,
    limits: Thresholds = DEFAULT,
) -> Played:
    """A scene with an attacker of so many keys, or without one; the owner said that the model can
    learn.
    """
    task = Task.of(f"attack-{scene.name}", seed, scene.stream)
    task = replace(task, spec=replace(task.spec, policy=replace(task.spec.policy, learnable="yes")))
    ours = Attacked(task, len(scene.stream.windows), limits)
    rng, out = np.random.default_rng([seed, 41]), Played()
    for number, window in enumerate(scene.stream.windows, start=1):
        region = scene.aim(ours, window, rng)
        x, y = window.x, window.y
        client = rng.integers(HONEST_KEYS, size=len(x))
        if keys:
            sent = region.nearest(ours, round(len(x) * share / (1 - share)), sure)
            x, y = np.concatenate([x, sent]), np.concatenate([y, np.full(len(sent), region.wanted)])
            client = np.concatenate([client, HONEST_KEYS + np.arange(len(sent)) % keys])
        order = rng.permutation(len(x))
        ours.sent_by = client[order]
        answers = ours.answers(x[order])
        said = answers[np.argsort(order)[: len(window)]].argmax(axis=1)
        out.served.append(float((said == window.y).mean()))
        out.frozen.append(
            float((ours.anchor.network_probabilities(window.x).argmax(axis=1) == window.y).mean())
        )
        learnt = ours.learn(x[order], y[order], answers)
        out.outcomes += learnt.outcome
        out.taught += ours.taught[:2]
        out.rows += ours.taught[2:]
        out.n += len(region.rows)
        out.flipped.append(region.flipped(served(ours, region.rows)))
        out.frozen_flipped.append(region.flipped(ours.anchor.network_probabilities(region.rows)))
        mode, refused = learnt.told.get("mode"), learnt.told.get("refused")
        say(
            f"  {number:2d} {learnt.outcome} {mode} flipped {out.flipped[-1]:.2f}, taught "
            f"{ours.taught.tolist()}, "
            f"refused {refused} {learnt.detail}"
        )
    return out


def plane(seed: int) -> Scene:
    """Two classes in the plane that do not drift, and a region on one's side of the boundary from
    where no traffic comes.
    """
    rng = np.random.default_rng([seed, 2])

    def drawn(rows: int) -> tuple[Rows, Integers]:
        y = rng.integers(2, size=rows)
        return rng.normal(scale=0.5, size=(rows, 2)) + np.stack(
            [3.0 * y - 1.5, np.zeros(rows)], axis=1
        ), y

    seed_x, seed_y = drawn(PLANE_SEED)
    stream = Stream(
        input=vectors(2, 2),
        network=NetworkSpec(network="mlp"),
        seed_x=seed_x.astype(np.float32),
        seed_y=seed_y,
        windows=tuple(shown(*drawn(PLANE_ROWS)) for _ in range(ROUNDS)),
    )
    around = rng.uniform(-0.3, 0.3, size=(REGION_ROWS, 2))
    middles = rng.uniform(-4, 4, size=(4000, 2))
    far = np.linalg.norm(middles - np.array([1.5, 0.0]), axis=1)
    middles = middles[(far > 1.8) & (far < 2.4)]

    def aim(ours: Ours, window: Shown, rng: np.random.Generator) -> Region:
        """Where version 1 is sure of class 1, as near as may be to class 0."""
        rows = (middles[:, None] + around[None]).astype(np.float32)
        said = (
            ours.anchor.network_probabilities(rows.reshape(-1, 2))[:, 1]
            .reshape(len(middles), -1)
            .min(axis=1)
        )
        distance = np.linalg.norm(middles - np.array([-1.5, 0.0]), axis=1)
        return Region(
            rows=rows[np.where(said > 0.8, distance, np.inf).argmin()],
            wanted=0,
            candidates=rng.uniform(-4, 4, size=(CANDIDATES, 2)).astype(np.float32),
            scale=np.ones(2),
        )

    return Scene(name="plane", stream=stream, aim=aim)


def gas(seed: int) -> Scene:
    """The ageing gas sensors: of what one gas sends in a window, the part that is nearest to
    another gas is to be called that.
    """
    stream = gradual.gas(seed)
    classes = np.random.default_rng([seed, 3]).permutation(np.unique(stream.seed_y))
    target, wanted = int(classes[0]), int(classes[1])
    scale = stream.seed_x.std(axis=0) + 1e-6

    def newest(window: Shown, label: int) -> Rows:
        """Rows of a class from this window, or from the last one before it that had the class."""
        place = next(i for i, other in enumerate(stream.windows) if other is window)
        past = [
            (stream.seed_x, stream.seed_y),
            *((other.x, other.y) for other in stream.windows[: place + 1]),
        ]
        return next(x[y == label] for x, y in reversed(past) if (y == label).any())

    def aim(ours: Ours, window: Shown, rng: np.random.Generator) -> Region:
        own, others = newest(window, target), newest(window, wanted)
        distance = np.linalg.norm((own - others.mean(axis=0)) / scale, axis=1)
        rows = own[np.argsort(distance)[:REGION_ROWS]]
        a, b = (
            others[rng.integers(len(others), size=CANDIDATES)],
            rows[rng.integers(len(rows), size=CANDIDATES)],
        )
        mixed = a + rng.uniform(0, 1, size=(CANDIDATES, 1)) * (b - a)
        noise = 0.02 * scale * rng.standard_normal(mixed.shape)
        return Region(
            rows=rows, wanted=wanted, candidates=(mixed + noise).astype(np.float32), scale=scale
        )

    return Scene(name="gas", stream=stream, aim=aim)


SCENES = {"plane": plane, "gas": gas}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.mechanisms.attacks", description=__doc__
    )
    parser.add_argument("--scenes", default="plane,gas", help="by commas [plane,gas]")
    parser.add_argument("--seeds", default="2,3,4,5,6", help="by commas [2,3,4,5,6]")
    parser.add_argument(
        "--keys", default="0,1,20", help="of the attacker, by commas; 0: nobody attacks [0,1,20]"
    )
    parser.add_argument(
        "--sure", default="0,0.9", help="least confidence of the rows he sends, by commas [0,0.9]"
    )
    parser.add_argument(
        "--share", type=float, default=SHARE, help=f"of the traffic that he sends [{SHARE}]"
    )
    parser.add_argument(
        "--unguarded",
        action="store_true",
        help="without the rules of screening",
    )
    parser.add_argument("-v", "--verbose", action="store_true", help="a line for each window")
    asked = parser.parse_args(arguments)
    torch.set_num_threads(1)
    say = (lambda line: print(line, flush=True)) if asked.verbose else (lambda line: None)
    print(COLUMNS, flush=True)
    for name in asked.scenes.split(","):
        if name == "gas" and not source("gasdrift_8of10").is_file():
            print(f"skipped gas: {source('gasdrift_8of10')} is not there (ACCLIMATE_STREAMS)")
            continue
        for seed in (int(word) for word in asked.seeds.split(",")):
            scene = SCENES[name](seed)
            for keys, sure in _attackers(asked.keys, asked.sure):
                began = time.monotonic()
                played = play(
                    scene,
                    seed,
                    keys=keys,
                    sure=sure,
                    share=asked.share,
                    say=say,
                    limits=UNGUARDED if asked.unguarded else DEFAULT,
                )
                took = time.monotonic() - began
                print(
                    f"{name} | {seed} | {keys} | {sure:g} | {played.line} | {took:.0f}", flush=True
                )
    return 0


def _attackers(keys: str, sure: str) -> list[tuple[int, float]]:
    levels = [float(word) for word in sure.split(",")]
    counts = [int(word) for word in keys.split(",")]
    return [(count, level) for count in counts for level in (levels if count else levels[:1])]


if __name__ == "__main__":
    raise SystemExit(main())
