"""Recovery of journals whose writer died or whose bytes were damaged."""

import signal
import subprocess
import sys

import pytest
from journals import (
    NOW,
    SCHEMA,
    THREE,
    Dying,
    Forgetful,
    Killed,
    Quick,
    files,
    ids,
    left_behind,
    rows,
    same,
)

from acclimate.storage.log import frames
from acclimate.storage.log.journal import Journal, JournalDamaged, read, recover
from acclimate.storage.log.logged_rows import LoggedRows


def test_the_journal_cut_at_every_byte_keeps_every_whole_batch_before_the_cut(tmp_path):
    path, ends = left_behind(tmp_path / "whole", *THREE)
    whole = path.read_bytes()
    for cut in range(len(whole) + 1):
        folder = tmp_path / str(cut)
        folder.mkdir()
        (folder / path.name).write_bytes(whole[:cut])
        found = recover(folder, disk=Quick())
        kept = sum(end <= cut for end in ends[1:])
        if cut < ends[0]:
            assert (found.sealed, [bad.read_bytes() for bad in found.quarantined]) == (
                [],
                [whole[:cut]],
            ), cut
        elif kept == 0:
            assert (found.sealed, found.quarantined, files(folder)) == ([], [], {}), cut
        else:
            assert same(read(found.sealed[0].path), LoggedRows.concatenate(THREE[:kept])), cut
            assert found.quarantined == [], cut
        torn = cut - max(end for end in [0, *ends] if end <= cut)
        assert sum(found.torn_bytes.values()) == (torn if cut >= ends[0] else 0), cut


def test_a_flip_of_any_byte_costs_only_the_batch_it_is_in(tmp_path):
    path, ends = left_behind(tmp_path / "whole", *THREE)
    whole = path.read_bytes()
    for place in range(len(whole)):
        folder = tmp_path / str(place)
        folder.mkdir()
        damaged = bytearray(whole)
        damaged[place] ^= 1 << (place % 8)
        (folder / path.name).write_bytes(damaged)
        found = recover(folder, disk=Quick())
        if place < ends[0]:
            assert (found.sealed, len(found.quarantined)) == ([], 1), place
            continue
        hit = sum(end <= place for end in ends) - 1
        expected = [batch for number, batch in enumerate(THREE) if number != hit]
        assert same(read(found.sealed[0].path), LoggedRows.concatenate(expected)), place
        aside = [bad.read_bytes() for bad in found.quarantined]
        assert aside == ([] if hit == 2 else [bytes(damaged[ends[hit] : ends[hit + 1]])]), place


def test_damage_in_a_sealed_file_is_set_aside_and_reported_wherever_it_is(tmp_path):
    journal = Journal.open(tmp_path, SCHEMA, NOW, disk=Quick())
    for batch in THREE:
        journal.append(batch)
    sealed = journal.seal()
    data = bytearray(sealed.path.read_bytes())
    data[-20] ^= 1
    sealed.path.write_bytes(data)
    with pytest.raises(JournalDamaged, match=rf"{sealed.id}.arrow: batch 2"):
        read(sealed.path)
    found = recover(tmp_path, disk=Quick())
    assert ids(found.sealed[0].path) == ["a", "a", "b"]
    assert len(found.quarantined) == 1
    assert found.sealed[0].digest != sealed.digest


def test_a_sealed_file_that_ends_early_is_reported_even_when_no_batch_is_torn(tmp_path):
    path, ends = left_behind(tmp_path, *THREE)
    cut = path.with_name(path.name.replace(".open", ""))
    cut.write_bytes(path.read_bytes()[: ends[2]])
    path.unlink()
    with pytest.raises(JournalDamaged):
        read(cut)
    found = recover(tmp_path, disk=Quick())
    assert ids(cut) == ["a", "a", "b"]
    assert [bad.name for bad in found.quarantined] == [f"{cut.stem}.{ends[2]}.bad"]


def test_the_reader_names_the_file_and_the_damaged_batch(tmp_path):
    _, ends = left_behind(tmp_path, *THREE)
    sealed = recover(tmp_path, disk=Quick()).sealed[0].path
    data = bytearray(sealed.read_bytes())
    data[ends[1] + 40] ^= 1
    sealed.write_bytes(data)
    with pytest.raises(JournalDamaged, match=rf"{sealed.name}: batch 1, at byte {ends[1]},"):
        read(sealed)


def test_a_batch_of_another_journal_is_not_taken_for_one_of_this(tmp_path):
    foreign = frames.frame(SCHEMA.batch(rows("foreign")), "01J00000000000000000000000")
    path, _ = left_behind(tmp_path, *THREE)
    path.write_bytes(path.read_bytes() + foreign)
    found = recover(tmp_path, disk=Quick())
    assert ids(found.sealed[0].path) == ["a", "a", "b", "c", "c", "c"]
    assert found.torn_bytes == {found.sealed[0].id: len(foreign)}


def test_recovering_twice_gives_the_same_files_and_digests(tmp_path):
    path, ends = left_behind(tmp_path, *THREE)
    data = bytearray(path.read_bytes())
    data[ends[1] + 40] ^= 1
    path.write_bytes(bytes(data) + b"torn")
    first = recover(tmp_path, disk=Quick())
    before = files(tmp_path)
    second = recover(tmp_path, disk=Quick())
    assert files(tmp_path) == before
    assert (second.sealed, second.quarantined) == (first.sealed, first.quarantined)
    assert len(first.sealed) == len(first.quarantined) == 1


def test_a_crash_at_any_step_of_recovery_changes_nothing_of_its_outcome(tmp_path):
    def damaged(folder):
        path.parent.mkdir(exist_ok=True)
        folder.mkdir()
        (folder / path.name).write_bytes(bytes(data) + b"torn")
        return folder

    path, ends = left_behind(tmp_path / "whole", *THREE)
    data = bytearray(path.read_bytes())
    data[ends[1] + 40] ^= 1
    expected = damaged(tmp_path / "expected")
    assert ids(recover(expected, disk=Quick()).sealed[0].path) == ["a", "a", "c", "c", "c"]
    crashes = 0
    for n in range(100):
        folder = damaged(tmp_path / str(n))
        try:
            recover(folder, disk=Dying(n))
            break
        except Killed:
            crashes += 1
        recover(folder, disk=Quick())
        assert files(folder) == files(expected), n
    assert crashes > 5


def test_a_crash_at_any_step_of_writing_loses_no_batch_that_was_appended(tmp_path):
    for n in range(100):
        folder, appended, journal = tmp_path / str(n), [], None
        try:
            journal = Journal.open(folder, SCHEMA, NOW, disk=Dying(n))
            for batch in THREE:
                journal.append(batch)
                appended += batch.prediction_id
            journal.seal()
        except Killed:
            if journal is not None:
                journal.close()
        found = recover(folder, disk=Quick())
        kept = [id for sealed in found.sealed for id in ids(sealed.path)]
        assert kept[: len(appended)] == appended, n
        assert found.quarantined == [], n
        if len(appended) == 6 and len(kept) == 6 and not found.torn_bytes:
            return
    pytest.fail("no run came to its end")


def test_rows_can_be_appended_to_a_new_journal_after_recovery(tmp_path):
    left_behind(tmp_path, rows("a"))
    old = recover(tmp_path, disk=Quick()).sealed
    journal = Journal.open(tmp_path, SCHEMA, NOW, disk=Quick())
    journal.append(rows("b"))
    new = journal.seal()
    assert [sealed.id for sealed in recover(tmp_path, disk=Quick()).sealed] == sorted(
        [old[0].id, new.id]
    )


def test_recovery_of_a_folder_that_is_not_there_finds_nothing(tmp_path):
    assert recover(tmp_path / "none").sealed == []


def test_recovery_keeps_a_file_of_an_unknown_format_aside(tmp_path):
    schema = SCHEMA.arrow.with_metadata(
        {**SCHEMA.arrow.metadata, b"format": b"acclimate journal 99"}
    )
    file = tmp_path / "01J00000000000000000000000.open.arrow"
    content = frames.header(schema, "01J00000000000000000000000") + frames.frame(
        SCHEMA.batch(rows("a")), "01J00000000000000000000000"
    )
    file.write_bytes(content)
    found = recover(tmp_path, disk=Quick())
    assert found.sealed == []
    assert [bad.read_bytes() for bad in found.quarantined] == [content]


WRITER = """
import sys, time, numpy as np, pathlib
from acclimate.storage.log.journal import Journal, JournalSchema, LoggedRows
from acclimate.storage.log.logged_rows import RequestRows
schema = JournalSchema(kind="vector", shape=(2,), classes=3, model="gas", replica="api-0")
journal = Journal.open(pathlib.Path(sys.argv[1]), schema, 1_800_000_000.0)
journal.append(LoggedRows.of_request(RequestRows(
    prediction_id="a", version="1", logged_at=1_800_000_000.0, client="k",
    x=np.zeros((1, 2), np.float32), probabilities=np.zeros((1, 3), np.float32))))
print("appended", flush=True)
time.sleep(600)
"""


def test_recovery_leaves_a_live_writer_alone_and_finds_its_rows_once_it_was_killed(tmp_path):
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as writer:
        assert writer.stdout.readline() == "appended\n"
        before = files(tmp_path)
        assert recover(tmp_path).sealed == []
        assert files(tmp_path) == before
        writer.send_signal(signal.SIGKILL)
        writer.wait()
    assert ids(recover(tmp_path).sealed[0].path) == ["a"]


def test_recovery_in_the_writers_own_process_leaves_its_open_file_alone_too(tmp_path):
    journal = Journal.open(tmp_path, SCHEMA, NOW, disk=Quick())
    journal.append(rows("a"))
    assert recover(tmp_path, disk=Quick()).sealed == []
    journal.append(rows("b"))
    assert ids(journal.seal().path) == ["a", "b"]


def test_what_was_recovered_survives_a_power_cut(tmp_path):
    path, ends = left_behind(tmp_path / "journal", *THREE)
    data = bytearray(path.read_bytes())
    data[ends[1] + 40] ^= 1
    path.write_bytes(bytes(data) + b"torn")
    disk = Forgetful()
    first = recover(path.parent, disk=disk)
    second = recover(disk.after_power_cut(tmp_path / "after"), disk=Quick())
    assert [sealed.digest for sealed in second.sealed] == [sealed.digest for sealed in first.sealed]
    assert [bad.name for bad in second.quarantined] == [bad.name for bad in first.quarantined]
    assert len(first.quarantined) == 1
