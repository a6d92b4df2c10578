"""Writes spec.toml, seed.npz and stream.npz of the ageing gas sensors into ACCLIMATE_HOME/gas/."""

from pathlib import Path

import numpy as np

from acclimate.settings import client_settings

SOURCE = "gasdrift_8of10.npz"
SEED_BATCH = 1
WINDOWS = {2: 2, 3: 3, 4: 1, 5: 1, 6: 3, 8: 1, 9: 1}
"""How many windows each later batch makes, oldest batch first; batches 7 and 10 are not in the
file.
"""


def main() -> None:
    settings = client_settings()
    source = settings.streams / SOURCE
    if not source.is_file():
        raise SystemExit(
            f"{source} is not there: set ACCLIMATE_STREAMS to the folder of {SOURCE} "
            f"(README.md says what it is)"
        )
    folder = settings.home / "gas"
    folder.mkdir(parents=True, exist_ok=True)
    with np.load(source, allow_pickle=False) as arrays:
        x, y, batch = arrays["x"], arrays["y"], arrays["t"]
    seed = batch == SEED_BATCH
    np.savez_compressed(folder / "seed.npz", x=x[seed], y=y[seed])
    parts = windows(batch, np.random.default_rng(0))
    order = np.concatenate(parts)
    t = np.repeat(np.arange(1, len(parts) + 1, dtype=np.int32), [len(part) for part in parts])
    np.savez_compressed(folder / "stream.npz", x=x[order], y=y[order], t=t)
    spec = folder / "spec.toml"
    spec.write_text(
        Path(__file__).with_name("spec.toml").read_text(encoding="utf-8"), encoding="utf-8"
    )
    print(
        f"wrote {spec}, seed.npz ({seed.sum()} rows) and stream.npz ({len(order)} rows, "
        f"{len(parts)} windows) beside it"
    )


def windows(batch: np.ndarray, rng: np.random.Generator) -> list[np.ndarray]:
    """Row numbers of each window: inside a batch the file groups rows by class, so each is shuffled
    before it is cut.
    """
    parts: list[np.ndarray] = []
    for number, count in WINDOWS.items():
        parts += np.array_split(rng.permutation(np.flatnonzero(batch == number)), count)
    return parts


if __name__ == "__main__":
    main()
