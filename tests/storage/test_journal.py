"""A journal while it is written: durability, and errors of the disk."""

import errno
import hashlib
import os

import numpy as np
import pyarrow as pa
import pytest
from journals import (
    NOW,
    SCHEMA,
    THREE,
    Forgetful,
    LosesSyncs,
    Narrow,
    Quick,
    files,
    ids,
    rows,
    same,
)

from acclimate.storage.log.journal import Journal, JournalFailed, JournalFull, read, recover
from acclimate.storage.log.logged_rows import LoggedRows


def test_a_sealed_file_holds_every_row_as_it_was_appended(tmp_path):
    journal = Journal.open(tmp_path, SCHEMA, NOW)
    for batch in THREE:
        journal.append(batch)
    journal.sync()
    sealed = journal.seal()
    assert same(read(sealed.path), LoggedRows.concatenate(THREE))
    assert (sealed.rows, sealed.bytes) == (6, sealed.path.stat().st_size)
    assert sealed.digest == "sha256:" + hashlib.sha256(sealed.path.read_bytes()).hexdigest()
    assert [path.name for path in tmp_path.iterdir()] == [f"{sealed.id}.arrow"]


def test_a_sealed_file_says_when_its_first_and_last_rows_were_logged(tmp_path):
    journal = Journal.open(tmp_path, SCHEMA, NOW)
    for batch in (rows("a", at=NOW + 5), rows("b", at=NOW + 2), rows("c", at=NOW + 9)):
        journal.append(batch)
    sealed = journal.seal()
    assert (sealed.first_logged_at, sealed.last_logged_at) == (NOW + 2, NOW + 9)


def test_a_sealed_file_is_an_ordinary_arrow_stream(tmp_path):
    journal = Journal.open(tmp_path, SCHEMA, NOW)
    journal.append(rows("a", 2))
    with pa.ipc.open_stream(journal.seal().path.read_bytes()) as reader:
        batch, metadata = reader.read_next_batch_with_custom_metadata()
    assert batch.column("prediction_id").to_pylist() == ["a", "a"]
    assert metadata[b"check"].startswith(b"crc32:")
    assert reader.schema.metadata[b"model"] == b"gas"


def test_sealing_an_empty_journal_leaves_no_file(tmp_path):
    journal = Journal.open(tmp_path, SCHEMA, NOW)
    journal.append(rows("a", 0))
    assert journal.seal() is None
    assert files(tmp_path) == {}


def test_sealing_again_gives_the_same_answer(tmp_path):
    journal = Journal.open(tmp_path, SCHEMA, NOW)
    journal.append(rows("a"))
    assert journal.seal() == journal.seal()


def test_an_open_file_can_be_read_while_it_is_written(tmp_path):
    journal = Journal.open(tmp_path, SCHEMA, NOW)
    journal.append(rows("a"))
    assert ids(journal.path) == ["a"]
    journal.append(rows("b"))
    assert ids(journal.path) == ["a", "b"]
    journal.close()


def test_a_sealed_journal_takes_no_more_rows(tmp_path):
    journal = Journal.open(tmp_path, SCHEMA, NOW)
    journal.append(rows("a"))
    journal.seal()
    with pytest.raises(JournalFailed, match="takes no more rows"):
        journal.append(rows("b"))


@pytest.mark.parametrize(
    ("change", "column"),
    [
        ({"x": np.zeros((1, 3), np.float32)}, "x"),
        ({"probabilities": np.zeros((1, 2), np.float32)}, "probabilities"),
        ({"client": [None]}, "client"),
        ({"client": []}, "client"),
        ({"prediction_id": ["\ud800"]}, "prediction_id"),
    ],
)
def test_rows_that_do_not_fit_are_refused_by_column_and_not_written(tmp_path, change, column):
    journal = Journal.open(tmp_path, SCHEMA, NOW)
    with pytest.raises(ValueError, match=column):
        journal.append(LoggedRows(**{**rows("a").__dict__, **change}))
    journal.append(rows("b"))
    assert ids(journal.seal().path) == ["b"]


@pytest.mark.parametrize(
    ("error", "raised"),
    [(errno.ENOSPC, JournalFull), (errno.EFBIG, JournalFull), (errno.EIO, JournalFailed)],
)
def test_a_batch_that_does_not_fit_is_cut_back_and_later_ones_are_logged(tmp_path, error, raised):
    disk = Narrow(10**9, error)
    journal = Journal.open(tmp_path, SCHEMA, NOW, disk=disk)
    journal.append(rows("a"))
    disk.room = journal.bytes + 100
    with pytest.raises(raised) as failure:
        journal.append(rows("b", 5))
    assert failure.value.__cause__.errno == error
    assert isinstance(failure.value, JournalFull) == (raised is JournalFull)
    assert journal.path.stat().st_size == journal.bytes
    disk.room = 10**9
    journal.append(rows("c"))
    sealed = journal.seal()
    assert ids(sealed.path) == ["a", "c"]
    assert sealed.digest == "sha256:" + hashlib.sha256(sealed.path.read_bytes()).hexdigest()


def test_a_journal_that_cannot_be_truncated_is_sealed_without_the_torn_batch(tmp_path):
    class Stuck(Narrow):
        def truncate(self, file, size):
            raise OSError(errno.EIO, "stuck")

    disk = Stuck(10**9)
    journal = Journal.open(tmp_path, SCHEMA, NOW, disk=disk)
    journal.append(rows("a"))
    disk.room = journal.bytes + 100
    with pytest.raises(JournalFull):
        journal.append(rows("b", 5))
    disk.room = 10**9
    with pytest.raises(JournalFailed, match="takes no more rows"):
        journal.append(rows("c"))
    assert ids(journal.seal().path) == ["a"]


def test_a_journal_with_no_room_for_its_end_mark_is_sealed_once_there_is_room(tmp_path):
    disk = Narrow(10**9)
    journal = Journal.open(tmp_path, SCHEMA, NOW, disk=disk)
    journal.append(rows("a"))
    disk.room = journal.bytes + 3
    with pytest.raises(JournalFull):
        journal.seal()
    disk.room = 10**9
    assert ids(journal.seal().path) == ["a"]


def test_no_journal_opens_on_a_full_disk_and_nothing_is_left_of_it(tmp_path):
    with pytest.raises(JournalFull):
        Journal.open(tmp_path, SCHEMA, NOW, disk=Narrow(100))
    assert files(tmp_path) == {}


def test_after_a_failed_sync_nothing_more_is_appended_and_no_later_sync_is_believed(tmp_path):
    disk = LosesSyncs()
    journal = Journal.open(tmp_path, SCHEMA, NOW, disk=disk)
    journal.append(rows("a"))
    disk.failing = True
    with pytest.raises(JournalFailed):
        journal.sync()
    with pytest.raises(JournalFailed):
        journal.sync()
    with pytest.raises(JournalFailed):
        journal.append(rows("b"))


def test_a_journal_whose_sync_failed_is_sealed_as_a_fresh_copy(tmp_path):
    disk = LosesSyncs()
    journal = Journal.open(tmp_path, SCHEMA, NOW, disk=disk)
    journal.append(rows("a"))
    old = journal.path.stat().st_ino
    disk.failing = True
    with pytest.raises(JournalFailed):
        journal.sync()
    sealed = journal.seal()
    assert ids(sealed.path) == ["a"]
    assert sealed.path.stat().st_ino != old
    assert recover(tmp_path, disk=Quick()).sealed == [sealed]


def test_what_was_synced_survives_a_power_cut_at_any_time_afterwards(tmp_path):
    def survivors(name):
        folder = disk.after_power_cut(tmp_path / name)
        return [id for sealed in recover(folder, disk=Quick()).sealed for id in ids(sealed.path)]

    disk = Forgetful()
    journal = Journal.open(tmp_path / "journal", SCHEMA, NOW, disk=disk)
    assert survivors("opened") == []
    journal.append(rows("a"))
    assert survivors("appended") == []
    journal.sync()
    assert survivors("synced") == ["a"]
    journal.append(rows("b"))
    assert survivors("appended again") == ["a"]
    journal.seal()
    assert survivors("sealed") == ["a", "b"]


def test_the_file_is_synced_before_sync_returns(tmp_path):
    synced = []

    class Noting(Quick):
        def sync(self, file):
            synced.append(os.fstat(file).st_size)

    journal = Journal.open(tmp_path, SCHEMA, NOW, disk=Noting())
    journal.append(rows("a"))
    journal.sync()
    assert synced[-1] == journal.bytes
    journal.close()
