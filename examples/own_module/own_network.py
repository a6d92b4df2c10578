"""A network of your own: `build` is what spec.toml names, and all that acclimate asks for is the
module it returns.
"""

import torch
from torch import nn


def build(*, shape: tuple[int, ...], classes: int, width: int = 32, depth: int = 2) -> nn.Module:
    """Reads rows (N, *shape), answers logits (N, classes). The other arguments are
    [model.network_args] of the spec.
    """
    return Residual(shape[0], classes, width, depth)


class Residual(nn.Module):
    """Dense layers, each of which adds to what came before.

    Where acclimate trains the network it has scaled the rows already, and `center` and `scale`
    change nothing. Weights that are brought get raw rows, as they come: then these two hold what
    the network was trained with.
    """

    center: torch.Tensor
    scale: torch.Tensor

    def __init__(self, size: int, classes: int, width: int, depth: int) -> None:
        super().__init__()
        self.register_buffer("center", torch.zeros(size))
        self.register_buffer("scale", torch.ones(size))
        self.first = nn.Linear(size, width)
        self.blocks = nn.ModuleList(nn.Linear(width, width) for _ in range(depth))
        self.last = nn.Linear(width, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hidden = self.first((x - self.center) / self.scale)
        for block in self.blocks:
            hidden = hidden + block(torch.relu(hidden))
        return self.last(torch.relu(hidden))
