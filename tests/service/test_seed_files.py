"""Seed files of every format give the same rows, and unreadable files are refused."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pyarrow
import pyarrow.csv
import pyarrow.parquet
import pytest

from acclimate.learning.spec import InputSpec
from service.control.uploads.seed_file import read
from service.errors import Refusal

TEXT = InputSpec(kind="text", shape=(1,), classes=("a", "b"))
IMAGE = InputSpec(kind="image", shape=(2, 2), classes=("a", "b"))
SEQUENCE = InputSpec(kind="sequence", shape=(3,), classes=("a", "b"))
STRINGS = ['say "now", again', "two\nlines", "007", "NA", "", "naïve \U0001f3a7"]
Y = [0, 1, 0, 1, 0, 1]


def npz(**arrays: Any) -> bytes:
    out = io.BytesIO()
    np.savez_compressed(out, **{name: np.asarray(values) for name, values in arrays.items()})
    return out.getvalue()


def parquet(**columns: Any) -> bytes:
    out = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.table(columns), out)
    return out.getvalue()


def csv(**columns: Any) -> bytes:
    out = io.BytesIO()
    pyarrow.csv.write_csv(pyarrow.table(columns), out)
    return out.getvalue()


def refusal(name: str, data: bytes, spec: InputSpec) -> tuple[str, str]:
    with pytest.raises(Refusal) as told:
        read(name, data, spec)
    assert told.value.status == 422
    return told.value.problems[0].pointer, told.value.problems[0].detail


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("seed.npz", npz(x=STRINGS, y=Y)),
        ("seed.npz", npz(x=[[text] for text in STRINGS], y=Y)),
        ("SEED.CSV", csv(x=STRINGS, y=Y)),
        ("seed.csv", csv(y=Y, text=STRINGS)),
        ("seed.csv", csv(id=list(range(6)), text=STRINGS, y=Y)),
        ("seed.parquet", parquet(x=STRINGS, y=Y)),
        ("seed.parquet", parquet(text=pyarrow.array(STRINGS, pyarrow.large_string()), y=Y)),
        ("seed.parquet", parquet(text=pyarrow.array(STRINGS).dictionary_encode(), y=Y, when=Y)),
    ],
)
def test_text_is_the_same_in_every_file(name, data):
    x, y = read(name, data, TEXT)
    assert x.dtype == object and x.reshape(-1).tolist() == STRINGS
    assert y.tolist() == Y and y.dtype.kind == "i"


@pytest.mark.parametrize(
    ("name", "data", "pointer", "said"),
    [
        (
            "seed.npz",
            npz(x=["fine", "half \ud83d"], y=[0, 1]),
            "#/seed/x",
            "row 1 is not text in UTF-8",
        ),
        (
            "seed.npz",
            npz(x=["fine", "x" * 65_537], y=[0, 1]),
            "#/seed/x",
            "row 1 has 65537 bytes, at most 65536",
        ),
        (
            "seed.npz",
            npz(x=np.array([["a"], [None]], dtype=object), y=[0, 1]),
            "#/seed",
            "not a readable .npz",
        ),
        ("seed.csv", csv(comment=STRINGS, y=Y), "#/seed", "named x or text; it has comment, y"),
        ("seed.csv", csv(x=STRINGS, text=STRINGS, y=Y), "#/seed", "needs one column of text"),
        ("seed.csv", csv(x=STRINGS), "#/seed", "'y' is missing"),
        ("seed.csv", b"x,y\n\xff,0\n", "#/seed", "UTF8"),
        ("seed.parquet", parquet(x=[1, 2], y=[0, 1]), "#/seed", "'x' holds int64, not strings"),
        ("seed.parquet", parquet(x=[b"a", b"b"], y=[0, 1]), "#/seed", "holds binary, not strings"),
        ("seed.parquet", parquet(x=["a", None], y=[0, 1]), "#/seed/x", "row 1 is not a string"),
    ],
)
def test_what_is_not_text_is_refused_with_its_row(name, data, pointer, said):
    where, detail = refusal(name, data, TEXT)
    assert where == pointer and said in detail


def test_a_number_that_no_character_has_is_refused():
    crafted = np.array([ord("a"), 0x110000], dtype=np.uint32).view("U1")
    assert refusal("seed.npz", npz(x=crafted, y=[0, 1]), TEXT) == (
        "#/seed/x",
        "row 1 is not text in UTF-8",
    )


def test_images_of_a_table_are_folded_row_by_row():
    columns = {"a": [0, 10], "b": [1, 11], "c": [2, 12], "d": [3, 13]}
    for name, data in (
        ("seed.csv", csv(**columns, y=[0, 1])),
        ("seed.parquet", parquet(**columns, y=[0, 1])),
    ):
        x, y = read(name, data, IMAGE)
        assert x.tolist() == [[[0, 1], [2, 3]], [[10, 11], [12, 13]]]
        assert y.tolist() == [0, 1]
    x = np.arange(8, dtype=np.uint8).reshape(2, 2, 2)
    assert read("seed.npz", npz(x=x, y=[0, 1]), IMAGE)[0].tolist() == x.tolist()


def test_ids_of_a_table_stay_whole_and_exact():
    columns = {"a": [2**24 + 1, 5], "b": [2**62 + 1, 0], "c": [0, 0]}
    for name, data in (
        ("seed.csv", csv(**columns, y=[0, 1])),
        ("seed.parquet", parquet(**columns, y=[0, 1])),
    ):
        x, _ = read(name, data, SEQUENCE)
        assert x.dtype.kind == "i" and x.tolist() == [[2**24 + 1, 2**62 + 1, 0], [5, 0, 0]]


def test_too_few_columns_are_counted():
    assert (
        "2 columns besides y, a row has 4 numbers"
        in refusal("seed.csv", csv(a=[1], b=[2], y=[0]), IMAGE)[1]
    )
