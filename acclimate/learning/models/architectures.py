"""The built-in networks: `mlp` for vectors and images, `cnn` for images, `text` for text and
sequences.

Each draws its first weights from the generator it is given, never from torch's global one, and
answers logits (N, C).
"""

from __future__ import annotations

import itertools
import math

import torch
from torch import nn

CNN_CHANNELS = (16, 32)
LARGEST_MAP = 7
"""Sides of a feature map above this are averaged down before the dense layers."""
SMALLEST_POOLED = 8
"""A feature map is halved after a convolution while its smaller side is at least this."""
BIGRAM = 1_000_003
"""A prime: two neighbouring tokens are one more token, hashed by it."""


class Mlp(nn.Module):
    """A multi-layer perceptron: any shape flattened, ReLU between the layers."""

    def __init__(
        self, size: int, classes: int, hidden: list[int], generator: torch.Generator | None = None
    ) -> None:
        super().__init__()
        self.layers = _dense([size, *hidden, classes], generator)

    def forward(self, x_NS: torch.Tensor) -> torch.Tensor:
        logits_NC: torch.Tensor = self.layers(x_NS.flatten(1))
        return logits_NC


class Cnn(nn.Module):
    """Convolutions of 3x3 with ReLU, each halving the map while it is large, then dense layers;
    down to images of 8x8.

    Reads (N, H, W) as one channel, or (N, C, H, W).
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        classes: int,
        channels: list[int],
        hidden: list[int],
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        depth, height, width = (1, *shape) if len(shape) == 2 else shape
        layers: list[nn.Module] = []
        for fan_in, fan_out in itertools.pairwise([depth, *channels]):
            layers += [_convolution(fan_in, fan_out, generator), nn.ReLU()]
            if min(height, width) >= SMALLEST_POOLED:
                layers.append(nn.MaxPool2d(2))
                height, width = height // 2, width // 2
        if max(height, width) > LARGEST_MAP:
            height, width = min(height, LARGEST_MAP), min(width, LARGEST_MAP)
            layers.append(nn.AdaptiveAvgPool2d((height, width)))
        self.maps = nn.Sequential(*layers)
        self.layers = _dense([channels[-1] * height * width, *hidden, classes], generator)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x_NCHW = x.unsqueeze(1) if x.ndim == 3 else x
        logits_NC: torch.Tensor = self.layers(self.maps(x_NCHW).flatten(1))
        return logits_NC


class Text(nn.Module):
    """A bag of tokens and pairs of neighbours: their embeddings summed, divided by the root of
    their number, then dense layers.

    Reads token ids (N, L) int64 in 0..vocabulary - 1, 0 where there is none. A pair shares an
    embedding with whatever else hashes to it (Weinberger et al. 2009; Joulin et al. 2017).
    """

    def __init__(
        self,
        vocabulary: int,
        classes: int,
        dim: int,
        hidden: list[int],
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.vocabulary = vocabulary
        bag = nn.utils.skip_init(nn.EmbeddingBag, 2 * vocabulary, dim, mode="sum", padding_idx=0)  # type: ignore[no-untyped-call]
        self.embedding: nn.EmbeddingBag = bag
        nn.init.normal_(self.embedding.weight, 0.0, 1 / math.sqrt(dim), generator=generator)
        self.layers = _dense([dim, *hidden, classes], generator)

    def forward(self, tokens_NL: torch.Tensor) -> torch.Tensor:
        longest = int((tokens_NL > 0).sum(dim=1).max()) if len(tokens_NL) else 0
        tokens_NL = tokens_NL[:, : max(longest, 1)]  # tokens stand at the front
        left, right = tokens_NL[:, :-1], tokens_NL[:, 1:]
        pairs = torch.where(
            (left > 0) & (right > 0), self.vocabulary + (left * BIGRAM + right) % self.vocabulary, 0
        )
        all_NT = torch.cat([tokens_NL, pairs], dim=1)
        number_N1 = (all_NT > 0).sum(dim=1, keepdim=True).clamp(min=1)
        logits_NC: torch.Tensor = self.layers(self.embedding(all_NT) / number_N1.sqrt())
        return logits_NC


def _dense(widths: list[int], generator: torch.Generator | None) -> nn.Sequential:
    """Linear layers with ReLU between them."""
    layers: list[nn.Module] = []
    for fan_in, fan_out in itertools.pairwise(widths):
        layer: nn.Linear = nn.utils.skip_init(nn.Linear, fan_in, fan_out)  # type: ignore[no-untyped-call]
        layers += [_drawn(layer, fan_in, generator), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def _convolution(fan_in: int, fan_out: int, generator: torch.Generator | None) -> nn.Module:
    layer: nn.Conv2d = nn.utils.skip_init(nn.Conv2d, fan_in, fan_out, 3, padding=1)  # type: ignore[no-untyped-call]
    return _drawn(layer, 9 * fan_in, generator)


def _drawn(
    layer: nn.Linear | nn.Conv2d, fan_in: int, generator: torch.Generator | None
) -> nn.Module:
    """The layer with the draw that torch itself would make; `skip_init` left the global generator
    alone.
    """
    bound = 1.0 / math.sqrt(fan_in)
    nn.init.uniform_(layer.weight, -bound, bound, generator=generator)
    if layer.bias is not None:
        nn.init.uniform_(layer.bias, -bound, bound, generator=generator)
    return layer
