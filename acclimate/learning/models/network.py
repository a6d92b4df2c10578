"""The networks of a version, the immutable bundle that answers with them, and its way to and from
plain arrays.
"""

from __future__ import annotations

import importlib
import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from acclimate.learning.data import Floats, Json, Rows
from acclimate.learning.models import encoding, modes, tokens
from acclimate.learning.models.architectures import CNN_CHANNELS, Cnn, Mlp, Text
from acclimate.learning.models.encoding import Normalisation
from acclimate.learning.models.modes import PLAIN, Mode
from acclimate.learning.models.tokens import Tokens
from acclimate.learning.spec import InputSpec, NetworkSpec

FORMAT = 2
BATCH = 1024
SELF_TEST_ROWS = 16
SELF_TEST_TOLERANCE = 1e-4
"""Largest difference of a probability between the machine that trained a version and the one that
serves it.
"""

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
STARTING: dict[str, Expected] = {"mode.start": ((None, None), np.dtype(np.float32))}
"""The array that a version in another mode than plain has besides."""
Encoding = Normalisation | Tokens
"""Raw rows to what networks read, decided on the seed set's training part alone."""


class BundleError(ValueError):
    """A version cannot be made, or does not answer as it did where it was trained; the message says
    why.
    """


@dataclass(frozen=True, kw_only=True, eq=False)
class Bundle:
    """One version in memory: answers the same for ever, and from many threads at once.

    The members are in eval mode and need no gradients; nobody changes them in place. selftest_x (K,
    *shape) are raw rows, selftest_probabilities (K, C) what the version answered to them when it
    was made; K = 0 before `with_self_test`. `strength` is that of the augmentation which its rows
    stand. `mode` is how it is served: `answers.answer` answers in a state of it, while the methods
    here, and with them training, gates and self-test, give what the networks say without any.
    """

    input_spec: InputSpec
    network_spec: NetworkSpec
    members: tuple[nn.Module, ...]
    encoding: Encoding
    strength: float
    temperature: float
    selftest_x: Rows
    selftest_probabilities: Floats
    mode: Mode = PLAIN

    @property
    def device(self) -> torch.device:
        first = next(self.members[0].parameters(), None)
        return torch.device("cpu") if first is None else first.device

    def probabilities(self, x: Rows) -> Floats:
        """The networks' answer (N, C) float32 to raw rows x (N, *shape): the mean of the members'
        calibrated softmax.

        In plain mode it is what is served. The same row has the same answer in whatever batch it
        comes, up to float32 rounding.
        """
        return np.asarray(self.member_probabilities(x).mean(axis=0), dtype=np.float32)

    def member_probabilities(self, x: Array, *, encoded: bool = False) -> Floats:
        """Each member's calibrated softmax (M, N, C) float32; `encoded` where x is what networks
        read already.
        """
        logits = torch.from_numpy(self.member_logits(x, encoded=encoded))
        return np.asarray(torch.softmax(logits / self.temperature, dim=-1).numpy())

    def member_logits(self, x: Array, *, encoded: bool = False) -> Floats:
        """Each member's logits (M, N, C) float32, uncalibrated."""
        shape = self.encoding.shape if encoded else self.input_spec.shape
        if x.shape[1:] != shape:
            raise ValueError(f"rows of shape {list(x.shape[1:])} given, {list(shape)} expected")
        z = x if encoded else self.encoding.apply(x)
        out = np.empty((len(self.members), len(z), len(self.input_spec.classes)), dtype=np.float32)
        device = self.device
        with torch.inference_mode():
            for start in range(0, len(z), BATCH):
                chunk = torch.from_numpy(z[start : start + BATCH]).to(device)
                for index, member in enumerate(self.members):
                    out[index, start : start + BATCH] = member(chunk).float().cpu().numpy()
        return out


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
    members = tuple(_module(input_spec, network_spec, int(seed), allowlist) for seed in seeds)
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
    member = _module(input_spec, network_spec, 0, allowlist)
    _match(weights, weights_of(member))
    member.load_state_dict({name: torch.tensor(array) for name, array in weights.items()})
    check_answer(member, input_spec, network_spec)
    return member.to(default_device())


def expected_weights(
    input_spec: InputSpec, network_spec: NetworkSpec, *, allowlist: tuple[str, ...] = ()
) -> dict[str, Expected]:
    """What the state of one member of the spec's network consists of. Raises `BundleError` where it
    cannot be made.
    """
    return weights_of(_module(input_spec, network_spec, 0, allowlist))


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


def with_self_test(bundle: Bundle, x: Rows) -> Bundle:
    """The bundle with its answers to those of the raw rows x that it is least sure of, for whoever
    loads it later.

    Where it is sure, twice the weights give the same answer within the tolerance; where it is not,
    a thousandth more shows.
    """
    confidence = bundle.probabilities(x).max(axis=1)
    rows = bundle.input_spec.rows(x[np.argsort(confidence, kind="stable")[:SELF_TEST_ROWS]])
    return replace(bundle, selftest_x=rows, selftest_probabilities=bundle.probabilities(rows))


def with_mode(bundle: Bundle, mode: Mode) -> Bundle:
    """The same networks, served in another mode: a version of its own. Raises `BundleError` where
    the mode does not fit them.
    """
    wrong = modes.problem(mode, bundle.input_spec, raw=getattr(bundle.encoding, "raw", False))
    if wrong is not None:
        raise BundleError(wrong)
    return replace(bundle, mode=mode)


def self_test_deviation(bundle: Bundle) -> float:
    """Largest difference from the stored answers; infinite without stored rows, or where an answer
    is not finite.
    """
    if not len(bundle.selftest_x):
        return math.inf
    deviation = float(
        np.abs(bundle.probabilities(bundle.selftest_x) - bundle.selftest_probabilities).max()
    )
    return deviation if math.isfinite(deviation) else math.inf


def non_finite_weights(bundle: Bundle) -> int:
    """How many numbers in the members, parameters and buffers, are NaN or infinite."""
    tensors = (tensor for member in bundle.members for tensor in member.state_dict().values())
    return sum(int((~torch.isfinite(tensor)).sum()) for tensor in tensors)


def self_test(bundle: Bundle) -> None:
    """Raises `BundleError` unless all weights are finite and the stored rows have the stored
    answers within 1e-4.
    """
    broken = non_finite_weights(bundle)
    if broken:
        raise BundleError(f"{broken} weights are not finite")
    if not len(bundle.selftest_x):
        raise BundleError("there are no self-test rows")
    deviation = self_test_deviation(bundle)
    if not deviation <= SELF_TEST_TOLERANCE:
        raise BundleError(
            f"self-test answers differ by {deviation:.2g} from the stored ones; allowed is "
            f"{SELF_TEST_TOLERANCE:g}"
        )


def warm_up(bundle: Bundle) -> None:
    """Pays the cost of the first forward passes, of one row and of a batch, before traffic does."""
    for rows in (1, 64):
        bundle.probabilities(bundle.input_spec.blank(rows))


def pack(bundle: Bundle) -> tuple[Json, dict[str, Array]]:
    """The bundle as a manifest (JSON) and named arrays, from which `build` makes it again bit for
    bit.
    """
    arrays: dict[str, Array] = {
        "selftest.x": bundle.selftest_x,
        "selftest.probabilities": bundle.selftest_probabilities,
    }
    if isinstance(bundle.encoding, Normalisation):
        arrays |= {
            f"encoding.{name}": getattr(bundle.encoding, name)
            for name in ("center", "scale", "folded")
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
        "student_members": bundle.network_spec.members,
        "raw": isinstance(bundle.encoding, Normalisation) and bundle.encoding.raw,
        "strength": bundle.strength,
        "temperature": bundle.temperature,
    }
    if bundle.mode.start is not None:
        manifest["mode"], arrays["mode.start"] = bundle.mode.as_json(), bundle.mode.start.numbers
    return manifest, arrays


def build(
    manifest: Json,
    arrays: dict[str, Array],
    *,
    allowlist: tuple[str, ...] = (),
    device: str | None = None,
) -> Bundle:
    """The bundle that `pack` took apart, on cuda where there is one unless `device` says otherwise.

    Raises `BundleError` on an unknown format or network, a network outside the allow-list, and on
    arrays that are missing, too many, or of the wrong shape or type. Whether it answers as it did
    is for `self_test` to say.
    """
    input_spec, network_spec, count = _read(manifest)
    members = tuple(_module(input_spec, network_spec, 0, allowlist) for _ in range(count))
    _match(arrays, _expected(input_spec, members) | (STARTING if "mode" in manifest else {}))
    if len(arrays["selftest.x"]) != len(arrays["selftest.probabilities"]):
        raise BundleError("selftest.x and selftest.probabilities differ in length")
    for index, member in enumerate(members):
        names = member.state_dict().keys()
        # A copy: the arrays may be read-only memory of a file.
        member.load_state_dict(
            {name: torch.tensor(arrays[f"member.{index}.{name}"]) for name in names}
        )
        member.to(device or default_device())
    bundle = Bundle(
        input_spec=input_spec,
        network_spec=network_spec,
        members=seal(members),
        encoding=_encoding(manifest, arrays, input_spec, network_spec),
        strength=float(manifest["strength"]),
        temperature=float(manifest["temperature"]),
        selftest_x=arrays["selftest.x"],
        selftest_probabilities=arrays["selftest.probabilities"],
    )
    return with_mode(bundle, _mode(manifest, arrays)) if "mode" in manifest else bundle


def _mode(manifest: Json, arrays: dict[str, Array]) -> Mode:
    try:
        return Mode.from_json(manifest["mode"], arrays["mode.start"])
    except (KeyError, TypeError, ValueError) as error:
        raise BundleError(f"the mode of the manifest is malformed: {error}") from None


def _module(
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


def _encoding(
    manifest: Json, arrays: dict[str, Array], input_spec: InputSpec, network_spec: NetworkSpec
) -> Encoding:
    if input_spec.kind in ("text", "sequence"):
        return tokens.of(input_spec, network_spec)
    return Normalisation(
        kind=input_spec.kind,
        shape=input_spec.shape,
        center=arrays["encoding.center"],
        scale=arrays["encoding.scale"],
        folded=arrays["encoding.folded"],
        raw=bool(manifest["raw"]),
    )


def _read(manifest: Json) -> tuple[InputSpec, NetworkSpec, int]:
    """The specs and how many members there are. Raises `BundleError`."""
    if manifest.get("format") != FORMAT:
        raise BundleError(
            f"the manifest has format {manifest.get('format')!r}; this release reads {FORMAT}"
        )
    try:
        input_spec = InputSpec(
            kind=manifest["kind"],
            shape=tuple(map(int, manifest["shape"])),
            classes=tuple(map(str, manifest["classes"])),
        )
        network_spec = NetworkSpec(
            network=str(manifest["network"]),
            args=dict(manifest["network_args"]),
            members=int(manifest["student_members"]),
        )
        members, temperature = int(manifest["members"]), float(manifest["temperature"])
        strength, _ = float(manifest["strength"]), bool(manifest["raw"])
    except KeyError as error:
        raise BundleError(f"the manifest lacks {error.args[0]!r}") from None
    except (TypeError, ValueError) as error:
        raise BundleError(f"the manifest is malformed: {error}") from None
    if min(members, network_spec.members) < 1 or not (
        math.isfinite(temperature) and temperature > 0
    ):
        raise BundleError(
            f"members {members} and temperature {temperature} must be positive and finite"
        )
    if not 0 <= strength <= 1:
        raise BundleError(f"strength {strength} must be in 0..1")
    return input_spec, network_spec, members


def _expected(input_spec: InputSpec, members: tuple[nn.Module, ...]) -> dict[str, Expected]:
    """Every array of a bundle, by name."""
    floats = np.dtype(np.float32)
    expected: dict[str, Expected] = {
        "selftest.x": ((None, *input_spec.shape), input_spec.blank(0).dtype),
        "selftest.probabilities": ((None, len(input_spec.classes)), floats),
    }
    if input_spec.kind in ("vector", "image"):
        columns = (input_spec.size,)
        expected |= {"encoding.center": (columns, floats), "encoding.scale": (columns, floats)}
        expected["encoding.folded"] = (columns, np.dtype(np.bool_))
    for index, member in enumerate(members):
        expected |= {f"member.{index}.{name}": fits for name, fits in weights_of(member).items()}
    return expected


def _match(arrays: dict[str, Array], expected: dict[str, Expected]) -> None:
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
