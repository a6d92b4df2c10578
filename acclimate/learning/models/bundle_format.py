"""A bundle as a manifest (JSON) and named arrays, and back, bit for bit."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import nn

from acclimate.learning.data import Json
from acclimate.learning.models import modes, networks, tokens
from acclimate.learning.models.bundle import Bundle
from acclimate.learning.models.encoding import Normalisation
from acclimate.learning.models.modes import Encoding, Plain, PriorAdapted, Standardised
from acclimate.learning.models.networks import Array, BundleError, Expected
from acclimate.learning.spec import InputSpec, NetworkSpec

FORMAT = 2
STARTING: dict[str, Expected] = {"mode.start": ((None, None), np.dtype(np.float32))}
"""The array that a version in another mode than plain has besides."""


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
    if not isinstance(bundle.mode, Plain):
        manifest["mode"], arrays["mode.start"] = (
            modes.as_json(bundle.mode),
            bundle.mode.start.numbers,
        )
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
    members = tuple(networks.module(input_spec, network_spec, 0, allowlist) for _ in range(count))
    networks.match(
        arrays, _expected(input_spec, members) | (STARTING if "mode" in manifest else {})
    )
    if len(arrays["selftest.x"]) != len(arrays["selftest.probabilities"]):
        raise BundleError("selftest.x and selftest.probabilities differ in length")
    for index, member in enumerate(members):
        names = member.state_dict().keys()
        # A copy: the arrays may be read-only memory of a file.
        member.load_state_dict(
            {name: torch.tensor(arrays[f"member.{index}.{name}"]) for name in names}
        )
        member.to(device or networks.default_device())
    bundle = Bundle(
        input_spec=input_spec,
        network_spec=network_spec,
        members=networks.seal(members),
        encoding=_encoding(manifest, arrays, input_spec, network_spec),
        strength=float(manifest["strength"]),
        temperature=float(manifest["temperature"]),
        selftest_x=arrays["selftest.x"],
        selftest_probabilities=arrays["selftest.probabilities"],
    )
    return bundle.with_mode(_mode(manifest, arrays)) if "mode" in manifest else bundle


def _mode(manifest: Json, arrays: dict[str, Array]) -> PriorAdapted | Standardised:
    try:
        return modes.from_json(manifest["mode"], arrays["mode.start"])
    except (KeyError, TypeError, ValueError) as error:
        raise BundleError(f"the mode of the manifest is malformed: {error}") from None


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
        expected |= {
            f"member.{index}.{name}": fits for name, fits in networks.weights_of(member).items()
        }
    return expected
