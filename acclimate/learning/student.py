"""A student: the members of a version learn from what was kept of a window and from replay, or from the seed set alone."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from acclimate.learning import augment, network, normalise
from acclimate.learning.network import Bundle
from acclimate.learning.values import Floats, InputSpec, Integers, NetworkSpec, Part, PseudoLabels, Window

if TYPE_CHECKING:
    from acclimate.learning.recipes import Recipe
    from acclimate.learning.replay import Replay

Tick = Callable[[int, int], None]
Batch = tuple[Floats, Integers]

TICK_STEPS = 10


class NonFiniteLoss(ArithmeticError):
    """Training met a loss that is NaN or infinite and stopped before the step that would have spread it."""

    def __init__(self, *, step: int, member: int) -> None:
        super().__init__(f"the loss of member {member} was not finite at step {step}; stopped before stepping")
        self.step = step
        self.member = member


def train(
    champion: Bundle,
    window: Window,
    labels: PseudoLabels,
    replay: Replay,
    recipe: Recipe,
    *,
    rng: np.random.Generator,
    tick: Tick,
) -> Bundle:
    """A new bundle, warm started from the champion's members, trained on the accepted rows and replay; not yet calibrated.

    Self-training with hard labels and strong augmentation on both parts (Xie et al. 2020, Kumar et al. 2020). The champion is
    left as it was; its normalisation is kept. Raises `NonFiniteLoss`.
    """
    kept = Part(x=champion.normalisation.apply(window.x[labels.accepted]), y=labels.label[labels.accepted])

    def batches(rng: np.random.Generator) -> Iterator[Batch]:
        for rows in _shuffled(len(kept), recipe.window_rows, rng):
            trusted = replay.draw(recipe.replay_rows, rng=rng)
            z = np.concatenate([kept.x[rows], champion.normalisation.apply(trusted.x)])
            yield _strong(z, recipe, rng), np.concatenate([kept.y[rows], trusted.y])

    members = tuple(copy.deepcopy(member) for member in champion.members)
    _fit(members, batches, recipe, rng=rng, tick=tick)
    return replace(
        champion, members=members, selftest_x=champion.selftest_x[:0], selftest_probabilities=_nothing(champion)
    )


def train_anchor(
    input_spec: InputSpec,
    network_spec: NetworkSpec,
    trusted: Part,
    recipe: Recipe,
    allowlist: tuple[str, ...] = (),
    *,
    rng: np.random.Generator,
    tick: Tick,
) -> Bundle:
    """Version 1: normalisation and differently drawn members, fitted to the seed's training part; not yet calibrated.

    Raises `NonFiniteLoss`, and `network.BundleError` where the network cannot be made.
    """
    members = network.initialise(input_spec, network_spec, rng=rng, allowlist=allowlist)
    for member in members:
        member.to(network.default_device())
    normalisation = normalise.fit(trusted.x)
    z = normalisation.apply(trusted.x)

    def batches(rng: np.random.Generator) -> Iterator[Batch]:
        for rows in _shuffled(len(trusted), recipe.replay_rows, rng):
            yield _strong(z[rows], recipe, rng), trusted.y[rows]

    _fit(members, batches, recipe, rng=rng, tick=tick)
    return Bundle(
        input_spec=input_spec,
        network_spec=network_spec,
        members=members,
        normalisation=normalisation,
        temperature=1.0,
        selftest_x=trusted.x[:0],
        selftest_probabilities=np.empty((0, len(input_spec.classes)), dtype=np.float32),
    )


def _fit(
    members: tuple[nn.Module, ...],
    batches: Callable[[np.random.Generator], Iterator[Batch]],
    recipe: Recipe,
    *,
    rng: np.random.Generator,
    tick: Tick,
) -> None:
    """Trains each member in place on its own draws, and seals it."""
    total = recipe.steps * len(members)
    for index, (member, draws) in enumerate(zip(members, rng.spawn(len(members)), strict=True)):
        member.train().requires_grad_(True)
        device = next(member.parameters()).device
        optimizer = torch.optim.AdamW(member.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay)
        for step, (z, y) in zip(range(recipe.steps), batches(draws), strict=False):
            if step % TICK_STEPS == 0:
                tick(index * recipe.steps + step, total)
            loss = F.cross_entropy(member(torch.from_numpy(z).to(device)), torch.from_numpy(y).to(device))
            if not torch.isfinite(loss):
                raise NonFiniteLoss(step=step, member=index)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    network.seal(members)
    tick(total, total)


def _shuffled(rows: int, size: int, rng: np.random.Generator) -> Iterator[Integers]:
    """For ever `size` row numbers: every row once before any comes again."""
    queue = np.empty(0, dtype=np.int64)
    while True:
        while len(queue) < size:
            queue = np.concatenate([queue, rng.permutation(rows)])
        yield queue[:size]
        queue = queue[size:]


def _strong(z: Floats, recipe: Recipe, rng: np.random.Generator) -> Floats:
    return augment.strong(z, noise=recipe.noise, mixed=recipe.mixed, rng=rng)


def _nothing(bundle: Bundle) -> Floats:
    return bundle.selftest_probabilities[:0]
