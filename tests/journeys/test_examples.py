"""Every example as its README says: prepare, create, play; a short stretch of its stream
against the whole running product.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from running import Service

from acclimate.settings import client_settings

EXAMPLES = Path(__file__).parents[2] / "examples"
STREAMS = {"gas": "gasdrift_8of10.npz", "comments": "youtube_spam.npz"}

# One database is enough: what an example needs of it, the other journeys show on both.
once = pytest.mark.parametrize("service", ["sqlite"], indirect=True, scope="session")


def prepare(
    example: str, home: Path, *arguments: object, streams: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """What a user does first; the files are in a folder of `home`."""
    environment = {**os.environ, "ACCLIMATE_HOME": str(home)}
    if streams is not None:
        environment["ACCLIMATE_STREAMS"] = str(streams)
    command = [sys.executable, str(EXAMPLES / example / "prepare.py"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=200)


def acclimate(service: Service, *arguments: object) -> str:
    command = [
        sys.executable,
        "-m",
        "acclimate.cli.app",
        *map(str, arguments),
        "--home",
        str(service.home),
    ]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=280)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def shortened(folder: Path, windows: int) -> Path:
    """The first windows of the stream that was prepared."""
    with np.load(folder / "stream.npz", allow_pickle=False) as arrays:
        first = np.isin(arrays["t"], np.unique(arrays["t"])[:windows])
        np.savez(folder / "short.npz", **{name: arrays[name][first] for name in ("x", "y", "t")})
    return folder / "short.npz"


def played(service: Service, folder: Path, name: str) -> list[dict[str, Any]]:
    """The windows of the report: the model created from the folder's spec, and the first window of
    its stream played.

    One network a version instead of three, which is a third of the time; all else is the example's.
    """
    spec = (folder / "spec.toml").read_text()
    (folder / "small.toml").write_text(spec.replace("\nnetwork =", "\nmembers = 1\nnetwork =", 1))
    acclimate(service, "create", folder / "small.toml", "--wait")
    acclimate(service, "play", name, shortened(folder, 1), "--report", folder / "report.json")
    found: list[dict[str, Any]] = json.loads((folder / "report.json").read_text())["windows"]
    return found


@pytest.mark.slow
@once
@pytest.mark.parametrize(
    ("example", "name", "rows", "at_least"),
    [
        ("digits", "digits", 300, 0.85),
        pytest.param("gas", "gas", 622, 0.4, marks=pytest.mark.streams),
        pytest.param("comments", "comments", 350, 0.7, marks=pytest.mark.streams),
        ("own_module", "own-module", 200, 0.85),
    ],
)
def test_an_example_is_prepared_and_played(service, tmp_path, example, name, rows, at_least):
    source = client_settings().streams / STREAMS.get(example, "")
    if not source.exists() and example in STREAMS:
        pytest.skip(f"{source} is not there")
    done = prepare(example, tmp_path)
    assert done.returncode == 0, done.stderr
    (window,) = played(service, tmp_path / name, name)
    assert window["rows"] == rows
    assert window["served_accuracy"] == window["frozen_accuracy"] >= at_least
    assert window["state"] in ("succeeded", "rejected"), window


@pytest.mark.slow
@once
def test_the_own_weights_of_the_example_are_brought(service, tmp_path):
    assert prepare("own_module", tmp_path).returncode == 0
    folder = tmp_path / "own-module"
    acclimate(service, "create", folder / "spec_weights.toml", "--wait")
    with np.load(folder / "stream.npz") as arrays:
        first = arrays["t"] == 1
        np.save(folder / "rows.npy", arrays["x"][first])
        truth = arrays["y"][first]
    told = acclimate(
        service, "predict", "own-weights", folder / "rows.npy", "--no-log", "--json"
    ).splitlines()
    assert np.mean([json.loads(line)["class"] for line in told] == truth) > 0.9


@pytest.mark.parametrize("example", sorted(STREAMS))
def test_an_example_without_its_data_says_what_is_missing_and_where_it_is_from(tmp_path, example):
    done = prepare(example, tmp_path, streams=tmp_path / "nothing")
    assert done.returncode == 1 and not (tmp_path / example).exists()
    assert STREAMS[example] in done.stderr
    assert (
        "UCI 380, CC BY 4.0" in done.stderr
        if example == "comments"
        else ("README.md says what it is") in done.stderr
    )


def test_comments_are_read_from_the_files_as_they_are_published(tmp_path):
    header = "COMMENT_ID,AUTHOR,DATE,CONTENT,CLASS\n"
    (tmp_path / "Youtube01-Psy.csv").write_text(
        header + 'z1,Ann,2013-11-07T06:20:48,"so, nice",0\n', encoding="utf-8"
    )
    (tmp_path / "Youtube02-KatyPerry.csv").write_text(
        header + "z2,Bob,,check my channel\ufeff,1\n", encoding="utf-8"
    )
    done = prepare("comments", tmp_path / "home", tmp_path)
    assert done.returncode == 0, done.stderr
    with np.load(tmp_path / "home" / "comments" / "stream.npz") as stream:
        assert (stream["x"].tolist(), stream["y"].tolist(), stream["t"].tolist()) == (
            ["check my channel\ufeff"],
            [1],
            [1],
        )
    with np.load(tmp_path / "home" / "comments" / "seed.npz") as seed:
        assert (seed["x"].tolist(), seed["y"].tolist()) == (["so, nice"], [0])
