"""Erasure of a data subject: its rows go, no others do; versions that saw them are named."""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import text
from stored_models import expire_lease, new_model, new_run

from acclimate.storage.database import Database
from acclimate.storage.log import catalog, erasure, windows
from acclimate.storage.log.erasure import Erasure
from acclimate.storage.log.journal import Journal, SealedFile
from acclimate.storage.log.logged_rows import JournalSchema, LoggedRows, RequestRows
from acclimate.storage.log.segments import SegmentDamaged, Segments
from acclimate.storage.log.shipment import ship
from acclimate.storage.registry import audit_log, labels, models
from acclimate.storage.registry.artifacts import Artifacts
from acclimate.storage.registry.labels import Label
from acclimate.storage.runs import pseudo_labels, runs
from acclimate.storage.store import Store

NOW = 1_000_000_000.0


class Log:
    """The log of one model: a journal folder, a store, and the database that lists its segments."""

    def __init__(self, database: Database, folder: Path) -> None:
        self.database, self.folder = database, folder
        self.store = Store(f"file://{folder / 'store'}", folder / "cache")
        self.segments, self.artifacts = Segments(self.store), Artifacts(self.store)
        self.model_id = new_model(database)

    def sealed(self, *subjects_: str | None, at: float = NOW, states: bool = False) -> SealedFile:
        """A sealed file with one row of each subject, whose prediction is named after it."""
        schema = JournalSchema(
            kind="vector",
            shape=(2,),
            classes=2,
            model=self.model_id,
            replica="api-0",
            states=states,
        )
        journal = Journal.open(self.folder / "journal", schema, at)
        for place, subject in enumerate(subjects_):
            answer = {
                "x": np.full((1, 2), place, dtype=np.float32),
                "probabilities": np.full((1, 2), 0.5, dtype=np.float32),
            }
            state = (
                {"state": "s", "states": {"s": b"content"} if place == 0 else {}} if states else {}
            )
            named = {
                "prediction_id": f"{subject}-{journal.id}-{place}",
                "version": "1",
                "client": "k",
                "subject": subject,
            }
            journal.append(
                LoggedRows.of_request(RequestRows(logged_at=at + place, **named, **answer, **state))
            )
        sealed = journal.seal()
        assert sealed is not None
        return sealed

    def ship(self, sealed: SealedFile) -> None:
        ship(self.database, self.segments, sealed, model_id=self.model_id, replica="api-0")

    def log(self, *subjects_: str | None, at: float = NOW, states: bool = False) -> None:
        self.ship(self.sealed(*subjects_, at=at, states=states))

    def close_window(self) -> int:
        with self.database.write() as connection:
            return int(
                windows.close(connection, self.model_id, closed_by="operator", needed=1)["number"]
            )

    def erase(self, subject: str) -> Erasure:
        with self.database.read() as connection:
            model = models.get(connection, self.model_id)
        return erasure.erase(
            self.database, self.segments, self.artifacts, model, subject, actor="anna"
        )

    def left(self) -> list[str | None]:
        """The subject of every row that the catalog leads to, all segments read against their
        digests.
        """
        with self.database.read() as connection:
            lines = catalog.all_segments(connection, self.model_id)
        parts = [self.segments.read(line["key"], line["digest"]) for line in lines]
        assert [len(part) for part in parts] == [line["rows"] for line in lines]
        return [subject for part in parts for subject in part.subject]

    def bytes(self) -> bytes:
        """Everything that lies on this disk."""
        return b"".join(path.read_bytes() for path in self.folder.rglob("*") if path.is_file())

    def window(self, number: int) -> Any:
        with self.database.read() as connection:
            return windows.get(connection, self.model_id, number)


@pytest.fixture
def log(database: Database, tmp_path: Path) -> Log:
    (tmp_path / "log").mkdir()
    return Log(database, tmp_path / "log")


def test_the_rows_of_a_subject_are_nowhere_and_all_others_are_where_they_were(log):
    log.log("ann", "bob", None, "ann")
    log.log("bob")
    number = log.close_window()
    log.log("ann")
    before = log.window(number)["digest"]
    assert log.erase("ann") == Erasure(rows=3, versions=[])
    assert log.left() == ["bob", None, "bob"]
    assert b"ann-" not in log.bytes() and b"bob-" in log.bytes()
    assert (log.window(number)["rows"], log.window(number)["digest"] != before) == (3, True)
    assert log.erase("ann") == Erasure(rows=3, versions=[])
    assert log.erase("nobody") == Erasure(rows=0, versions=[])


def test_the_record_names_a_pseudonym_and_never_the_subject(log):
    log.log("ann@example.org", "bob")
    log.erase("ann@example.org")
    with log.database.read() as connection:
        assert audit_log.verify(connection).broken is None
        entry = next(row for row in audit_log.page(connection) if row["action"] == "subject.erase")
        rows = [str(row) for row in connection.execute(text("SELECT * FROM erasures"))]
    assert (entry["actor"], entry["target"]) == ("anna", "gas")
    assert b"ann@example" not in log.bytes() and "ann@" not in f"{entry} {rows}"


def test_late_rows_of_a_dead_replica_are_erased_and_new_ones_logged(log):
    late = log.sealed("ann", "bob")
    only = log.sealed("ann")
    log.erase("ann")
    log.ship(late)
    log.ship(only)
    assert log.left() == ["bob"]
    assert b"ann-" not in log.bytes()
    log.log("ann", at=4_000_000_000.0)
    assert sorted(map(str, log.left())) == ["ann", "bob"]
    assert log.erase("ann").rows == 3
    assert log.left() == ["bob"]


def test_a_file_that_was_registered_before_its_replica_died_comes_back_without_the_rows(log):
    sealed = log.sealed("ann", "bob")
    copy = sealed.path.read_bytes()
    log.ship(sealed)
    log.erase("ann")
    sealed.path.write_bytes(copy)
    log.ship(sealed)
    assert log.left() == ["bob"]
    assert b"ann-" not in log.bytes()


def test_a_file_that_was_stored_and_not_registered_comes_back_without_the_rows(log):
    sealed = log.sealed("ann", "bob")

    def die(key: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        log.segments.put(sealed, log.model_id, register=die)
    log.erase("ann")
    log.ship(sealed)
    assert log.left() == ["bob"]
    assert b"ann-" not in log.bytes()


def test_a_restored_database_and_a_restored_store_lose_the_rows_again(log, tmp_path):
    log.log("ann", "bob")
    number = log.close_window()
    shutil.copytree(log.folder / "store", tmp_path / "backup")
    with log.database.read() as connection:
        old = [dict(row) for row in catalog.all_segments(connection, log.model_id)]
    log.erase("ann")

    def forget() -> None:
        """The database is of the day before the erasure."""
        with log.database.write() as connection:
            connection.execute(text("DELETE FROM erasures"))
            changed = (
                "UPDATE segments SET key = :key, digest = :digest, rows = :rows, bytes = "
                ":bytes WHERE id = :id"
            )
            connection.execute(
                text(changed),
                {name: old[0][name] for name in ("key", "digest", "rows", "bytes", "id")},
            )
            connection.execute(
                text("UPDATE windows SET rows = 2 WHERE number = :number"), {"number": number}
            )

    forget()
    erasure.clean_all(log.database, log.segments, log.artifacts, log.model_id)
    assert (log.left(), log.window(number)["rows"]) == (["bob"], 1)
    # Now the store is of that day too, but for what it was told after it.
    forget()
    shutil.copytree(tmp_path / "backup", log.folder / "store", dirs_exist_ok=True)
    erasure.clean_all(log.database, log.segments, log.artifacts, log.model_id)
    assert (log.left(), log.window(number)["rows"]) == (["bob"], 1)
    assert b"ann-" not in log.bytes()


def test_labels_and_accepted_pseudo_labels_go_and_versions_and_runs_that_saw_the_rows_are_told(log):
    sealed = log.sealed("ann", "bob")
    rows = log.segments.read_sealed(sealed)
    log.ship(sealed)
    number = log.close_window()
    with log.database.write() as connection:
        models.lock(connection, log.model_id)
        given = [
            Label(prediction_id=id, row=0, label=1, source="anna", segment=sealed.id)
            for id in rows.prediction_id
        ]
        assert labels.add(connection, log.model_id, given) == [True, True]
        run_id = new_run(connection, log.model_id, windows=[number])
        claim = runs.claim(connection, run_id, owner="worker-0")
        assert claim is not None
        digest = log.artifacts.write({"run": run_id}, {"row": np.zeros(1, dtype=np.uint64)})
        pseudo_labels.set_artifact(connection, claim, digest)
        runs.finish(
            connection, claim, state="succeeded", results=runs.RunResults(version=2, promoted=True)
        )
        taught = new_run(connection, log.model_id, windows=[number + 8])
        claim = runs.claim(connection, taught, owner="worker-0")
        assert claim is not None
        runs.finish(
            connection, claim, state="rejected", results=runs.RunResults(version=3, promoted=False)
        )
        later = new_run(connection, log.model_id, windows=[number + 9])
        claim = runs.claim(connection, later, owner="worker-0")
        assert claim is not None
        runs.finish(
            connection, claim, state="rejected", results=runs.RunResults(version=4, promoted=False)
        )
    assert log.window(number)["rows_labelled"] == 2
    assert log.erase("ann") == Erasure(rows=1, versions=[2, 3])
    assert log.window(number)["rows_labelled"] == 1
    with log.database.read() as connection:
        assert [
            row[0][:4] for row in connection.execute(text("SELECT prediction_id FROM labels"))
        ] == ["bob-"]
        assert runs.get(connection, run_id)["pseudo_labels"] is None
    assert not log.artifacts.exists(digest)


def test_a_run_that_learns_from_the_rows_is_cancelled_and_another_goes_on(log):
    log.log("ann", "bob")
    first = log.close_window()
    log.log("bob")
    second = log.close_window()
    with log.database.write() as connection:
        run_id = new_run(connection, log.model_id, windows=[second])
        claim = runs.claim(connection, run_id, owner="worker-0")
    log.erase("ann")
    with log.database.read() as connection:
        assert runs.get(connection, run_id)["state"] == "running"
    expire_lease(log.database, run_id)
    with log.database.write() as connection:
        runs.cancel(connection, run_id)
        run_id = new_run(connection, log.model_id, windows=[first])
        claim = runs.claim(connection, run_id, owner="worker-0")
    assert claim is not None
    log.erase("bob")
    with log.database.read() as connection:
        assert runs.get(connection, run_id)["state"] == "cancelling"
    assert log.left() == []


def test_the_content_of_a_running_state_outlives_the_row_that_it_stood_in(log):
    log.log("ann", "bob", states=True)
    log.erase("ann")
    with log.database.read() as connection:
        (line,) = catalog.all_segments(connection, log.model_id)
    assert log.segments.state(line["key"], line["digest"], "s") == ("1", b"content")


def test_a_damaged_segment_is_told_after_every_other_was_cleaned(log):
    log.log("ann", "bob")
    with log.database.read() as connection:
        (line,) = catalog.all_segments(connection, log.model_id)
    path = log.folder / "store" / line["key"]
    path.write_bytes(path.read_bytes()[:200])
    log.log("ann", "cyd")
    with pytest.raises(SegmentDamaged, match=line["id"]):
        log.erase("ann")
    with log.database.read() as connection:
        other = next(
            row for row in catalog.all_segments(connection, log.model_id) if row["id"] != line["id"]
        )
    assert log.segments.read(other["key"], other["digest"]).subject == ["cyd"]


def test_subjects_that_are_erased_at_the_same_time_go_and_no_other_row_does(log):
    names = [f"s{number}" for number in range(6)]
    log.log(*names, "bob", *names)
    log.log("cyd", *names)
    with ThreadPoolExecutor(len(names)) as pool:
        done = list(pool.map(log.erase, names))
    assert done == [Erasure(rows=3, versions=[])] * len(names)
    assert log.left() == ["bob", "cyd"]
