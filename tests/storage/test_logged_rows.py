"""Rows as numpy columns, as Arrow batches, and back."""

import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from journals import NOW, SCHEMA, Quick, rows, same

from acclimate.storage.log import frames
from acclimate.storage.log.journal import Journal, read
from acclimate.storage.log.logged_rows import JournalSchema, LoggedRows
from acclimate.storage.log.segments import SegmentDamaged, Segments
from acclimate.storage.store import Store

WITH_STATES = replace(SCHEMA, states=True)


def test_a_schema_comes_back_from_its_arrow_form():
    for schema in (
        SCHEMA,
        WITH_STATES,
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
        x = np.array(
            values, dtype={"text": object, "sequence": np.int64}.get(kind, np.float32)
        ).reshape(n, *shape)
        column = st.lists(TEXT, min_size=n, max_size=n)
        parts.append(
            LoggedRows(
                prediction_id=draw(column),
                row=np.arange(n, dtype=np.int32),
                version=draw(column),
                logged_at=np.array(
                    draw(st.lists(st.floats(0, 1e10), min_size=n, max_size=n)), dtype=np.float64
                ),
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
    many = LoggedRows.concatenate(
        [rows("a", 3, subject="s"), rows("b", 5), rows("c", 2, subject="t")]
    )
    batch = SCHEMA.batch(many).slice(2, 5)
    copy = SCHEMA.batch(many.take(np.arange(2, 7)))
    data = (
        frames.header(SCHEMA.arrow, "01J")
        + frames.frame(batch, "01J")
        + frames.frame(copy, "01J")
        + frames.END
    )
    layout = frames.scan(pa.py_buffer(data))
    assert layout.whole
    sliced, copied = (
        SCHEMA.rows([frames.decode(pa.py_buffer(data), span, SCHEMA.arrow)])
        for span in layout.frames
    )
    assert same(sliced, copied)


def test_arrays_that_were_read_may_be_written_to(tmp_path):
    journal = Journal.open(tmp_path, SCHEMA, NOW, disk=Quick())
    journal.append(rows("a"))
    found = read(journal.seal().path)
    assert all(
        array.flags.writeable
        for array in (found.x, found.row, found.logged_at, found.probabilities)
    )


def in_state(prediction_id, state, n=2, *, raw=True):
    """Rows that were answered in the state, which re-weighted them where `raw`."""
    answered = rows(prediction_id, n)
    said = np.random.default_rng(n).random((n, 3), dtype=np.float32) if raw else None
    states = {} if state == "start" else {state: state.encode() * 3}
    return replace(answered, state=[state] * n, raw=said, states=states)


def told(found):
    """The columns of running state, comparable."""
    return found.state, None if found.raw is None else found.raw.tobytes(), dict(found.states)


def test_rows_keep_the_states_behind_their_answers_and_what_the_networks_said(tmp_path):
    group = [
        in_state("a", "s1"),
        rows("b", 3),
        in_state("c", "s2", 1, raw=False),
        in_state("d", "s1"),
        in_state("e", "start"),
    ]
    journal = Journal.open(tmp_path, WITH_STATES, NOW, disk=Quick())
    journal.append(LoggedRows.concatenate(group))
    journal.append(rows("f", 2))
    journal.append(in_state("g", "s2", 1))
    found = read(journal.seal().path)
    assert same(found, LoggedRows.concatenate([*group, rows("f", 2), in_state("g", "s2", 1)]))
    assert found.state == [
        "s1",
        "s1",
        None,
        None,
        None,
        "s2",
        "s1",
        "s1",
        "start",
        "start",
        None,
        None,
        "s2",
    ]
    assert found.states == {"s1": b"s1s1s1", "s2": b"s2s2s2"}
    assert np.isnan(found.raw).all(axis=1).tolist() == [
        state is None or n == 5 for n, state in enumerate(found.state)
    ]
    assert (found.raw[:2] == in_state("a", "s1").raw).all()
    assert told(found.take(np.array([12, 5])))[0] == ["s2", "s2"]


@pytest.mark.parametrize("schema", [SCHEMA, WITH_STATES])
def test_rows_without_running_state_come_back_without_it(tmp_path, schema):
    journal = Journal.open(tmp_path, schema, NOW, disk=Quick())
    journal.append(rows("a", 4))
    assert journal.accepts(in_state("b", "s1")) is schema.states
    found = read(journal.path)
    assert told(found) == (None, None, {})
    assert same(found, rows("a", 4))


def test_a_file_of_before_there_were_states_is_read_beside_newer_ones(tmp_path):
    assert SCHEMA.arrow.names[-1] == "probabilities"
    assert SCHEMA.arrow.metadata[b"format"] == b"acclimate journal 1"
    journal = Journal.open(tmp_path / "old", SCHEMA, NOW, disk=Quick())
    journal.append(rows("a", 2))
    earlier = read(journal.seal().path)
    both = LoggedRows.concatenate([earlier, in_state("b", "s1")])
    assert told(earlier) == (None, None, {})
    assert both.state == [None, None, "s1", "s1"]
    assert both.states == {"s1": b"s1s1s1"}
    assert np.isnan(both.raw[:2]).all()
    assert same(both.take(np.arange(2)), rows("a", 2))


def test_states_that_a_file_has_no_column_for_and_raw_answers_of_another_shape_are_refused():
    with pytest.raises(ValueError, match="keeps none"):
        SCHEMA.batch(in_state("a", "s1"))
    with pytest.raises(ValueError, match="raw has shape"):
        WITH_STATES.batch(replace(in_state("a", "s1"), raw=np.zeros((2, 4), np.float32)))


def test_a_state_is_found_in_the_segment_that_was_answered_in_it(tmp_path):
    store = Store(f"file://{tmp_path}/store", tmp_path / "cache")
    keys = {}
    for name, schema, part in (
        ("old", SCHEMA, rows("a", 2)),
        (
            "new",
            WITH_STATES,
            LoggedRows.concatenate([rows("b"), in_state("c", "s1"), in_state("d", "start")]),
        ),
    ):
        journal = Journal.open(tmp_path / name, schema, NOW, disk=Quick())
        journal.append(part)
        sealed = journal.seal()
        keys[name] = (Segments(store).put(sealed, "gas"), sealed.digest)
    segments = Segments(store)
    assert segments.state(*keys["new"], "s1") == ("1", b"s1s1s1")
    assert segments.state(*keys["new"], "s2") is None
    assert segments.state(*keys["new"], "start") is None
    assert segments.state(*keys["old"], "s1") is None
    with pytest.raises(SegmentDamaged):
        Segments(store).state(keys["new"][0], keys["old"][1], "s1")
