"""Text, images and sequences from files, and as requests."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

from acclimate.cli import playing, portions
from acclimate.cli.files import read_rows, shaped
from acclimate.client.errors import FileError
from acclimate.client.http import Client

MODEL = "/api/v1/models/toy"
STRINGS = ['say "now", again', "two\nlines", "007", "", "naïve \U0001f3a7"]


def write_texts(folder: Path, kind: str) -> Path:
    path = folder / f"rows.{kind.split()[0]}"
    if kind == "npy":
        np.save(path, np.array(STRINGS))
    elif kind == "npz":
        np.savez(path, x=np.array(STRINGS)[:, None])
    elif kind == "parquet":
        pyarrow.parquet.write_table(pyarrow.table({"id": [1, 2, 3, 4, 5], "text": STRINGS}), path)
    elif kind == "csv":
        with path.open("w", newline="", encoding="utf-8") as lines:
            csv.writer(lines).writerows([("y", "x"), *((0, text) for text in STRINGS)])
    elif kind == "csv column":
        with path.open("w", newline="", encoding="utf-8") as lines:
            csv.writer(lines, quoting=csv.QUOTE_ALL).writerows(
                [(text,) for text in ["text", *STRINGS]]
            )
    elif kind == "csv bare":
        with path.open("w", newline="", encoding="utf-8") as lines:
            csv.writer(lines, quoting=csv.QUOTE_ALL).writerows([(text,) for text in STRINGS])
    elif kind == "jsonl":
        path.write_text("".join(json.dumps(text) + "\n" for text in STRINGS))
    elif kind == "jsonl objects":
        path.write_text("".join(json.dumps({"text": text, "y": 0}) + "\n" for text in STRINGS))
    return path


@pytest.mark.parametrize(
    "kind", ["npy", "npz", "parquet", "csv", "csv column", "csv bare", "jsonl", "jsonl objects"]
)
def test_every_kind_of_file_gives_the_same_strings(tmp_path, kind):
    found = [shaped(row, (1,), "text") for row in read_rows(write_texts(tmp_path, kind), "text")]
    assert found == [(text, None) for text in STRINGS]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("rows.csv", "a,b\n1,2\n", "needs one column named x or text; it has a, b"),
        ("rows.csv", "x,text\n1,2\n", "one column named x or text"),
        ("rows.jsonl", '"fine"\n5\n', "line 2 is neither a string nor an object"),
        ("rows.jsonl", '{"comment": "x"}\n', "line 1 is neither a string nor an object"),
    ],
)
def test_a_file_without_text_is_named(tmp_path, name, content, words):
    (tmp_path / name).write_text(content)
    with pytest.raises(FileError, match=words):
        read_rows(tmp_path / name, "text")


def test_numbers_are_no_text(tmp_path):
    np.save(tmp_path / "rows.npy", np.zeros(3))
    with pytest.raises(FileError, match="needs a unicode array; this is float64"):
        read_rows(tmp_path / "rows.npy", "text")
    assert shaped(5, (1,), "text") == (None, "not a string")
    assert shaped("half \ud83d", (1,), "text") == (None, "not text in UTF-8")


def test_images_keep_their_rows_and_flat_ones_are_folded(tmp_path):
    images = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    np.save(tmp_path / "rows.npy", images)
    np.savez(tmp_path / "rows.npz", x=images)
    np.savetxt(tmp_path / "rows.csv", images.reshape(2, 6), delimiter=",", fmt="%d")
    for name in ("rows.npy", "rows.npz", "rows.csv"):
        found = [shaped(row, (2, 3), "image") for row in read_rows(tmp_path / name, "image")]
        assert found == [(image.tolist(), None) for image in images]


def test_ids_of_a_sequence_stay_exact_and_short_ones_short(tmp_path):
    (tmp_path / "rows.csv").write_text(f"{2**62 + 1},2,3\n4,,\n,,\n")
    np.save(tmp_path / "rows.npy", np.array([[2**62 + 1, 2, 3]]))
    (tmp_path / "rows.jsonl").write_text(f"[{2**62 + 1}, 2, 3]\n[4]\n[]\n")
    for name, count in (("rows.csv", 3), ("rows.npy", 1), ("rows.jsonl", 3)):
        found = [shaped(row, (3,), "sequence") for row in read_rows(tmp_path / name, "sequence")]
        assert found == [([2**62 + 1, 2, 3], None), ([4], None), ([], None)][:count]


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ([1, 2, 3, 4], "has 4 ids, the model takes at most 3"),
        ([1, 2.5], "not all ids are whole numbers"),
        ([1, "x"], "not all ids are whole numbers"),
        ([True], "not all ids are whole numbers"),
        (5, "not a list of ids"),
    ],
)
def test_a_bad_sequence_is_told_with_a_reason(row, problem):
    assert shaped(row, (3,), "sequence") == (None, problem)


@pytest.mark.parametrize(
    "rows",
    [
        ["\x00" * 65_536] * 300,
        np.array(["x" * 9_000] * 300),
        [[[0.1] * 200] * 200] * 20,
        np.full((20, 3, 100, 100), -2.2250738585072014e-308),
        [["\x00" * 9_000]] * 300,
        np.array([["ab"]] * 600),
        [list(range(5))] * 513,
        [],
    ],
)
def test_rows_are_cut_into_requests_that_a_service_takes(rows):
    places = list(portions.cut(rows))
    assert [place for part in places for place in range(len(rows))[part]] == list(range(len(rows)))
    plain = rows if isinstance(rows, list) else rows.tolist()
    for part in places:
        assert 0 < len(plain[part]) <= 256
        assert (
            len(
                json.dumps(
                    {"rows": plain[part]}, separators=(",", ":"), ensure_ascii=False
                ).encode()
            )
            < 8 * 2**20
        )


def test_small_rows_go_256_at_once_and_a_giant_alone():
    assert [part.stop - part.start for part in portions.cut(["a"] * 600)] == [256, 256, 88]
    giant = "x" * 2 * 2**20
    assert [part.stop - part.start for part in portions.cut(["a", giant, giant, "b"])] == [
        1,
        1,
        1,
        1,
    ]


@pytest.mark.parametrize(
    ("rows", "tensor"),
    [
        (np.array(["a", "b"]), {"datatype": "BYTES", "shape": [2, 1], "data": ["a", "b"]}),
        ([["a"], ["b"]], {"datatype": "BYTES", "shape": [2, 1], "data": ["a", "b"]}),
        (
            np.array([[2**62 + 1, 0]]),
            {"datatype": "INT64", "shape": [1, 2], "data": [2**62 + 1, 0]},
        ),
        (
            np.zeros((1, 2, 2), dtype=np.uint8),
            {"datatype": "INT64", "shape": [1, 2, 2], "data": [0] * 4},
        ),
        ([[1, 0.5]], {"datatype": "FP32", "shape": [1, 2], "data": [1, 0.5]}),
    ],
)
def test_the_datatype_of_a_tensor_follows_from_its_rows(service, answer, rows, tensor):
    service.on("POST /v2/models/toy/infer", answer(200, {"outputs": []}))
    with Client(service.url) as client:
        client.infer("toy", rows)
    assert service.requests[0].json["inputs"] == [{"name": "input", **tensor}]


@pytest.mark.parametrize(
    ("x", "sent"),
    [
        (np.array(["a", "bc"]), ["a", "bc"]),
        (np.array([[2**62 + 1, 0], [3, 4]]), [[2**62 + 1, 0], [3, 4]]),
        (np.full((2, 2, 2), 255, dtype=np.uint8), [[[255, 255], [255, 255]]] * 2),
        (np.array([[0.5], [1.5]]), [[0.5], [1.5]]),
    ],
)
def test_a_stream_of_any_kind_is_played_as_it_is(service, answer, problem, tmp_path, x, sent):
    np.savez(tmp_path / "s.npz", x=x, y=np.array([0, 1]), t=np.array([1, 1]))
    service.on(f"GET {MODEL}", answer(200, {"champion": "1"}))
    said = [{"class": 0, "confidence": 0.5}] * 2
    service.on(
        f"POST {MODEL}/predict", answer(200, {"id": "p", "version": "1", "predictions": said})
    )
    outputs = {"outputs": [{"name": "class", "data": [0, 1]}]}
    service.on("POST /v2/models/toy/versions/1/infer", answer(200, outputs))
    service.on(f"POST {MODEL}/runs", problem(409, "not-enough-rows", "too few", rows=2, needed=150))
    with Client(service.url) as client:
        (window,) = playing.play(
            client, "toy", playing.read(tmp_path / "s.npz"), say=lambda *_: None
        )
    assert service.asked(f"POST {MODEL}/predict")[0].json == {"rows": sent}
    assert (window.served_accuracy, window.frozen_accuracy) == (0.5, 1.0)


@pytest.mark.parametrize(
    ("x", "words"),
    [
        (np.array(["fine", "half \ud83d"]), "row 1 of x is not text in UTF-8"),
        (np.array([b"a", b"b"]), "x is .*S1; a stream has numbers, or text as a unicode array"),
    ],
)
def test_a_stream_of_something_else_is_refused(tmp_path, x, words):
    np.savez(tmp_path / "s.npz", x=x, y=np.array([0, 1]), t=np.array([1, 1]))
    with pytest.raises(FileError, match=words):
        playing.read(tmp_path / "s.npz")


def test_predict_sends_the_texts_of_a_file_and_no_others(acclimate, service, answer, tmp_path):
    service.on(f"GET {MODEL}", answer(200, {"kind": "text", "shape": [1]}))

    def predict(request: Any) -> Any:
        said = {"label": "spam", "class": 1, "confidence": 0.9, "abstain": False}
        return answer(
            200, {"id": "p", "version": "1", "predictions": [said] * len(request.json["rows"])}
        )

    service.on(f"POST {MODEL}/predict", predict)
    (tmp_path / "rows.jsonl").write_text(
        '"win \\u0001 now"\n["a", "b"]\n"\\ud83d"\n{"x": "hello"}\n'
    )
    rejects = tmp_path / "rejects.jsonl"
    ended = acclimate(
        "predict",
        "toy",
        tmp_path / "rows.jsonl",
        "--rejects",
        rejects,
        "--json",
        "--url",
        service.url,
    )
    assert ended.code == 1
    assert service.asked(f"POST {MODEL}/predict")[0].json["rows"] == ["win \x01 now", "hello"]
    refused = {
        entry["row"]: entry["reason"] for entry in map(json.loads, rejects.read_text().splitlines())
    }
    assert refused == {1: "not a string", 2: "not text in UTF-8"}
