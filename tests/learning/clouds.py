"""Three clouds of rows and a version made by hand, for tests that need no training."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import nn

from acclimate.learning.data import Floats, Integers, Part, PseudoLabels, SeedSet, Window
from acclimate.learning.models.bundle import Bundle
from acclimate.learning.models.encoding import Normalisation
from acclimate.learning.outcomes import Judged
from acclimate.learning.results import (
    Diagnosis,
    Drift,
    DriftKind,
    Effect,
    Gate,
    Lineage,
    Screening,
    Verdict,
)
from acclimate.learning.run_inputs import RunInputs
from acclimate.learning.spec import Gates, InputSpec, NetworkSpec, Policy
from acclimate.learning.thresholds import DEFAULT, Thresholds

SIZE = 8
CENTERS = 3.0 * np.eye(3, SIZE)
SPEC = InputSpec(kind="vector", shape=(SIZE,), classes=("a", "b", "c"))


def rows(count: int, draw: int) -> tuple[Floats, Integers]:
    """Rows x (N, 8) of three classes that lie apart, with their classes y (N,)."""
    rng = np.random.default_rng([11, draw])
    y = rng.integers(3, size=count)
    x = CENTERS[y] + rng.normal(size=(count, SIZE))
    return x.astype(np.float32), y


def heap(count: int, draw: int = 0) -> Floats:
    """Rows close together, between the classes a and b."""
    rng = np.random.default_rng([12, draw])
    middle = CENTERS[:2].mean(axis=0)
    return (middle + rng.normal(scale=0.3, size=(count, SIZE))).astype(np.float32)


def part(count: int, draw: int) -> Part:
    x, y = rows(count, draw)
    return Part(x=x, y=y)


def seed_set() -> SeedSet:
    return SeedSet(train=part(300, 1), calibration=part(150, 2), judging=part(150, 3))


def version() -> Bundle:
    """A version of two linear members that is nearly always right; one prefers the class a."""
    members = tuple(_member(preference) for preference in (0.0, 1.5))
    return Bundle(
        input_spec=SPEC,
        network_spec=NetworkSpec(network="mlp", args={"hidden": []}, members=2),
        members=members,
        encoding=Normalisation(
            kind="vector",
            shape=(SIZE,),
            center=np.zeros(SIZE, np.float32),
            scale=np.ones(SIZE, np.float32),
            folded=np.zeros(SIZE, bool),
        ),
        strength=1.0,
        temperature=1.0,
        selftest_x=np.empty((0, SIZE), np.float32),
        selftest_probabilities=np.empty((0, 3), np.float32),
    )


def with_rotated_classes(bundle: Bundle) -> Bundle:
    """The version that gives each row the next class: always wrong where the other is right."""
    members = tuple(copy.deepcopy(member) for member in bundle.members)
    with torch.no_grad():
        for member in members:
            member.weight.copy_(member.weight.roll(1, 0))
            member.bias.copy_(member.bias.roll(1, 0))
    return replace(bundle, members=members)


def drift(kind: DriftKind, **fields: Any) -> Drift:
    given = {"amount": 0.0, "effects": {}, "agreement": 0.9, "priors": (0.3, 0.3, 0.4)}
    return Drift(kind=kind, **(given | fields))


def diagnosis(found: Drift, count: int) -> Diagnosis:
    """This drift in a window of so many rows, of which most drifted and none is suspect."""
    nobody = np.zeros(count, dtype=bool)
    drifted = Effect(value=1.0, threshold=0.5, n=count)
    screening = Screening(drifted=drifted, unsupported=nobody, dense=nobody, seed_dense=nobody)
    return Diagnosis(screening=screening, drift=found)


def inputs(window: Window, champion: Bundle, limits: Thresholds = DEFAULT) -> RunInputs:
    """Of a run whose champion is version 1, under the default policy."""
    return RunInputs(
        window=window,
        seed=seed_set(),
        champion=champion,
        anchor=champion,
        policy=Policy(),
        gates=Gates(),
        limits=limits,
    )


def student(bundle: Bundle) -> Judged:
    """A student that learnt from four rows and passed its gates."""
    labels = PseudoLabels(
        label=np.zeros(4, dtype=np.int64),
        confidence=np.ones(4, dtype=np.float32),
        votes=np.full(4, 2),
        refusal=np.full(4, ""),
        needed=1,
    )
    gate = Gate(gate="finite_weights", value=0.0, limit=0.0, n=0, verdict="pass")
    return Judged(
        student=bundle,
        verdict=Verdict(gates=(gate,)),
        lineage=Lineage(replay_rows=(1, 1, 1), anchor_distance=0.1),
        diagnosis=diagnosis(drift("covariate"), 100),
        labels=labels,
    )


def _member(preference: float) -> nn.Module:
    member = nn.Linear(SIZE, 3)
    with torch.no_grad():
        member.weight.copy_(torch.from_numpy(CENTERS))
        member.bias.copy_(torch.from_numpy(-(CENTERS**2).sum(axis=1) / 2))
        member.bias[0] += preference
    return member.eval().requires_grad_(False)
