"""Rows and labels from files of every format."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

from acclimate.cli.files import read_labels, read_rows, shaped
from acclimate.client.errors import FileError

ROWS = [[1.0, 2.5], [3.0, -4.0]]


def write(folder: Path, kind: str) -> Path:
    path = folder / f"rows.{kind.split()[0]}"
    if kind == "npy":
        np.save(path, np.array(ROWS))
    elif kind == "npz":
        np.savez(path, x=np.array(ROWS), y=np.array([0, 1]))
    elif kind == "parquet":
        pyarrow.parquet.write_table(pyarrow.table({"x": ROWS, "y": [0, 1]}), path)
    elif kind == "parquet columns":
        pyarrow.parquet.write_table(
            pyarrow.table({"a": [1.0, 3.0], "b": [2.5, -4.0], "label": ["p", "q"]}), path
        )
    elif kind == "csv":
        path.write_text("1,2.5\n3,-4\n")
    elif kind == "csv header":
        path.write_text("y,a,b\n0,1,2.5\n1,3,-4\n")
    elif kind == "jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    elif kind == "jsonl objects":
        path.write_text("".join(json.dumps({"x": row, "y": 1}) + "\n\n" for row in ROWS))
    return path


@pytest.mark.parametrize(
    "kind",
    ["npy", "npz", "parquet", "parquet columns", "csv", "csv header", "jsonl", "jsonl objects"],
)
def test_every_kind_of_file_gives_the_same_rows(tmp_path, kind):
    assert read_rows(write(tmp_path, kind)) == ROWS


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("rows.txt", b"1", "unknown file type; known: .csv"),
        ("rows.npy", b"no array", "not a numpy file"),
        ("rows.parquet", b"no table", "not parquet"),
        ("rows.jsonl", b"[1, 2]\n{", "line 2 is not JSON"),
        ("rows.jsonl", b'{"row": [1]}', "line 1 is neither an array nor an object with an array x"),
    ],
)
def test_a_wrong_file_is_named_with_what_is_wrong(tmp_path, name, content, words):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(FileError, match=words) as caught:
        read_rows(path)
    assert str(path) in str(caught.value)


def test_an_array_of_objects_is_never_unpickled(tmp_path):
    np.save(tmp_path / "rows.npy", np.array([[{}]], dtype=object))
    with pytest.raises(FileError, match="with Python objects"):
        read_rows(tmp_path / "rows.npy")


def test_a_flat_row_is_folded_to_the_shape_of_the_model():
    assert shaped([1, 2, 3, 4], (2, 2)) == ([[1.0, 2.0], [3.0, 4.0]], None)


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ([1.0], "has 1 numbers, the model takes 2"),
        ([1.0, "x"], "not all entries are numbers"),
        ([1.0, [2.0]], "not all entries are numbers"),
        ([1.0, float("inf")], "holds NaN or infinity"),
        ([1.0, None], "holds NaN or infinity"),
    ],
)
def test_a_bad_row_is_told_from_a_good_one_with_a_reason(row, problem):
    assert shaped(row, (2,)) == (None, problem)


def test_labels_of_a_csv_are_names_indices_or_none_of_the_classes(tmp_path):
    (tmp_path / "labels.csv").write_text(
        "prediction_id,row,label,source\np1,0,ethanol,lab\np1,1,3,\np1,2,,\n"
    )
    assert read_labels(tmp_path / "labels.csv") == [
        {"prediction_id": "p1", "row": 0, "label": "ethanol", "source": "lab"},
        {"prediction_id": "p1", "row": 1, "label": 3, "source": "file"},
        {"prediction_id": "p1", "row": 2, "label": None, "source": "file"},
    ]


def test_a_name_of_digits_in_a_jsonl_stays_a_name(tmp_path):
    (tmp_path / "labels.jsonl").write_text('{"prediction_id": "p1", "row": 0, "label": "3"}')
    assert read_labels(tmp_path / "labels.jsonl")[0]["label"] == "3"


def test_entries_may_say_whether_the_answer_was_right_and_when_that_was_known(tmp_path):
    (tmp_path / "labels.csv").write_text(
        "prediction_id,row,label,right,label_time\n"
        "p,0,,True,2026-01-01T00:00:00Z\np,1,,false,\np,2,3,,\n"
    )
    assert read_labels(tmp_path / "labels.csv") == [
        {
            "prediction_id": "p",
            "row": 0,
            "right": True,
            "source": "file",
            "label_time": "2026-01-01T00:00:00Z",
        },
        {"prediction_id": "p", "row": 1, "right": False, "source": "file"},
        {"prediction_id": "p", "row": 2, "label": 3, "source": "file"},
    ]


@pytest.mark.parametrize(
    ("cells", "problem"),
    [("3,true", "has label and right"), (",", "neither label nor right"), (",maybe", "not true")],
)
def test_an_entry_says_one_thing_where_a_file_has_label_and_right(tmp_path, cells, problem):
    (tmp_path / "labels.csv").write_text(f"prediction_id,row,label,right\np,0,{cells}\n")
    with pytest.raises(FileError, match=problem):
        read_labels(tmp_path / "labels.csv")


def test_labels_without_the_row_they_are_for_are_refused(tmp_path):
    (tmp_path / "labels.csv").write_text("prediction_id,label\np1,ethanol\n")
    with pytest.raises(FileError, match="entry 0 lacks prediction_id, row, or label or right"):
        read_labels(tmp_path / "labels.csv")
