"""Copies of a remote store on another machine: what the store loses, the copies lose."""

from __future__ import annotations

import uuid
from pathlib import Path

import numpy as np
import pytest
from stored_models import new_model, spec

from acclimate.storage.database import Database
from acclimate.storage.log import catalog, copies, erasure
from acclimate.storage.log.journal import Journal
from acclimate.storage.log.logged_rows import JournalSchema, LoggedRows, RequestRows
from acclimate.storage.log.segments import Segments
from acclimate.storage.log.shipment import ship
from acclimate.storage.registry import models
from acclimate.storage.registry.artifacts import Artifacts
from acclimate.storage.store import Store

NOW = 1_000_000_000.0


class Machine:
    """One of several that share a database and a store, with a disk of its own."""

    def __init__(self, database: Database, url: str, folder: Path) -> None:
        self.database, self.folder = database, folder
        store = Store(url, folder / "cache")
        self.segments, self.artifacts = Segments(store), Artifacts(store)

    def log(self, model_id: str, subject: str) -> str:
        """The id of the segment in which one row of the subject and one of nobody stand now."""
        schema = JournalSchema(
            kind="vector", shape=(2,), classes=2, model=model_id, replica="api-0"
        )
        journal = Journal.open(self.folder / "journal", schema, NOW)
        for name in (subject, None):
            answer = {
                "x": np.zeros((1, 2), np.float32),
                "probabilities": np.full((1, 2), 0.5, np.float32),
            }
            named = {
                "prediction_id": f"{name}-{journal.id}",
                "version": "1",
                "client": "k",
                "subject": name,
            }
            journal.append(LoggedRows.of_request(RequestRows(logged_at=NOW, **named, **answer)))
        sealed = journal.seal()
        assert sealed is not None
        ship(self.database, self.segments, sealed, model_id=model_id, replica="api-0")
        return sealed.id

    def read_all(self, model_id: str) -> list[str | None]:
        """The subject of every row of the model, read as a trainer does."""
        with self.database.read() as connection:
            lines = catalog.all_segments(connection, model_id)
        return [
            subject
            for line in lines
            for subject in self.segments.read(line["key"], line["digest"]).subject
        ]

    def forget(self) -> None:
        copies.purge(self.database, self.segments, self.artifacts)

    @property
    def disk(self) -> bytes:
        return b"".join(path.read_bytes() for path in self.folder.rglob("*") if path.is_file())


@pytest.fixture
def machines(database: Database, tmp_path: Path) -> tuple[Machine, Machine]:
    url = f"memory://{uuid.uuid4().hex}/store"
    return Machine(database, url, tmp_path / "one"), Machine(database, url, tmp_path / "other")


def test_rows_of_an_erased_subject_leave_the_disk_of_a_machine_that_had_read_them(machines):
    one, other = machines
    model_id = new_model(one.database)
    one.log(model_id, "ann")
    one.log(model_id, "bob")
    assert sorted(filter(None, other.read_all(model_id))) == ["ann", "bob"]
    with one.database.read() as connection:
        model = models.get(connection, model_id)
    erasure.erase(one.database, one.segments, one.artifacts, model, "ann", actor="anna")
    assert b"ann-" not in one.disk
    assert b"ann-" in other.disk
    other.forget()
    assert b"ann-" not in other.disk
    assert b"bob-" in other.disk, "what still stands was not fetched again for nothing"
    assert list(filter(None, other.read_all(model_id))) == ["bob"]


def test_rows_that_outlived_the_bounds_of_the_log_leave_it_too(machines):
    one, other = machines
    model_id = new_model(one.database)
    old = one.log(model_id, "ann")
    one.log(model_id, "bob")
    other.read_all(model_id)
    with one.database.write() as connection:
        catalog.mark_deleted(connection, [old])
    other.forget()
    assert b"ann-" not in other.disk and b"bob-" in other.disk


def test_of_artifacts_those_stay_that_something_refers_to(machines):
    one, other = machines
    needed = one.artifacts.write({"kind": "seed"}, {"x": np.arange(3)})
    left = one.artifacts.write({"kind": "stage"}, {"x": np.arange(4)})
    with one.database.write() as connection:
        models.create(connection, spec("gas"), seed_digest=needed, actor="test")
    for digest in (needed, left):
        other.artifacts.read(digest)
    assert sorted(other.artifacts.copies()) == sorted([needed, left])
    other.forget()
    assert other.artifacts.copies() == [needed]
    assert one.artifacts.exists(left), "the store is left alone"


def test_where_the_store_is_a_disk_there_are_no_copies(database, tmp_path):
    here = Machine(database, f"file://{tmp_path / 'store'}", tmp_path / "here")
    model_id = new_model(database)
    here.log(model_id, "ann")
    here.read_all(model_id)
    assert (here.segments.copies(), here.artifacts.copies()) == ([], [])
    here.forget()
    assert here.read_all(model_id) == ["ann", None]
