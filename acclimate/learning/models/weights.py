"""Weights: do those that somebody trained elsewhere fit the network, and how far apart are those of
two versions.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from acclimate.learning.models import networks
from acclimate.learning.models.bundle import Bundle
from acclimate.learning.models.networks import BundleError
from acclimate.learning.spec import ModelSpec, Problem

POINTER = "#/weights"
SHOWN = 5


def check(
    header: dict[str, tuple[str, tuple[int, ...]]],
    spec: ModelSpec,
    *,
    allowlist: tuple[str, ...] = (),
) -> list[Problem]:
    """What keeps tensors of these numpy types and shapes, by name, from being the weights of the
    spec's network.
    """
    try:
        expected = networks.expected_weights(spec.input, spec.network, allowlist=allowlist)
    except BundleError as error:
        return [Problem("#/model/network", str(error))]
    problems = []
    missing, extra = (
        sorted(expected.keys() - header.keys()),
        sorted(header.keys() - expected.keys()),
    )
    if missing:
        problems.append(Problem(POINTER, f"tensors are missing: {_some(missing)}"))
    if extra:
        problems.append(Problem(POINTER, f"tensors that the network does not have: {_some(extra)}"))
    for name in sorted(expected.keys() & header.keys()):
        shape, dtype = expected[name]
        if header[name] != (dtype.name, shape):
            found, size = header[name]
            problems.append(
                Problem(
                    POINTER,
                    f"{name!r} is {found}{list(size)}, the network has {dtype.name}{list(shape)}",
                )
            )
    return problems


def finite(arrays: dict[str, NDArray[Any]]) -> list[Problem]:
    """One problem for each tensor that holds NaN or infinity."""
    bad = {
        name: int((~np.isfinite(array)).sum())
        for name, array in arrays.items()
        if array.dtype.kind == "f"
    }
    return [
        Problem(POINTER, f"{name!r} holds {count} numbers that are not finite")
        for name, count in bad.items()
        if count
    ]


def _some(names: list[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def same(a: Bundle, b: Bundle) -> bool:
    """Whether two versions answer with equal weights, in whatever mode."""
    states = [[member.state_dict() for member in bundle.members] for bundle in (a, b)]
    return len(a.members) == len(b.members) and all(
        all(tensor.equal(other[name]) for name, tensor in one.items())
        for one, other in zip(*states, strict=True)
    )


def distance(bundle: Bundle, anchor: Bundle) -> float:
    """The length of the difference between their weights over that of the anchor's, the mean over
    members; 0 or more.

    Members beyond the anchor's were started from its own in turn. NaN where weights are not finite.
    """
    far = []
    for index, member in enumerate(bundle.members):
        before = _flat(anchor.members[index % len(anchor.members)])
        far.append(float((_flat(member) - before).norm() / before.norm().clamp_min(1e-12)))
    return sum(far) / len(far)


def _flat(member: torch.nn.Module) -> torch.Tensor:
    tensors = [
        tensor.detach().cpu()
        for tensor in member.state_dict().values()
        if tensor.is_floating_point()
    ]
    return torch.cat(
        [torch.empty(0, dtype=torch.float64), *(tensor.double().flatten() for tensor in tensors)]
    )
