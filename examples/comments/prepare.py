"""Writes spec.toml, seed.npz and stream.npz of the comments under five videos into
ACCLIMATE_HOME/comments/.

Reads youtube_spam.npz from ACCLIMATE_STREAMS, or the five csv files of UCI 380 from the folder
given as argument.
"""

import csv
import sys
from pathlib import Path

import numpy as np

from acclimate.settings import client_settings

SOURCE = "youtube_spam.npz"
FILES = "Youtube0*.csv"
WHERE = (
    "{} is not there. The data are not part of acclimate: YouTube Spam Collection, UCI 380, CC "
    "BY 4.0, "
    "https://archive.ics.uci.edu/dataset/380; unpack it and give its folder: prepare.py FOLDER"
)


def main() -> None:
    settings = client_settings()
    text, y, video = (
        from_csv(Path(sys.argv[1])) if sys.argv[1:] else from_npz(settings.streams / SOURCE)
    )
    folder = settings.home / "comments"
    folder.mkdir(parents=True, exist_ok=True)
    seed = video == 0
    np.savez_compressed(folder / "seed.npz", x=text[seed], y=y[seed])
    np.savez_compressed(folder / "stream.npz", x=text[~seed], y=y[~seed], t=video[~seed])
    spec = folder / "spec.toml"
    spec.write_text(
        Path(__file__).with_name("spec.toml").read_text(encoding="utf-8"), encoding="utf-8"
    )
    print(
        f"wrote {spec}, seed.npz ({seed.sum()} comments) and stream.npz ({(~seed).sum()} comments, "
        f"{len(np.unique(video[~seed]))} windows) beside it"
    )


def from_npz(path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Text (N,), class 0 ham or 1 spam (N,), number of the video (N,) from 0."""
    if not path.is_file():
        raise SystemExit(WHERE.format(path))
    with np.load(path, allow_pickle=False) as arrays:
        return arrays["text"], arrays["y"], arrays["t"]


def from_csv(folder: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The same out of UCI's files, one a video, with columns CONTENT and CLASS."""
    paths = sorted(folder.glob(FILES))
    if not paths:
        raise SystemExit(WHERE.format(folder / FILES))
    rows = []
    for video, path in enumerate(paths):
        with path.open(newline="", encoding="utf-8-sig") as lines:
            rows += [(line["CONTENT"], int(line["CLASS"]), video) for line in csv.DictReader(lines)]
    text, y, t = zip(*rows, strict=True)
    return np.array(text), np.array(y), np.array(t)


if __name__ == "__main__":
    main()
