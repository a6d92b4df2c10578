"""Artifacts: named arrays with a JSON manifest, one safetensors file each, addressed by sha256.

Safetensors holds no code, so no other format is ever read. The manifest stands in the file's
metadata header.
"""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray

from acclimate.learning.data import Json
from acclimate.storage.store import Store, StoreMissing

DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
MAX_HEADER_BYTES = 16 * 1024 * 1024
"""A larger header is refused unread: ours hold a manifest and some hundred names."""
LENT = "lent"
"""Manifest key: the arrays that are stored in another artifact, and its digest."""
UTF8, ENDS, SHAPE = "#utf8", "#ends", "#shape"
DTYPES = frozenset(
    (
        "bool",
        "int8",
        "int16",
        "int32",
        "int64",
        "uint8",
        "uint16",
        "uint32",
        "uint64",
        "float16",
        "float32",
        "float64",
    )
)


class ArtifactError(Exception):
    """An artifact cannot be written or read; the message says which and why."""


class ArtifactMissing(ArtifactError):
    """The store holds no artifact of this digest."""


class ArtifactDamaged(ArtifactError):
    """The stored bytes do not have this digest, or are no artifact; nothing of them was used."""


class Artifacts:
    """Immutable artifacts in a store, under `artifacts/sha256/<hex>.safetensors`."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def write(
        self, manifest: Json, arrays: dict[str, NDArray[Any]], *, lender: str | None = None
    ) -> str:
        """Write manifest and arrays; returns the digest "sha256:<hex>", equal for equal content.

        Arrays are numbers, booleans or strings (dtype object, read back as such) of any shape.
        Arrays that the artifact `lender` holds bit for bit are not written again; they can be read
        as long as that one is stored. Raises `ArtifactError` for an array or manifest that cannot
        be stored, `ArtifactMissing` and `ArtifactDamaged` for the lender.
        """
        if lender is not None:
            lent = self._lent(lender, arrays)
            manifest = {**manifest, LENT: {"lender": lender, "arrays": sorted(lent)}}
            arrays = {name: array for name, array in arrays.items() if name not in lent}
        try:
            text = json.dumps(manifest, sort_keys=True, separators=(",", ":"), allow_nan=False)
        except (TypeError, ValueError) as error:
            raise ArtifactError(f"the manifest is not plain JSON: {error}") from error
        data = safetensors.numpy.save(
            {
                stored: plain
                for name in sorted(arrays)
                for stored, plain in _storable(name, arrays[name]).items()
            },
            metadata={"manifest": text},
        )
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        # Written even where it is stored already: the bytes are the same, and replace damaged ones.
        self._store.put_bytes(data, _key(digest))
        self._store.evict(_key(digest))
        return digest

    def read(self, digest: str) -> tuple[Json, dict[str, NDArray[Any]]]:
        """The manifest and arrays of this digest; the bytes are checked before they are parsed.

        Raises `ArtifactMissing`, `ArtifactDamaged`.
        """
        manifest, arrays = self._read(digest)
        lent = manifest.pop(LENT, None)
        if lent is not None:
            _, theirs = self._read(lent["lender"])
            arrays |= {name: theirs[name] for name in lent["arrays"]}
        return manifest, arrays

    def _lent(self, lender: str, arrays: dict[str, NDArray[Any]]) -> set[str]:
        """The names of the arrays that the artifact `lender` holds itself, bit for bit."""
        manifest, theirs = self._read(lender)
        if LENT in manifest:
            raise ArtifactError(
                f"{lender} refers to another artifact itself: name the one that holds the arrays"
            )
        return {name for name in arrays.keys() & theirs.keys() if _same(arrays[name], theirs[name])}

    def _read(self, digest: str) -> tuple[Json, dict[str, NDArray[Any]]]:
        """What the file itself holds, checked."""
        key = _key(digest)
        try:
            data = self._store.local(key).read_bytes()
        except (StoreMissing, FileNotFoundError):
            raise ArtifactMissing(f"{digest} is not in the store") from None
        found = f"sha256:{hashlib.sha256(data).hexdigest()}"
        if found != digest:
            self._store.evict(key)
            raise ArtifactDamaged(
                f"{digest} is damaged: its {len(data)} bytes have the digest {found}"
            )
        return _manifest(data, digest), _arrays(data, digest)

    def exists(self, digest: str) -> bool:
        """Whether bytes are stored under this digest; only `read` checks them."""
        return self._store.exists(_key(digest))

    def copies(self) -> list[str]:
        """The digests of the artifacts of a remote store that this machine has copies of."""
        return [f"sha256:{Path(key).stem}" for key in self._store.copies("artifacts")]

    def delete_copy(self, digest: str) -> None:
        """Delete this machine's copy; the store keeps its own."""
        self._store.evict(_key(digest))

    def delete(self, digest: str) -> None:
        """Delete the artifact, if it is stored."""
        self._store.delete(_key(digest))


def _key(digest: str) -> str:
    if not DIGEST.fullmatch(digest):
        raise ArtifactError(f"{digest!r} is not a digest: write sha256: and 64 hexadecimal digits")
    return f"artifacts/sha256/{digest.removeprefix('sha256:')}.safetensors"


def _same(ours: NDArray[Any], theirs: NDArray[Any]) -> bool:
    """Whether dtype, shape and every value are equal."""
    if ours.dtype != theirs.dtype or ours.shape != theirs.shape:
        return False
    return (
        ours.tolist() == theirs.tolist()
        if ours.dtype == object
        else ours.tobytes() == theirs.tobytes()
    )


def _storable(name: str, array: NDArray[Any]) -> dict[str, NDArray[Any]]:
    """The array under its name; strings as UTF-8 bytes, the end of each, and the shape.

    Safetensors has no strings.
    """
    if array.dtype.kind not in "OU":
        return {name: _plain(name, array)}
    try:
        texts = [text.encode() for text in array.reshape(-1).tolist()]
    except (AttributeError, UnicodeEncodeError):
        raise ArtifactError(f"array {name!r} holds objects that are not text in UTF-8") from None
    return {
        f"{name}{UTF8}": np.frombuffer(b"".join(texts), dtype=np.uint8),
        f"{name}{ENDS}": np.cumsum([len(text) for text in texts], dtype=np.int64),
        f"{name}{SHAPE}": np.array(array.shape, dtype=np.int64),
    }


def _texts(arrays: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """The inverse of `_storable`, for all arrays of a file. Raises ValueError, KeyError."""
    out = {}
    for name in arrays:
        if name.endswith((ENDS, SHAPE)):
            continue
        if not name.endswith(UTF8):
            out[name] = arrays[name]
            continue
        name = name.removesuffix(UTF8)
        data, ends, shape = (
            arrays[name + UTF8].tobytes(),
            arrays[name + ENDS].tolist(),
            arrays[name + SHAPE].tolist(),
        )
        texts = np.empty(len(ends), dtype=object)
        texts[:] = [data[start:end].decode() for start, end in zip([0, *ends], ends, strict=False)]
        out[name] = texts.reshape(shape)
    return out


def _plain(name: str, array: NDArray[Any]) -> NDArray[Any]:
    """The array contiguous and in native byte order.

    Safetensors writes little-endian, so digests agree on every machine.
    """
    if array.dtype.name not in DTYPES:
        raise ArtifactError(
            f"array {name!r} holds {array.dtype}: an artifact keeps only "
            f"{', '.join(sorted(DTYPES))}"
        )
    return np.asarray(array, dtype=array.dtype.newbyteorder("="), order="C")


def _manifest(data: bytes, digest: str) -> Json:
    length = int.from_bytes(data[:8], "little")
    if len(data) < 8 or length > min(MAX_HEADER_BYTES, len(data) - 8):
        raise ArtifactDamaged(
            f"{digest} is not an artifact: its header would be {length} bytes long"
        )
    try:
        manifest = json.loads(json.loads(data[8 : 8 + length])["__metadata__"]["manifest"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ArtifactDamaged(
            f"{digest} is not an artifact: its header holds no manifest ({type(error).__name__})"
        ) from error
    if not isinstance(manifest, dict):
        raise ArtifactDamaged(f"{digest} is not an artifact: its manifest is not an object")
    return manifest


def _arrays(data: bytes, digest: str) -> dict[str, NDArray[Any]]:
    try:
        arrays = _texts(safetensors.numpy.load(data))
    except (safetensors.SafetensorError, KeyError, ValueError, TypeError) as error:
        raise ArtifactDamaged(f"{digest} is not an artifact: {error}") from error
    return arrays
