"""Rows as numpy columns, as Arrow batches, and back."""

import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from journals import NOW, SCHEMA, Quick, rows, same

from acclimate.storage import frames
from acclimate.storage.journal import Journal, read
from acclimate.storage.logged_rows import JournalSchema, LoggedRows


def test_a_schema_comes_back_from_its_arrow_form():
    for schema in (
        SCHEMA,
        JournalSchema(kind="image", shape=(3, 8, 8), classes=2, model="m", replica="r"),
        JournalSchema(kind="text", shape=(1,), classes=2, model="m", replica="r"),
        JournalSchema(kind="sequence", shape=(5,), classes=2, model="m", replica="r"),
    ):
        assert JournalSchema.of_arrow(schema.arrow) == schema


@pytest.mark.parametrize("name", ["", "../x", "a b", "crc32:00000000", "x" * 129])
def test_a_name_that_could_not_stand_in_a_header_is_refused(name):
    with pytest.raises(ValueError, match="cannot name"):
        JournalSchema(kind="vector", shape=(2,), classes=2, model=name, replica="r")


TEXT = st.text(st.characters(codec="utf-8"), max_size=12)


@st.composite
def schemas_and_rows(draw):
    kind = draw(st.sampled_from(["vector", "image", "text", "sequence"]))
    shape = {"vector": (3,), "image": (1, 2, 2), "text": (1,), "sequence": (4,)}[kind]
    schema = JournalSchema(kind=kind, shape=shape, classes=2, model="m", replica="r")
    parts = []
    for n in draw(st.lists(st.integers(0, 4), min_size=1, max_size=3)):
        number = {
            "text": TEXT,
            "sequence": st.integers(-(2**63), 2**63 - 1),
        }.get(kind, st.floats(width=32, allow_nan=False))
        size = n * int(np.prod(shape))
        values = draw(st.lists(number, min_size=size, max_size=size))
        x = np.array(values, dtype={"text": object, "sequence": np.int64}.get(kind, np.float32)).reshape(n, *shape)
        column = st.lists(TEXT, min_size=n, max_size=n)
        parts.append(
            LoggedRows(
                prediction_id=draw(column),
                row=np.arange(n, dtype=np.int32),
                version=draw(column),
                logged_at=np.array(draw(st.lists(st.floats(0, 1e10), min_size=n, max_size=n)), dtype=np.float64),
                client=draw(column),
                subject=draw(st.lists(st.none() | TEXT, min_size=n, max_size=n)),
                x=x,
                probabilities=np.full((n, 2), 0.5, np.float32),
            )
        )
    return schema, parts


@settings(deadline=None, max_examples=60)
@given(schemas_and_rows())
def test_any_rows_of_any_kind_come_back_as_they_were(drawn):
    schema, parts = drawn
    with tempfile.TemporaryDirectory() as folder:
        journal = Journal.open(Path(folder), schema, NOW, disk=Quick())
        for part in parts:
            journal.append(part)
        assert same(read(journal.path), LoggedRows.concatenate(parts))
        sealed = journal.seal()
        assert (sealed.rows if sealed else 0) == sum(map(len, parts))


def test_the_check_of_a_slice_is_that_of_a_copy():
    many = LoggedRows.concatenate([rows("a", 3, subject="s"), rows("b", 5), rows("c", 2, subject="t")])
    batch = SCHEMA.batch(many).slice(2, 5)
    copy = SCHEMA.batch(many.take(np.arange(2, 7)))
    data = frames.header(SCHEMA.arrow, "01J") + frames.frame(batch, "01J") + frames.frame(copy, "01J") + frames.END
    layout = frames.scan(pa.py_buffer(data))
    assert layout.whole
    sliced, copied = (SCHEMA.rows([frames.decode(pa.py_buffer(data), span, SCHEMA.arrow)]) for span in layout.frames)
    assert same(sliced, copied)


def test_arrays_that_were_read_may_be_written_to(tmp_path):
    journal = Journal.open(tmp_path, SCHEMA, NOW, disk=Quick())
    journal.append(rows("a"))
    found = read(journal.seal().path)
    assert all(array.flags.writeable for array in (found.x, found.row, found.logged_at, found.probabilities))
