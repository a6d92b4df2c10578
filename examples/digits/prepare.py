"""Writes spec.toml, seed.npz and stream.npz of the turning digits into ACCLIMATE_HOME/digits-image/."""

from pathlib import Path

import numpy as np

from acclimate.cli import digits
from acclimate.settings import client_settings


def main() -> None:
    try:
        x, y, stream = digits.make()
    except digits.MissingExtraError as error:
        raise SystemExit(str(error)) from None
    folder = client_settings().home / "digits-image"
    folder.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(folder / "seed.npz", x=images(x), y=y)
    rows = images(stream.x)
    digits.Stream(x=rows, y=stream.y, t=stream.t, marks=stream.marks).save(folder / "stream.npz")
    spec = folder / "spec.toml"
    spec.write_text(Path(__file__).with_name("spec.toml").read_text(encoding="utf-8"), encoding="utf-8")
    print(f"wrote {spec}, seed.npz ({len(x)} images) and stream.npz ({len(rows)} images) beside it")


def images(x: np.ndarray) -> np.ndarray:
    """The 64 numbers of each row as 8 lines of 8."""
    return x.reshape(len(x), 8, 8)


if __name__ == "__main__":
    main()
