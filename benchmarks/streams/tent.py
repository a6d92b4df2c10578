"""TENT (Wang et al. 2021): batch statistics, and entropy minimised over the affine parameters of
batch normalisation.

The networks are the product's own with a batch normalisation behind each hidden layer, trained as
version 1 is. A batch is answered before it is learnt from, with its own statistics: what is
published.
"""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch
from torch import nn

from acclimate.learning.data import Floats, Integers, Rows
from acclimate.learning.models import tokens
from acclimate.learning.models.architectures import CNN_CHANNELS, Cnn, Mlp, Text
from benchmarks.streams.learner import Learnt
from benchmarks.streams.starts import Task, anchor

BATCH = 64
SMALLEST_BATCH = 16
LEARNING_RATE = 1e-3


def mlp(*, shape: tuple[int, ...], classes: int, hidden: tuple[int, ...] = (256, 128)) -> nn.Module:
    return normalised(Mlp(int(np.prod(shape)), classes, list(hidden)))


def cnn(
    *,
    shape: tuple[int, ...],
    classes: int,
    channels: tuple[int, ...] = CNN_CHANNELS,
    hidden: tuple[int, ...] = (128,),
) -> nn.Module:
    return normalised(Cnn(shape, classes, list(channels), list(hidden)))


def text(
    *, shape: tuple[int, ...], classes: int, dim: int = 32, hidden: tuple[int, ...] = (32,)
) -> nn.Module:
    return normalised(Text(tokens.BUCKETS, classes, dim, list(hidden)))


def normalised(module: nn.Module) -> nn.Module:
    """The same network with a batch normalisation between each hidden layer and its ReLU."""
    for name, part in list(module.named_children()):
        if isinstance(part, nn.Sequential):
            layers: list[nn.Module] = []
            for layer in part:
                if isinstance(layer, nn.ReLU):
                    layers.append(_behind(layers[-1]))
                layers.append(layer)
            setattr(module, name, nn.Sequential(*layers))
    return module


def _behind(layer: nn.Module) -> nn.Module:
    if isinstance(layer, nn.Conv2d):
        return nn.BatchNorm2d(layer.out_channels)
    assert isinstance(layer, nn.Linear)
    return nn.BatchNorm1d(layer.out_features)


class Tent:
    """One network with batch normalisation, adapted to each batch that it answers. The anchor
    beside it is version 1.
    """

    def __init__(self, task: Task, windows: int) -> None:
        self.anchor = anchor(task)
        start = anchor(
            task.with_network(
                network=f"benchmarks.streams.tent:{task.spec.network.network}", members=1
            )
        )
        member = copy.deepcopy(start.members[0])
        affine: list[nn.Parameter] = []
        member.requires_grad_(False)
        for part in member.modules():
            if isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d):
                part.track_running_stats, part.running_mean, part.running_var = False, None, None
                affine += [part.weight, part.bias]
        for parameter in affine:
            parameter.requires_grad_(True)
        self.member, self.start = member.train(), start
        self.optimizer = torch.optim.Adam(affine, lr=LEARNING_RATE)

    def answers(self, x: Rows) -> Floats:
        z = self.start.encoding.apply(x)
        count = max(1, round(len(z) / BATCH)) if len(z) >= SMALLEST_BATCH else 1
        return np.concatenate([self._answered(part) for part in np.array_split(z, count)])

    def _answered(self, z: Any) -> Floats:
        logits = self.member(torch.from_numpy(np.ascontiguousarray(z))) / self.start.temperature
        if len(z) >= SMALLEST_BATCH:
            entropy = -(logits.softmax(dim=1) * logits.log_softmax(dim=1)).sum(dim=1).mean()
            self.optimizer.zero_grad()
            entropy.backward()
            self.optimizer.step()
        return np.asarray(logits.detach().softmax(dim=1).numpy(), dtype=np.float32)

    def learn(self, x: Rows, y: Integers, answers: Floats) -> Learnt:
        return Learnt(outcome="n", detail="adapted while it answered")
