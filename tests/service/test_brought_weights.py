"""Uploaded weights: version 1 has exactly these weights, and a wrong file is refused."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pytest
import safetensors.numpy
from refusals import problem
from running import Service, wait_for
from small_model import SPEC, seed_file

BROUGHT = SPEC.replace("members = 1", 'members = 1\nweights = "weights/outside.safetensors"')
CENTERS = np.array([0.0, 8.0, 16.0])
SOFT = 0.05
"""So that the answers between the clouds are in doubt."""


def weights() -> dict[str, np.ndarray]:
    """Linear discriminants of the sum of a row, made by hand: nobody would find just these by
    training.
    """
    first, last = np.zeros((16, 4), np.float32), np.zeros((3, 16), np.float32)
    first[0], last[:, 0] = 1.0, SOFT * CENTERS
    shift = np.zeros(16, np.float32)
    shift[0] = 8.0
    offset = (SOFT * (-8 * CENTERS - CENTERS**2 / 2)).astype(np.float32)
    return {
        "layers.0.weight": first,
        "layers.0.bias": shift,
        "layers.2.weight": last,
        "layers.2.bias": offset,
    }


def logits(x: np.ndarray) -> np.ndarray:
    made = weights()
    hidden = np.maximum(x @ made["layers.0.weight"].T + made["layers.0.bias"], 0)
    return hidden @ made["layers.2.weight"].T + made["layers.2.bias"]


def changed(**arrays: Any) -> bytes:
    """The good file with some arrays changed (dots are written as __), None taken away."""
    made = weights() | {name.replace("__", "."): array for name, array in arrays.items()}
    return safetensors.numpy.save(
        {name: array for name, array in made.items() if array is not None}
    )


def with_header(edit: Any) -> bytes:
    """The good file with its header edited, its numbers as they were."""
    data = changed()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    edit(header)
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data[8 + length :]


def one(array: str, place: int, value: float) -> np.ndarray:
    made = weights()[array]
    made.reshape(-1)[place] = value
    return made


def huge(header: dict[str, Any]) -> None:
    """Four terabytes that the file does not hold."""
    header["layers.0.weight"] = {
        "dtype": "F32",
        "shape": [10**6, 10**6],
        "data_offsets": [0, 4 * 10**12],
    }


def overlap(header: dict[str, Any]) -> None:
    header["layers.0.weight"]["data_offsets"] = [0, 256]


def gone(header: dict[str, Any]) -> None:
    header["layers.0.bias"] = {"dtype": "F32", "shape": [16]}


def nameless(header: dict[str, Any]) -> None:
    header["x" * 100_000] = header.pop("layers.0.bias")


WRONG = [
    pytest.param(b"", ["truncated: it has 0 bytes"], id="empty"),
    pytest.param(
        b"PK\x03\x04 a pickle in a zip, perhaps", ["truncated"], id="another kind of file"
    ),
    pytest.param(changed()[:-100], ["damaged or truncated", "it has"], id="truncated"),
    pytest.param(changed() + b"\x00", ["damaged or truncated"], id="too long"),
    pytest.param(changed()[:40], ["truncated: it has 40 bytes"], id="cut inside the header"),
    pytest.param(changed()[:8] + b"\x00" + changed()[9:], ["not JSON"], id="damaged header"),
    pytest.param(
        (2**62).to_bytes(8, "little") + b"{}", ["header alone needs"], id="header of exabytes"
    ),
    pytest.param(
        (17 * 2**20).to_bytes(8, "little") + b" " * 17 * 2**20,
        ["at most 16777216"],
        id="header of megabytes",
    ),
    pytest.param((2).to_bytes(8, "little") + b"{}", ["has no tensors"], id="no tensors"),
    pytest.param((2).to_bytes(8, "little") + b"[]", ["not an object"], id="header of another form"),
    pytest.param(with_header(huge), ["begins at byte"], id="a tensor of terabytes"),
    pytest.param(with_header(overlap), ["begins at byte"], id="overlapping"),
    pytest.param(
        with_header(gone),
        ["'layers.0.bias' needs dtype, shape and data_offsets"],
        id="entry without a place",
    ),
    pytest.param(with_header(nameless), ["100000 characters"], id="endless name"),
    pytest.param(
        with_header(lambda header: header["layers.0.bias"].update(dtype="F31")),
        ["unknown dtype"],
        id="unknown dtype",
    ),
    pytest.param(
        with_header(lambda header: header["layers.0.bias"].update(shape=[-16])),
        ["is not a list of at most"],
        id="negative shape",
    ),
    pytest.param(
        with_header(lambda header: header["layers.0.bias"].update(shape=[15])),
        ["needs 60 bytes"],
        id="short shape",
    ),
    pytest.param(
        changed(layers__0__bias=np.zeros(16, np.float64)),
        ["'layers.0.bias' is float64[16], the network has float32[16]"],
        id="wrong dtype",
    ),
    pytest.param(
        with_header(lambda header: header["layers.0.bias"].update(dtype="BF16", shape=[32])),
        ["'layers.0.bias' is bfloat16[32]"],
        id="dtype that numpy lacks",
    ),
    pytest.param(
        changed(layers__0__bias=np.zeros(15, np.float32)), ["is float32[15]"], id="wrong shape"
    ),
    pytest.param(changed(layers__2__bias=None), ["missing: layers.2.bias"], id="missing name"),
    pytest.param(changed(head=np.zeros(1, np.float32)), ["does not have: head"], id="extra name"),
    pytest.param(
        changed(layers__0__bias=one("layers.0.bias", 3, np.nan)), ["not finite"], id="NaN"
    ),
    pytest.param(
        changed(layers__0__weight=one("layers.0.weight", 9, np.inf)), ["not finite"], id="infinity"
    ),
]


@pytest.fixture(scope="module")
def http(service: Service) -> Iterator[httpx.Client]:
    """A client of a service; at the end there are no models but the one that was brought well, and
    no runs but its own.
    """
    with service.http() as http:
        before = {
            model["name"] for model in http.get("/api/v1/models?page_size=500").json()["items"]
        }
        yield http
        after = {
            model["name"] for model in http.get("/api/v1/models?page_size=500").json()["items"]
        }
        assert "never-brought" not in after and after - before <= {"brought"}
        runs = http.get("/api/v1/runs?page_size=500").json()["items"]
        assert all(run["model"] != "never-brought" for run in runs)


def post(http: httpx.Client, spec: str, data: bytes | None) -> httpx.Response:
    parts = {
        "spec": ("spec.toml", spec.format(name="never-brought")),
        "seed": ("seed.npz", seed_file()),
    }
    if data is not None:
        parts["weights"] = ("m.safetensors", data)
    return http.post("/api/v1/models", files=parts)


@pytest.mark.parametrize(("data", "said"), WRONG)
def test_a_file_that_does_not_fit_is_refused_with_why(http, data, said):
    errors = problem(post(http, BROUGHT, data), 422)
    assert {where for where, _ in errors} == {"#/weights"}
    assert all(any(words in detail for _, detail in errors) for words in said), errors
    assert len(str(errors)) < 2000


def test_weights_that_the_spec_does_not_name_and_named_ones_that_do_not_come_are_refused(http):
    ((where, detail),) = problem(post(http, BROUGHT, None), 422)
    assert where == "#/weights" and "'weights/outside.safetensors'" in detail
    ((where, detail),) = problem(post(http, SPEC, changed()), 422)
    assert where == "#/weights" and "the spec names no weights" in detail


def test_version_1_answers_as_the_brought_weights_do(http, service, tmp_path):
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "outside.safetensors").write_bytes(changed())
    (tmp_path / "seed.npz").write_bytes(seed_file())
    spec = BROUGHT.format(name="brought") + '[seed]\npath = "seed.npz"\n'
    (tmp_path / "spec.toml").write_text(spec)
    command = [
        sys.executable,
        "-m",
        "acclimate.cli.app",
        "create",
        str(tmp_path / "spec.toml"),
        "--wait",
    ]
    created = subprocess.run(
        [*command, "--home", str(service.home)], capture_output=True, text=True, timeout=240
    )
    assert created.returncode == 0, created.stderr
    wait_for(lambda: http.get("/v2/models/brought/ready").status_code == 200)
    between = np.repeat(
        np.linspace(0.8, 1.2, 9, dtype=np.float32)[:, None], 4, axis=1
    )  # the clouds low and middle
    reply = http.post(
        "/api/v1/models/brought/predict", json={"rows": between.tolist(), "log": False}
    ).json()
    assert reply["version"] == "1"
    told = np.array([answer["probabilities"] for answer in reply["predictions"]])
    given = logits(between)
    # Only the temperature is fitted: one number stands between the differences of logits and those
    # of logarithms.
    logarithms, differences = np.log(told[:, 1] / told[:, 0]), given[:, 1] - given[:, 0]
    assert np.abs(differences).max() > 0.3
    temperature = differences[-1] / logarithms[-1]
    assert 0 < temperature < 100
    np.testing.assert_allclose(logarithms * temperature, differences, atol=1e-3)
