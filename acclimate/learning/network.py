"""The networks of a version, the immutable bundle that answers with them, and its way to and from plain arrays."""

from __future__ import annotations

import importlib
import itertools
import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from acclimate.learning.normalise import Normalisation
from acclimate.learning.values import Floats, InputSpec, Json, NetworkSpec

FORMAT = 1
BATCH = 1024
SELF_TEST_ROWS = 16
SELF_TEST_TOLERANCE = 1e-4
"""Largest difference of a probability between the machine that trained a version and the one that serves it."""

Array = NDArray[Any]


class BundleError(ValueError):
    """A version cannot be made, or does not answer as it did where it was trained; the message says why."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Bundle:
    """One version in memory: answers the same for ever, and from many threads at once.

    The members are in eval mode and need no gradients; nobody changes them in place. selftest_x (K, *shape) are raw rows,
    selftest_probabilities (K, C) what the version answered to them when it was made; K = 0 before `with_self_test`.
    """

    input_spec: InputSpec
    network_spec: NetworkSpec
    members: tuple[nn.Module, ...]
    normalisation: Normalisation
    temperature: float
    selftest_x: Floats
    selftest_probabilities: Floats

    @property
    def device(self) -> torch.device:
        first = next(self.members[0].parameters(), None)
        return torch.device("cpu") if first is None else first.device

    def probabilities(self, x: Floats) -> Floats:
        """The version's answer (N, C) float32 to raw rows x (N, *shape): the mean of its members' calibrated softmax.

        The same row has the same answer in whatever batch it comes, up to float32 rounding.
        """
        return np.asarray(self.member_probabilities(x).mean(axis=0), dtype=np.float32)

    def member_probabilities(self, x: Floats, *, normalised: bool = False) -> Floats:
        """Each member's calibrated softmax (M, N, C) float32."""
        logits = torch.from_numpy(self.member_logits(x, normalised=normalised))
        return np.asarray(torch.softmax(logits / self.temperature, dim=-1).numpy())

    def member_logits(self, x: Floats, *, normalised: bool = False) -> Floats:
        """Each member's logits (M, N, C) float32, uncalibrated."""
        x = np.asarray(x, dtype=np.float32)
        if x.shape[1:] != self.input_spec.shape:
            raise ValueError(f"rows of shape {list(x.shape[1:])} given, {list(self.input_spec.shape)} expected")
        z = x if normalised else self.normalisation.apply(x)
        out = np.empty((len(self.members), len(z), len(self.input_spec.classes)), dtype=np.float32)
        device = self.device
        with torch.inference_mode():
            for start in range(0, len(z), BATCH):
                chunk = torch.from_numpy(z[start : start + BATCH]).to(device)
                for index, member in enumerate(self.members):
                    out[index, start : start + BATCH] = member(chunk).float().cpu().numpy()
        return out


class Mlp(nn.Module):
    """A multi-layer perceptron: any shape flattened, ReLU between the layers. Drawn from `generator` alone."""

    def __init__(self, size: int, classes: int, hidden: list[int], generator: torch.Generator | None = None) -> None:
        super().__init__()
        widths = [size, *hidden, classes]
        layers: list[nn.Module] = []
        for fan_in, fan_out in itertools.pairwise(widths):
            # skip_init leaves the global generator alone; the draw below is that of nn.Linear itself.
            layer: nn.Linear = nn.utils.skip_init(nn.Linear, fan_in, fan_out)  # type: ignore[no-untyped-call]
            bound = 1.0 / math.sqrt(fan_in)
            nn.init.uniform_(layer.weight, -bound, bound, generator=generator)
            nn.init.uniform_(layer.bias, -bound, bound, generator=generator)
            layers += [layer, nn.ReLU()]
        self.layers = nn.Sequential(*layers[:-1])

    def forward(self, x_NS: torch.Tensor) -> torch.Tensor:
        logits_NC: torch.Tensor = self.layers(x_NS.flatten(1))
        return logits_NC


def default_device() -> str:
    """Where versions live when nobody says: cuda where there is one."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def initialise(
    input_spec: InputSpec, network_spec: NetworkSpec, *, rng: np.random.Generator, allowlist: tuple[str, ...] = ()
) -> tuple[nn.Module, ...]:
    """The untrained members, each drawn differently; the built-in networks draw from `rng` alone.

    Raises `BundleError` on an unknown network, one outside the allow-list, and one whose answer has the wrong shape.
    """
    seeds = rng.integers(2**63, size=network_spec.members)
    members = tuple(_module(input_spec, network_spec, int(seed), allowlist) for seed in seeds)
    with torch.inference_mode():
        answer = members[0].eval()(torch.zeros(2, *input_spec.shape))
    expected = (2, len(input_spec.classes))
    if tuple(answer.shape) != expected:
        raise BundleError(
            f"network {network_spec.network!r} answers shape {list(answer.shape)} to 2 rows; give {list(expected)}"
        )
    return members


def seal(members: tuple[nn.Module, ...]) -> tuple[nn.Module, ...]:
    """The same members, ready to answer: eval mode, no gradients."""
    for member in members:
        member.eval().requires_grad_(False)
    return members


def with_self_test(bundle: Bundle, x: Floats) -> Bundle:
    """The bundle with its answers to those of the raw rows x that it is least sure of, for whoever loads it later.

    Where it is sure, twice the weights give the same answer within the tolerance; where it is not, a thousandth more shows.
    """
    confidence = bundle.probabilities(x).max(axis=1)
    rows = np.array(x[np.argsort(confidence, kind="stable")[:SELF_TEST_ROWS]], dtype=np.float32)
    return replace(bundle, selftest_x=rows, selftest_probabilities=bundle.probabilities(rows))


def self_test_deviation(bundle: Bundle) -> float:
    """Largest difference from the stored answers; infinite without stored rows, or where an answer is not finite."""
    if not len(bundle.selftest_x):
        return math.inf
    deviation = float(np.abs(bundle.probabilities(bundle.selftest_x) - bundle.selftest_probabilities).max())
    return deviation if math.isfinite(deviation) else math.inf


def non_finite_weights(bundle: Bundle) -> int:
    """How many numbers in the members, parameters and buffers, are NaN or infinite."""
    tensors = (tensor for member in bundle.members for tensor in member.state_dict().values())
    return sum(int((~torch.isfinite(tensor)).sum()) for tensor in tensors)


def self_test(bundle: Bundle) -> None:
    """Raises `BundleError` unless all weights are finite and the stored rows have the stored answers within 1e-4."""
    broken = non_finite_weights(bundle)
    if broken:
        raise BundleError(f"{broken} weights are not finite")
    if not len(bundle.selftest_x):
        raise BundleError("there are no self-test rows")
    deviation = self_test_deviation(bundle)
    if not deviation <= SELF_TEST_TOLERANCE:
        raise BundleError(
            f"self-test answers differ by {deviation:.2g} from the stored ones; allowed is {SELF_TEST_TOLERANCE:g}"
        )


def warm_up(bundle: Bundle) -> None:
    """Pays the cost of the first forward passes, of one row and of a batch, before traffic does."""
    for rows in (1, 64):
        bundle.probabilities(np.zeros((rows, *bundle.input_spec.shape), dtype=np.float32))


def pack(bundle: Bundle) -> tuple[Json, dict[str, Array]]:
    """The bundle as a manifest (JSON) and named arrays, from which `build` makes it again bit for bit."""
    arrays: dict[str, Array] = {
        "normalisation.center": bundle.normalisation.center,
        "normalisation.scale": bundle.normalisation.scale,
        "normalisation.folded": bundle.normalisation.folded,
        "selftest.x": bundle.selftest_x,
        "selftest.probabilities": bundle.selftest_probabilities,
    }
    for index, member in enumerate(bundle.members):
        for name, tensor in member.state_dict().items():
            arrays[f"member.{index}.{name}"] = tensor.detach().cpu().numpy().copy()
    manifest: Json = {
        "format": FORMAT,
        "kind": bundle.input_spec.kind,
        "shape": list(bundle.input_spec.shape),
        "classes": list(bundle.input_spec.classes),
        "network": bundle.network_spec.network,
        "network_args": bundle.network_spec.args,
        "members": len(bundle.members),
        "temperature": bundle.temperature,
    }
    return manifest, arrays


def build(
    manifest: Json, arrays: dict[str, Array], *, allowlist: tuple[str, ...] = (), device: str | None = None
) -> Bundle:
    """The bundle that `pack` took apart, on cuda where there is one unless `device` says otherwise.

    Raises `BundleError` on an unknown format or network, a network outside the allow-list, and on arrays that are missing, too
    many, or of the wrong shape or type. Whether it answers as it did is for `self_test` to say.
    """
    input_spec, network_spec, temperature = _read(manifest)
    members = tuple(_module(input_spec, network_spec, 0, allowlist) for _ in range(network_spec.members))
    _check(arrays, _expected(input_spec, members))
    for index, member in enumerate(members):
        names = member.state_dict().keys()
        # A copy: the arrays may be read-only memory of a file.
        member.load_state_dict({name: torch.tensor(arrays[f"member.{index}.{name}"]) for name in names})
        member.to(device or default_device())
    return Bundle(
        input_spec=input_spec,
        network_spec=network_spec,
        members=seal(members),
        normalisation=Normalisation(
            center=arrays["normalisation.center"],
            scale=arrays["normalisation.scale"],
            folded=arrays["normalisation.folded"],
        ),
        temperature=temperature,
        selftest_x=arrays["selftest.x"],
        selftest_probabilities=arrays["selftest.probabilities"],
    )


def _module(input_spec: InputSpec, network_spec: NetworkSpec, seed: int, allowlist: tuple[str, ...]) -> nn.Module:
    """One untrained member: `mlp`, or what the user's `function(shape, classes, **network_args)` returns."""
    name, classes = network_spec.network, len(input_spec.classes)
    if name == "mlp":
        generator = torch.Generator().manual_seed(seed)
        return Mlp(input_spec.size, classes, list(network_spec.args.get("hidden", (256, 128))), generator)
    if ":" not in name:
        raise BundleError(f"unknown network {name!r}; known: mlp, or package.module:function")
    if name not in allowlist:
        raise BundleError(f"network {name!r} is not in ACCLIMATE_NETWORK_ALLOWLIST; add it there on the server first")
    module_name, function_name = name.split(":", 1)
    try:
        module = getattr(importlib.import_module(module_name), function_name)(
            shape=input_spec.shape, classes=classes, **network_spec.args
        )
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        raise BundleError(f"network {name!r} could not be made: {type(error).__name__}: {error}") from error
    if not isinstance(module, nn.Module):
        raise BundleError(f"network {name!r} returned {type(module).__name__}; give a torch.nn.Module")
    return module


def _read(manifest: Json) -> tuple[InputSpec, NetworkSpec, float]:
    if manifest.get("format") != FORMAT:
        raise BundleError(f"the manifest has format {manifest.get('format')!r}; this release reads {FORMAT}")
    try:
        input_spec = InputSpec(
            kind=manifest["kind"],
            shape=tuple(map(int, manifest["shape"])),
            classes=tuple(map(str, manifest["classes"])),
        )
        network_spec = NetworkSpec(
            network=str(manifest["network"]), args=dict(manifest["network_args"]), members=int(manifest["members"])
        )
        temperature = float(manifest["temperature"])
    except KeyError as error:
        raise BundleError(f"the manifest lacks {error.args[0]!r}") from None
    except (TypeError, ValueError) as error:
        raise BundleError(f"the manifest is malformed: {error}") from None
    if network_spec.members < 1 or not (math.isfinite(temperature) and temperature > 0):
        raise BundleError(f"members {network_spec.members} and temperature {temperature} must be positive and finite")
    return input_spec, network_spec, temperature


def _expected(
    input_spec: InputSpec, members: tuple[nn.Module, ...]
) -> dict[str, tuple[tuple[int | None, ...], np.dtype[Any]]]:
    """Shape (None: any length) and type of every array of a bundle, by name."""
    floats, size = np.dtype(np.float32), input_spec.size
    expected: dict[str, tuple[tuple[int | None, ...], np.dtype[Any]]] = {
        "normalisation.center": ((size,), floats),
        "normalisation.scale": ((size,), floats),
        "normalisation.folded": ((size,), np.dtype(np.bool_)),
        "selftest.x": ((None, *input_spec.shape), floats),
        "selftest.probabilities": ((None, len(input_spec.classes)), floats),
    }
    for index, member in enumerate(members):
        for name, tensor in member.state_dict().items():
            expected[f"member.{index}.{name}"] = (tuple(tensor.shape), tensor.detach().cpu().numpy().dtype)
    return expected


def _check(arrays: dict[str, Array], expected: dict[str, tuple[tuple[int | None, ...], np.dtype[Any]]]) -> None:
    missing, extra = sorted(expected.keys() - arrays.keys()), sorted(arrays.keys() - expected.keys())
    if missing or extra:
        raise BundleError(
            f"arrays missing: {', '.join(missing[:5]) or 'none'}; not expected: {', '.join(extra[:5]) or 'none'}"
        )
    for name, (shape, dtype) in expected.items():
        array = arrays[name]
        fits = len(shape) == array.ndim and all(
            want in (None, have) for want, have in zip(shape, array.shape, strict=True)
        )
        if not fits or array.dtype != dtype:
            wanted = ["any" if want is None else want for want in shape]
            raise BundleError(f"array {name!r} is {array.dtype}{list(array.shape)}, not {dtype}{wanted}")
    if len(arrays["selftest.x"]) != len(arrays["selftest.probabilities"]):
        raise BundleError("selftest.x and selftest.probabilities differ in length")
