"""Artifacts: a digest names exactly what was written, and damage is detected."""

import hashlib
import json
import struct
import uuid

import numpy as np
import pytest

from acclimate.storage.registry.artifacts import (
    ArtifactDamaged,
    ArtifactError,
    ArtifactMissing,
    Artifacts,
)
from acclimate.storage.store import Store

MANIFEST = {"classes": ["ä", "b"], "temperature": 1.25, "nested": {"x": [1, None, True]}}
ARRAYS = {
    "weight": np.arange(6, dtype=np.float32).reshape(2, 3),
    "count": np.array(7, dtype=np.int64),
    "empty": np.zeros((0, 4), np.float64),
    "mask": np.array([True, False]),
}


@pytest.fixture(params=["file", "memory"])
def store(request, tmp_path):
    url = (
        f"file://{tmp_path}/store"
        if request.param == "file"
        else f"memory://{uuid.uuid4().hex}/store"
    )
    return Store(url, tmp_path / "cache")


@pytest.fixture
def artifacts(store):
    return Artifacts(store)


def key(digest):
    return f"artifacts/sha256/{digest.removeprefix('sha256:')}.safetensors"


def plant(store, data):
    """These bytes under the digest that they really have."""
    digest = "sha256:" + hashlib.sha256(data).hexdigest()
    store.put_bytes(data, key(digest))
    return digest


def with_header(header):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text


def test_an_artifact_comes_back_as_it_was_written(artifacts):
    manifest, arrays = artifacts.read(artifacts.write(MANIFEST, ARRAYS))
    assert manifest == MANIFEST
    assert arrays.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        assert (arrays[name].dtype, arrays[name].shape) == (array.dtype, array.shape)
        np.testing.assert_array_equal(arrays[name], array)
        assert arrays[name].flags.writeable


def test_numbers_that_another_artifact_holds_are_written_once(artifacts, store):
    names = np.array([["one"], ["two"]], dtype=object)
    lender = artifacts.write(
        MANIFEST, {**ARRAYS, "big": np.arange(100_000.0), "names": names, "other": np.ones(2)}
    )
    changed = {
        **ARRAYS,
        "big": np.arange(100_000.0),
        "names": names,
        "count": np.array(8),
        "new": np.zeros(3, bool),
    }
    digest = artifacts.write({"mode": "prior"}, changed, lender=lender)
    assert len(store.local(key(digest)).read_bytes()) < 4000
    manifest, arrays = artifacts.read(digest)
    assert manifest == {"mode": "prior"}
    assert arrays.keys() == changed.keys()
    for name, array in changed.items():
        np.testing.assert_array_equal(arrays[name], array)
    with pytest.raises(ArtifactError, match="refers to another artifact itself"):
        artifacts.write(MANIFEST, changed, lender=digest)
    artifacts.delete(lender)
    with pytest.raises(ArtifactMissing, match=lender):
        artifacts.read(digest)


def test_a_number_that_differs_in_one_bit_is_not_borrowed(artifacts):
    lender = artifacts.write({}, {"x": np.array([0.0, 1.0]), "y": np.zeros(2, np.float32)})
    digest = artifacts.write(
        {}, {"x": np.array([-0.0, 1.0]), "y": np.zeros(2, np.float64)}, lender=lender
    )
    found = artifacts.read(digest)[1]
    assert np.signbit(found["x"][0])
    assert found["y"].dtype == np.float64


def test_the_digest_is_that_of_the_stored_bytes(artifacts, store):
    digest = artifacts.write(MANIFEST, ARRAYS)
    assert digest == "sha256:" + hashlib.sha256(store.local(key(digest)).read_bytes()).hexdigest()


def test_equal_content_has_an_equal_digest_whatever_its_order_and_layout(artifacts):
    shuffled = {name: np.array(ARRAYS[name], order="F") for name in reversed(ARRAYS)}
    shuffled["weight"] = np.ascontiguousarray(ARRAYS["weight"].T).T.astype(">f4")
    assert artifacts.write(dict(reversed(MANIFEST.items())), shuffled) == artifacts.write(
        MANIFEST, ARRAYS
    )


def test_other_content_has_another_digest(artifacts):
    changed = {**ARRAYS, "weight": ARRAYS["weight"] + 1}
    digests = {
        artifacts.write(MANIFEST, ARRAYS),
        artifacts.write(MANIFEST, changed),
        artifacts.write({**MANIFEST, "temperature": 1.5}, ARRAYS),
    }
    assert len(digests) == 3


def test_an_artifact_that_is_not_there_is_missing_by_digest(artifacts):
    digest = "sha256:" + "0" * 64
    with pytest.raises(ArtifactMissing, match=digest):
        artifacts.read(digest)
    assert not artifacts.exists(digest)


def test_a_deleted_artifact_is_missing(artifacts):
    digest = artifacts.write(MANIFEST, ARRAYS)
    artifacts.read(digest)
    artifacts.delete(digest)
    with pytest.raises(ArtifactMissing):
        artifacts.read(digest)


def test_an_artifact_cut_anywhere_is_refused(artifacts, store):
    digest = artifacts.write(MANIFEST, ARRAYS)
    whole = store.local(key(digest)).read_bytes()
    for cut in range(len(whole)):
        store.put_bytes(whole[:cut], key(digest))
        store.evict(key(digest))
        with pytest.raises(ArtifactDamaged, match=digest):
            artifacts.read(digest)
    store.put_bytes(whole, key(digest))
    assert artifacts.read(digest)[0] == MANIFEST


@pytest.mark.parametrize("place", [0, 8, 40, -1])
def test_an_artifact_with_a_flipped_bit_is_refused_and_repaired_by_a_write(artifacts, store, place):
    digest = artifacts.write(MANIFEST, ARRAYS)
    data = bytearray(store.local(key(digest)).read_bytes())
    data[place] ^= 1
    store.put_bytes(bytes(data), key(digest))
    store.evict(key(digest))
    with pytest.raises(ArtifactDamaged, match=digest):
        artifacts.read(digest)
    artifacts.write(MANIFEST, ARRAYS)
    assert artifacts.read(digest)[0] == MANIFEST


def test_a_damaged_cached_copy_is_fetched_again_at_the_next_read(tmp_path):
    store = Store(f"memory://{uuid.uuid4().hex}", tmp_path / "cache")
    artifacts = Artifacts(store)
    digest = artifacts.write(MANIFEST, ARRAYS)
    store.local(key(digest)).write_bytes(b"damaged")
    with pytest.raises(ArtifactDamaged):
        artifacts.read(digest)
    assert artifacts.read(digest)[0] == MANIFEST


A_PICKLE_THAT_ENDS_THE_PROCESS = b"cbuiltins\nexit\n(tR."


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x00" * 7,
        A_PICKLE_THAT_ENDS_THE_PROCESS,
        struct.pack("<Q", 2**63) + b"{}",
        struct.pack("<Q", 100_000_000) + b"{}",
        with_header(b"\xff\xfe not json"),
        with_header(b"[" * 5000),
        with_header({}),
        with_header({"__metadata__": {"other": "x"}}),
        with_header({"__metadata__": {"manifest": "[1]"}}),
        with_header({"__metadata__": {"manifest": "{"}}),
        with_header([1, 2]),
        with_header(
            {
                "__metadata__": {"manifest": "{}"},
                "w": {"dtype": "F32", "shape": [10**11], "data_offsets": [0, 4]},
            }
        ),
        with_header(
            {
                "__metadata__": {"manifest": "{}"},
                "w": {"dtype": "NOPE", "shape": [], "data_offsets": [0, 0]},
            }
        ),
    ],
    ids=lambda data: data[:24].hex() or "empty",
)
def test_bytes_of_the_right_digest_that_are_no_artifact_are_refused(artifacts, store, data):
    digest = plant(store, data)
    with pytest.raises(ArtifactDamaged, match=digest):
        artifacts.read(digest)


@pytest.mark.parametrize(
    "digest",
    [
        "",
        "sha256:",
        "sha256:../../etc/passwd",
        "/etc/passwd",
        "md5:" + "0" * 32,
        "sha256:" + "A" * 64,
    ],
)
def test_what_is_no_digest_is_refused(artifacts, digest):
    for verb in (artifacts.read, artifacts.delete, artifacts.exists):
        with pytest.raises(ArtifactError, match="is not a digest"):
            verb(digest)


@pytest.mark.parametrize(
    "array",
    [np.array([{}]), np.array(["\ud800"]), np.array([1j]), np.array(["2026"], "datetime64[Y]")],
)
def test_a_non_numeric_array_is_refused_by_name_and_nothing_is_written(artifacts, store, array):
    with pytest.raises(ArtifactError, match="'seeds' holds"):
        artifacts.write({}, {"seeds": array})
    assert store.list() == []


@pytest.mark.parametrize("manifest", [{"x": float("nan")}, {"x": object()}])
def test_a_manifest_that_is_not_json_is_refused(artifacts, manifest):
    with pytest.raises(ArtifactError, match="not plain JSON"):
        artifacts.write(manifest, {})


@pytest.mark.parametrize("shape", [(4, 1), (2, 2), (4,)])
def test_strings_of_any_length_come_back_as_they_were(artifacts, shape):
    texts = np.array(["", "Où est 好?", "a" * 70_000, "\x00\n"], dtype=object).reshape(shape)
    _, found = artifacts.read(
        artifacts.write({}, {"x": texts, "none": texts[:0], "n": np.arange(3)})
    )
    assert found["x"].dtype == object
    assert found["x"].tolist() == texts.tolist()
    assert found["none"].shape == texts[:0].shape
    assert found["n"].tolist() == [0, 1, 2]
