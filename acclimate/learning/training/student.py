"""Training of a version: a student of pseudo-labelled rows and replay, or version 1 of the seed."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from acclimate.learning.data import Floats, Integers, Part, PseudoLabels, Window
from acclimate.learning.models import augment, networks
from acclimate.learning.models.augment import Encoded
from acclimate.learning.models.bundle import Bundle
from acclimate.learning.models.modes import Encoding
from acclimate.learning.models.networks import Array
from acclimate.learning.spec import InputSpec, NetworkSpec
from acclimate.learning.training.recipes import Recipe
from acclimate.learning.training.replay import Replay

Tick = Callable[[int, int], None]
Batch = tuple[Encoded, Integers]
Batches = Callable[[np.random.Generator, int], Iterator[Batch]]
"""The batches of a member, by its random state and its number."""
Answers = Callable[[Encoded], Floats]

TICK_STEPS = 10
PROBED_SHARE = 1 / 3
"""Of the trusted rows: on augmented copies of these, a network trained on the others is tested, to
decide how strong augmentation may be.
"""


class NonFiniteLoss(ArithmeticError):
    """The loss became NaN or infinite; training stopped before the step."""

    def __init__(self, *, step: int, member: int) -> None:
        super().__init__(
            f"the loss of member {member} was not finite at step {step}; stopped before stepping"
        )
        self.step = step
        self.member = member


def train(
    teacher: Bundle,
    window: Window,
    labels: PseudoLabels,
    replay: Replay,
    recipe: Recipe,
    *,
    rng: np.random.Generator,
    tick: Tick,
) -> Bundle:
    """A new bundle, warm started from the teacher's members, on accepted rows and replay.

    Self-training with hard labels and strong augmentation of both parts (Xie et al. 2020, Kumar et
    al. 2020). A teacher of one member, whose weights were brought, starts as many as the spec
    wants. Rows are read in the teacher's starting state. The teacher is left as it was; the student
    is not calibrated. Raises `NonFiniteLoss`.
    """
    encoding, strength = teacher.encoding, teacher.strength
    accepted = labels.accepted
    z_kept = teacher.encode(window.x[accepted], teacher.start)
    kept = Part(x=z_kept, y=labels.label[accepted])

    def batches(rng: np.random.Generator, member: int) -> Iterator[Batch]:
        for rows in _shuffled(len(kept), recipe.window_rows, rng):
            seed = replay.draw(recipe.replay_rows, rng=rng)
            z, y = [kept.x[rows], encoding.apply(seed.x)], [kept.y[rows], seed.y]
            taught = replay.draw_taught(recipe.taught_rows, member, rng=rng)
            if taught is not None:
                # Traffic, read as the window is.
                z.append(teacher.encode(taught.x, teacher.start))
                y.append(taught.y)
            augmented = augment.strong(np.concatenate(z), encoding, strength=strength, rng=rng)
            yield augmented, np.concatenate(y)

    members = _copies(teacher)
    _fit(members, batches, recipe, rng=rng, tick=tick)
    return replace(teacher, members=members).without_self_test()


def train_on_labels(
    teacher: Bundle,
    replay: Replay,
    recipe: Recipe,
    *,
    rng: np.random.Generator,
    tick: Tick,
) -> Bundle:
    """A new bundle, warm started from the teacher's members, on trusted rows alone.

    Half of a batch is of the seed set and half labelled traffic, read in the teacher's starting
    state. Not calibrated. Raises `NonFiniteLoss`.
    """
    encoding, size = teacher.encoding, (recipe.window_rows + recipe.replay_rows) // 2

    def batches(rng: np.random.Generator, member: int) -> Iterator[Batch]:
        while True:
            seed, taught = replay.draw(size, rng=rng), replay.draw_taught(size, member, rng=rng)
            assert taught is not None, "somebody labelled rows"
            read = [encoding.apply(seed.x), teacher.encode(taught.x, teacher.start)]
            z = np.concatenate(read)
            y = np.concatenate([seed.y, taught.y])
            yield augment.strong(z, encoding, strength=teacher.strength, rng=rng), y

    members = _copies(teacher)
    _fit(members, batches, recipe, rng=rng, tick=tick)
    return replace(teacher, members=members).without_self_test()


def _copies(teacher: Bundle) -> tuple[nn.Module, ...]:
    """As many members as the spec wants, copied from the teacher's in turn."""
    wanted = range(teacher.network_spec.members)
    return tuple(copy.deepcopy(teacher.members[index % len(teacher.members)]) for index in wanted)


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
    """Version 1: encoding and members, fitted to the seed's training part; not calibrated.

    How strongly rows are augmented is decided before, on these rows alone. Raises `NonFiniteLoss`,
    and `networks.BundleError` where the network cannot be made.
    """
    members = networks.initialise(input_spec, network_spec, rng=rng, allowlist=allowlist)
    for member in members:
        member.to(networks.default_device())
    encoding = networks.fit_encoding(trusted.x, input_spec, network_spec)
    encoded = Part(x=encoding.apply(trusted.x), y=trusted.y)
    bundle = _new(input_spec, network_spec, members, encoding, trusted)
    strength = _kept_strength(bundle, encoded, recipe, rng=rng, tick=tick)
    _fit(members, _augmented(encoded, encoding, strength, recipe), recipe, rng=rng, tick=tick)
    return replace(bundle, strength=strength)


def bring(
    input_spec: InputSpec,
    network_spec: NetworkSpec,
    trusted: Part,
    weights: dict[str, Array],
    allowlist: tuple[str, ...] = (),
    *,
    rng: np.random.Generator,
    tick: Tick,
) -> Bundle:
    """Version 1 from brought weights: one member, which reads raw numbers; not calibrated.

    Raises `networks.BundleError` where the weights are not those of the networks.
    """
    member = networks.load(input_spec, network_spec, weights, allowlist=allowlist)
    encoding = networks.fit_encoding(trusted.x, input_spec, network_spec, raw=True)
    bundle = _new(input_spec, network_spec, networks.seal((member,)), encoding, trusted)
    z = encoding.apply(trusted.x)
    strength = augment.strongest_kept(
        lambda strength: _answers(bundle), z, trusted.y, encoding, rng
    )
    tick(1, 1)
    return replace(bundle, strength=strength)


def _new(
    input_spec: InputSpec,
    network_spec: NetworkSpec,
    members: tuple[nn.Module, ...],
    encoding: Encoding,
    trusted: Part,
) -> Bundle:
    return Bundle(
        input_spec=input_spec,
        network_spec=network_spec,
        members=members,
        encoding=encoding,
        strength=0.0,
        temperature=1.0,
        selftest_x=trusted.x[:0],
        selftest_probabilities=np.empty((0, len(input_spec.classes)), dtype=np.float32),
    )


def _kept_strength(
    bundle: Bundle, encoded: Part, recipe: Recipe, *, rng: np.random.Generator, tick: Tick
) -> float:
    """The strongest augmentation that keeps classes, tested with a member on held-out rows.

    The member is trained on two thirds of the rows in half the steps.
    """
    order = rng.permutation(len(encoded))
    out = round(PROBED_SHARE * len(encoded))
    shown, learnt = (
        Part(x=encoded.x[rows], y=encoded.y[rows]) for rows in (order[:out], order[out:])
    )
    short = replace(recipe, steps=recipe.steps // 2)

    def learnt_at(strength: float) -> Answers:
        probe = replace(bundle, members=(copy.deepcopy(bundle.members[0]),))
        _fit(
            probe.members,
            _augmented(learnt, bundle.encoding, strength, recipe),
            short,
            rng=rng,
            tick=tick,
        )
        return _answers(probe)

    return augment.strongest_kept(learnt_at, shown.x, shown.y, bundle.encoding, rng)


def _answers(bundle: Bundle) -> Answers:
    return lambda z: bundle.encoded_logits(z)[0]


def _augmented(encoded: Part, encoding: Encoding, strength: float, recipe: Recipe) -> Batches:
    """Batches of trusted rows alone."""

    def batches(rng: np.random.Generator, member: int) -> Iterator[Batch]:
        for rows in _shuffled(len(encoded), recipe.replay_rows, rng):
            yield (
                augment.strong(encoded.x[rows], encoding, strength=strength, rng=rng),
                encoded.y[rows],
            )

    return batches


def _fit(
    members: tuple[nn.Module, ...],
    batches: Batches,
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
        optimizer = torch.optim.AdamW(
            member.parameters(),
            lr=recipe.learning_rate,
            weight_decay=recipe.weight_decay,
            fused=True,
        )
        for step, (z, y) in zip(range(recipe.steps), batches(draws, index), strict=False):
            if step % TICK_STEPS == 0:
                tick(index * recipe.steps + step, total)
            loss = F.cross_entropy(
                member(torch.from_numpy(z).to(device)), torch.from_numpy(y).to(device)
            )
            if not torch.isfinite(loss):
                raise NonFiniteLoss(step=step, member=index)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    networks.seal(members)
    tick(total, total)


def _shuffled(rows: int, size: int, rng: np.random.Generator) -> Iterator[Integers]:
    """For ever `size` row numbers: every row once before any comes again."""
    queue = np.empty(0, dtype=np.int64)
    while True:
        while len(queue) < size:
            queue = np.concatenate([queue, rng.permutation(rows)])
        yield queue[:size]
        queue = queue[size:]
