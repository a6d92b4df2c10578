"""`python -m benchmarks.streams.export gas 3 FOLDER`: a stream as files for `acclimate create` and
`acclimate play`.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from benchmarks.streams import catalogue
from benchmarks.streams.stream import Stream

SPEC = """# {about}
[model]
name = "{name}"
network = "{network}"
members = {members}
[model.network_args]
{arguments}

[input]
kind = "{kind}"
shape = {shape}
classes = {classes}

[seed]
path = "seed.npz"

[policy]
seed = {seed}
schedule = "never"
on_drift = false
max_rows = 0
"""
"""The policy as it is by default, but that `play` alone asks for runs."""


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.streams.export", description=__doc__
    )
    parser.add_argument("stream", choices=sorted(catalogue.ALL))
    parser.add_argument("seed", type=int)
    parser.add_argument("folder", type=Path)
    asked = parser.parse_args(arguments)
    definition = catalogue.definition(asked.stream)
    if definition.absent is not None:
        raise SystemExit(f"{definition.absent} is not there: set ACCLIMATE_STREAMS")
    stream = definition.build(asked.seed)
    asked.folder.mkdir(parents=True, exist_ok=True)
    spec = _spec(stream, name=asked.stream, about=definition.about, seed=asked.seed)
    (asked.folder / "spec.toml").write_text(spec, encoding="utf-8")
    np.savez_compressed(asked.folder / "seed.npz", x=_stored(stream.seed_x), y=stream.seed_y)
    shown = [window for window in stream.windows if window.learnt]
    t = np.repeat(np.arange(1, len(shown) + 1, dtype=np.int32), [len(window) for window in shown])
    x = np.concatenate([_stored(window.x) for window in shown])
    np.savez_compressed(
        asked.folder / "stream.npz", x=x, y=np.concatenate([window.y for window in shown]), t=t
    )
    print(
        f"wrote spec.toml, seed.npz ({len(stream.seed_y)} rows) and stream.npz ({len(x)} rows, "
        f"{len(shown)} windows)"
    )


def _spec(stream: Stream, *, name: str, about: str, seed: int) -> str:
    network = stream.network
    return SPEC.format(
        about=about,
        name=name,
        network=network.network,
        members=network.members,
        arguments="\n".join(f"{key} = {json.dumps(value)}" for key, value in network.args.items()),
        kind=stream.input.kind,
        shape=json.dumps(list(stream.input.shape)),
        classes=json.dumps(list(stream.input.classes)),
        seed=seed,
    )


def _stored(x: np.ndarray) -> np.ndarray:
    """Texts as an array of strings, which a file holds without pickle."""
    return x.astype(np.str_) if x.dtype == object else x


if __name__ == "__main__":
    main()
