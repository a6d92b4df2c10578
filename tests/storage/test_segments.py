"""Segments in the store, and rows that were sent twice."""

import hashlib
import uuid
from dataclasses import replace

import numpy as np
import pytest

from acclimate.storage.log.journal import Journal, recover
from acclimate.storage.log.logged_rows import JournalSchema, LoggedRows, RequestRows
from acclimate.storage.log.segments import SegmentDamaged, Segments, deduplicate, first_copies
from acclimate.storage.store import Store, StoreMissing

SCHEMA = JournalSchema(kind="vector", shape=(2,), classes=3, model="gas", replica="api-0")


@pytest.fixture(params=["file", "memory"])
def store(request, tmp_path):
    url = (
        f"file://{tmp_path}/store"
        if request.param == "file"
        else f"memory://{uuid.uuid4().hex}/store"
    )
    return Store(url, tmp_path / "cache")


def rows(prediction_id, n, start=0.0):
    return LoggedRows.of_request(
        RequestRows(
            prediction_id=prediction_id,
            version="1",
            logged_at=1_800_000_000.0,
            client="key-1",
            x=np.arange(start, start + 2 * n, dtype=np.float32).reshape(n, 2),
            probabilities=np.full((n, 3), 1 / 3, np.float32),
        )
    )


def sealed_file(folder, *batches):
    journal = Journal.open(folder, SCHEMA, 1_800_000_000.0)
    for batch in batches:
        journal.append(batch)
    return journal.seal()


def test_a_segment_holds_the_rows_of_the_sealed_file_which_is_gone(store, tmp_path):
    sealed = sealed_file(tmp_path / "journal", rows("a", 2), rows("b", 1, start=4))
    key = Segments(store).put(sealed, "gas")
    assert key == f"segments/gas/{sealed.id}.arrow"
    found = Segments(store).read(key, sealed.digest)
    assert found.prediction_id == ["a", "a", "b"]
    assert found.x.tolist() == [[0, 1], [2, 3], [4, 5]]
    assert not any((tmp_path / "journal").iterdir())


def test_the_local_file_stays_until_the_segment_is_registered(store, tmp_path):
    sealed = sealed_file(tmp_path / "journal", rows("a", 2))

    def unreachable(key):
        assert store.exists(key)
        raise ConnectionError("no database")

    with pytest.raises(ConnectionError):
        Segments(store).put(sealed, "gas", register=unreachable)
    assert recover(tmp_path / "journal").sealed == [sealed]
    registered = []
    key = Segments(store).put(sealed, "gas", register=registered.append)
    assert registered == [key]
    assert recover(tmp_path / "journal").sealed == []


def test_a_segment_stored_again_has_the_same_key_without_a_local_file(store, tmp_path):
    sealed = sealed_file(tmp_path / "journal", rows("a", 2))
    first = Segments(store).put(sealed, "gas")
    assert Segments(store).put(sealed, "gas") == first
    assert store.list("segments") == [first]


def test_another_file_of_the_same_id_is_refused_and_stays(store, tmp_path):
    sealed = sealed_file(tmp_path / "journal", rows("a", 2))
    key = Segments(store).put(sealed, "gas")
    other = sealed_file(tmp_path / "journal", rows("b", 2))
    with pytest.raises(SegmentDamaged, match=key):
        Segments(store).put(replace(other, id=sealed.id), "gas")
    assert other.path.exists()
    assert Segments(store).read(key, sealed.digest).prediction_id == ["a", "a"]


@pytest.mark.parametrize("with_digest", [True, False])
def test_a_segment_with_a_flipped_bit_is_refused(store, tmp_path, with_digest):
    sealed = sealed_file(tmp_path / "journal", rows("a", 2))
    data = bytearray(sealed.path.read_bytes())
    data[-30] ^= 4
    key = Segments(store).put(sealed, "gas")
    store.put_bytes(bytes(data), key)
    with pytest.raises(SegmentDamaged, match=key):
        Segments(store).read(key, sealed.digest if with_digest else None)


@pytest.mark.parametrize("content", [b"", b"nothing of ours", b"\xff" * 100])
def test_what_is_no_segment_is_refused_by_every_reader(store, content):
    store.put_bytes(content, "segments/gas/x.arrow")
    with pytest.raises(SegmentDamaged, match=r"segments/gas/x\.arrow"):
        Segments(store).read("segments/gas/x.arrow")
    with pytest.raises(SegmentDamaged, match=r"segments/gas/x\.arrow"):
        Segments(store).ids("segments/gas/x.arrow")


def test_a_digest_that_is_not_the_segments_is_refused(store, tmp_path):
    key = Segments(store).put(sealed_file(tmp_path / "journal", rows("a", 2)), "gas")
    with pytest.raises(SegmentDamaged, match="not sha256:0"):
        Segments(store).read(key, "sha256:" + "0" * 64)


def test_ids_are_those_of_the_rows_in_the_same_order(store, tmp_path):
    key = Segments(store).put(sealed_file(tmp_path / "journal", rows("b", 2), rows("a", 1)), "gas")
    prediction_id, row = Segments(store).ids(key)
    found = Segments(store).read(key)
    assert prediction_id == found.prediction_id == ["b", "b", "a"]
    assert row.tolist() == found.row.tolist() == [0, 1, 0]


def test_a_segment_that_was_deleted_is_missing(store, tmp_path):
    key = Segments(store).put(sealed_file(tmp_path / "journal", rows("a", 2)), "gas")
    Segments(store).read(key)
    Segments(store).delete(key)
    with pytest.raises(StoreMissing):
        Segments(store).read(key)


def test_a_recovered_file_and_one_sealed_in_good_order_become_the_same_segment(store, tmp_path):
    journal = Journal.open(tmp_path / "journal", SCHEMA, 1_800_000_000.0)
    journal.append(rows("a", 2))
    journal.close()
    (recovered,) = recover(tmp_path / "journal").sealed
    assert recovered.digest == "sha256:" + hashlib.sha256(recovered.path.read_bytes()).hexdigest()
    (again,) = recover(tmp_path / "journal").sealed
    assert again == recovered
    assert Segments(store).put(recovered, "gas") == Segments(store).put(again, "gas")


def test_only_the_first_copy_of_each_row_counts():
    twice = LoggedRows.concatenate([rows("a", 2), rows("b", 1, start=50), rows("a", 3, start=100)])
    found = deduplicate(twice)
    assert list(zip(found.prediction_id, found.row.tolist(), strict=True)) == [
        ("a", 0),
        ("a", 1),
        ("b", 0),
        ("a", 2),
    ]
    assert found.x[:, 0].tolist() == [0, 2, 50, 104]


def test_rows_without_copies_are_left_as_they_are():
    once = rows("a", 3)
    assert deduplicate(once) is once
    assert first_copies([], np.empty(0, np.int32)).tolist() == []


def test_single_rows_are_taken_in_the_order_asked_for(store, tmp_path):
    sealed = sealed_file(tmp_path / "journal", rows("a", 3), rows("b", 2, start=6))
    segments = Segments(store)
    key = segments.put(sealed, "gas")
    whole = segments.read(key)
    for places in (range(1, 4), range(2, 2), np.array([4, 0, 3])):
        found = segments.take(key, sealed.digest, places)
        assert found.prediction_id == [whole.prediction_id[place] for place in places]
        assert found.x.tolist() == [whole.x[place].tolist() for place in places]
        assert found.row.tolist() == [whole.row[place] for place in places]


def test_rows_are_not_taken_from_a_file_that_its_digest_does_not_name(store, tmp_path):
    sealed = sealed_file(tmp_path / "journal", rows("a", 3))
    segments = Segments(store)
    key = segments.put(sealed, "gas")
    with pytest.raises(SegmentDamaged):
        segments.take(key, "sha256:" + "0" * 64, range(0, 1))
    assert len(segments.take(key, sealed.digest, range(0, 1))) == 1


def test_logged_rows_of_some_predictions_are_found(store, tmp_path):
    sealed = sealed_file(tmp_path / "journal", rows("a", 2), rows("b", 1), rows("a", 3))
    segments = Segments(store)
    key = segments.put(sealed, "gas")
    assert segments.find(key, {"a", "nobody"}) == {("a", 0), ("a", 1), ("a", 2)}
    assert segments.find(key, set()) == set()
    segments.delete(key)
    with pytest.raises(StoreMissing):
        segments.find(key, {"a"})


def test_all_segments_of_one_model_are_deleted(store, tmp_path):
    segments = Segments(store)
    keys = [
        segments.put(sealed_file(tmp_path / "journal", rows("a", 1)), model)
        for model in ("gas", "gas", "gas2")
    ]
    for _ in range(2):
        segments.delete_all("gas")
        assert [store.exists(key) for key in keys] == [False, False, True]


def test_a_discarded_file_is_neither_here_nor_in_the_store(store, tmp_path):
    sealed = sealed_file(tmp_path / "journal", rows("a", 1))

    def refuse(key):
        raise ConnectionError

    with pytest.raises(ConnectionError):
        Segments(store).put(sealed, "gas", register=refuse)
    for _ in range(2):
        Segments(store).discard(sealed, "gas")
        assert store.list() == [] and not sealed.path.exists()


def test_the_places_of_rows_are_those_of_their_first_copies_and_of_no_others(store, tmp_path):
    sealed = sealed_file(
        tmp_path / "journal", rows("a", 2), rows("b", 2, start=4), rows("a", 1, start=9)
    )
    segments = Segments(store)
    key = segments.put(sealed, "gas")
    assert segments.positions(key, {("a", 0), ("b", 1), ("b", 7), ("z", 0)}) == {
        ("a", 0): 0,
        ("b", 1): 3,
    }
    assert segments.positions(key, set()) == {}
