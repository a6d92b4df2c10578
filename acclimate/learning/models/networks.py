"""The networks of a version: made untrained, loaded from weights, checked.

Built-in names are `mlp`, `cnn` and `text`; `package.module:function` names a user's own.
"""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from acclimate.learning.data import Rows
from acclimate.learning.models import encoding, tokens
from acclimate.learning.models.architectures import CNN_CHANNELS, Cnn, Mlp, Text
from acclimate.learning.models.modes import Encoding
from acclimate.learning.spec import InputSpec, NetworkSpec

KEPT_TYPES = frozenset(
    f"torch.{name}"
    for name in (
        "float16",
        "float32",
        "float64",
        "uint8",
        "int8",
        "int16",
        "int32",
        "int64",
        "bool",
    )
)
"""Types of tensors that a network may hold: those that numpy has too."""

Array = NDArray[Any]
Expected = tuple[tuple[int | None, ...], np.dtype[Any]]
"""Shape (None: any length) and type of an array."""


class BundleError(ValueError):
    """A version cannot be made, or does not answer as it did where it was trained; the message says
    why.
    """


def default_device() -> str:
    """Where versions live when nobody says: cuda where there is one."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def initialise(
    input_spec: InputSpec,
    network_spec: NetworkSpec,
    *,
    rng: np.random.Generator,
    allowlist: tuple[str, ...] = (),
) -> tuple[nn.Module, ...]:
    """The untrained members, each drawn differently; the built-in networks draw from `rng` alone.

    Raises `BundleError` on an unknown network, one outside the allow-list, and one whose answer has
    the wrong shape.
    """
    seeds = rng.integers(2**63, size=network_spec.members)
    members = tuple(module(input_spec, network_spec, int(seed), allowlist) for seed in seeds)
    check_answer(members[0], input_spec, network_spec)
    return members


def check_answer(member: nn.Module, input_spec: InputSpec, network_spec: NetworkSpec) -> None:
    """Raises `BundleError` unless the network answers logits of the right shape to rows that say
    nothing.
    """
    dtype = torch.int64 if input_spec.kind in ("text", "sequence") else torch.float32
    try:
        with torch.inference_mode():
            answer = member.eval()(
                torch.zeros(2, *read_shape(input_spec, network_spec), dtype=dtype)
            )
    except Exception as error:  # it may be somebody else's code, and raise anything
        raise BundleError(
            f"network {network_spec.network!r} cannot read such rows: {error}"
        ) from error
    expected = (2, len(input_spec.classes))
    if tuple(answer.shape) != expected:
        raise BundleError(
            f"network {network_spec.network!r} answers shape {list(answer.shape)} to 2 rows; "
            f"give {list(expected)}"
        )


def read_shape(input_spec: InputSpec, network_spec: NetworkSpec) -> tuple[int, ...]:
    """The shape of one row as networks read it: that of the row itself, for text the number of its
    tokens.
    """
    return (
        tokens.of(input_spec, network_spec).shape if input_spec.kind == "text" else input_spec.shape
    )


def fit_encoding(
    x: Rows, input_spec: InputSpec, network_spec: NetworkSpec, *, raw: bool = False
) -> Encoding:
    """How a version reads rows, decided on trusted rows x; `raw` leaves numbers as they are, for
    weights that were brought.
    """
    if input_spec.kind in ("text", "sequence"):
        return tokens.of(input_spec, network_spec)
    return encoding.fit(x, input_spec, raw=raw)


def load(
    input_spec: InputSpec,
    network_spec: NetworkSpec,
    weights: dict[str, Array],
    *,
    allowlist: tuple[str, ...] = (),
) -> nn.Module:
    """One member with weights that were brought. Raises `BundleError` where they are not those of
    the network.
    """
    member = module(input_spec, network_spec, 0, allowlist)
    match(weights, weights_of(member))
    member.load_state_dict({name: torch.tensor(array) for name, array in weights.items()})
    check_answer(member, input_spec, network_spec)
    return member.to(default_device())


def expected_weights(
    input_spec: InputSpec, network_spec: NetworkSpec, *, allowlist: tuple[str, ...] = ()
) -> dict[str, Expected]:
    """What the state of one member of the spec's network consists of. Raises `BundleError` where it
    cannot be made.
    """
    return weights_of(module(input_spec, network_spec, 0, allowlist))


def weights_of(member: nn.Module) -> dict[str, Expected]:
    """Shape and type of every array of a network's state, by name."""
    return {
        name: (tuple(tensor.shape), tensor.detach().cpu().numpy().dtype)
        for name, tensor in member.state_dict().items()
    }


def seal(members: tuple[nn.Module, ...]) -> tuple[nn.Module, ...]:
    """The same members, ready to answer: eval mode, no gradients."""
    for member in members:
        member.eval().requires_grad_(False)
    return members


def module(
    input_spec: InputSpec, network_spec: NetworkSpec, seed: int, allowlist: tuple[str, ...]
) -> nn.Module:
    """One untrained member: a built-in network, or what the user's `function(shape, classes,
    **network_args)` returns.
    """
    name, args, classes = network_spec.network, network_spec.args, len(input_spec.classes)
    generator = torch.Generator().manual_seed(seed)
    if name == "mlp":
        return Mlp(input_spec.size, classes, list(args.get("hidden", (256, 128))), generator)
    if name == "cnn":
        channels, hidden = (
            list(args.get("channels", CNN_CHANNELS)),
            list(args.get("hidden", (128,))),
        )
        return Cnn(input_spec.shape, classes, channels, hidden, generator)
    if name == "text":
        buckets = tokens.of(input_spec, network_spec).buckets
        return Text(
            buckets, classes, int(args.get("dim", 32)), list(args.get("hidden", (32,))), generator
        )
    if ":" not in name:
        raise BundleError(
            f"unknown network {name!r}; known: mlp, cnn, text, or package.module:function"
        )
    if name not in allowlist:
        raise BundleError(
            f"network {name!r} is not in ACCLIMATE_NETWORK_ALLOWLIST; add it there on the "
            f"server first"
        )
    module_name, function_name = name.split(":", 1)
    try:
        module = getattr(importlib.import_module(module_name), function_name)(
            shape=read_shape(input_spec, network_spec), classes=classes, **args
        )
    except Exception as error:  # it is somebody else's code, and may raise anything
        raise BundleError(
            f"network {name!r} could not be made: {type(error).__name__}: {error}"
        ) from error
    if not isinstance(module, nn.Module):
        raise BundleError(
            f"network {name!r} returned {type(module).__name__}; give a torch.nn.Module"
        )
    foreign = sorted({str(tensor.dtype) for tensor in module.state_dict().values()} - KEPT_TYPES)
    if foreign:
        raise BundleError(
            f"network {name!r} has tensors of {', '.join(foreign)}; a version keeps float32, "
            f"convert them"
        )
    return module


def match(arrays: dict[str, Array], expected: dict[str, Expected]) -> None:
    """Raises `BundleError` unless the arrays are the expected ones, by name, shape and type."""
    missing, extra = (
        sorted(expected.keys() - arrays.keys()),
        sorted(arrays.keys() - expected.keys()),
    )
    if missing or extra:
        raise BundleError(
            f"arrays missing: {', '.join(missing[:5]) or 'none'}; not expected: "
            f"{', '.join(extra[:5]) or 'none'}"
        )
    for name, (shape, dtype) in expected.items():
        array = arrays[name]
        fits = len(shape) == array.ndim and all(
            want in (None, have) for want, have in zip(shape, array.shape, strict=True)
        )
        if not fits or array.dtype != dtype:
            wanted = ["any" if want is None else want for want in shape]
            raise BundleError(
                f"array {name!r} is {array.dtype}{list(array.shape)}, not {dtype}{wanted}"
            )
