"""The files of a new model, as parts of the request that creates it."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from acclimate.client.errors import FileError
from acclimate.client.wire import Parts


def read(spec_path: Path) -> Parts:
    """The spec, and the seed set and weights that it names, relative to it.

    Raises `OSError` for a missing file, and `FileError` when the spec is not TOML or names no seed
    set.
    """
    text = spec_path.read_text(encoding="utf-8")
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise FileError(f"{spec_path} is not TOML: {error}") from None
    seed = _entry(document, "seed", "path")
    weights = _entry(document, "model", "weights")
    if not seed:
        raise FileError(f"{spec_path} names no seed set: give [seed] path")
    parts: Parts = [("spec", ("spec.toml", text.encode()))]
    for part, path in (("seed", seed), ("weights", weights)):
        if path:
            parts.append((part, (Path(path).name, (spec_path.parent / path).read_bytes())))
    return parts


def _entry(document: Mapping[str, Any], table: str, key: str) -> str | None:
    found = document.get(table)
    value = found.get(key) if isinstance(found, dict) else None
    return value if isinstance(value, str) else None
