"""Deletion of versions and models: all of it goes, nothing else does, and it is recorded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import Connection, func, select, text
from stored_models import at_once, log_segment, new_model, new_run, new_version, spec

from acclimate.storage.database import Database
from acclimate.storage.log import barrier, catalog, windows
from acclimate.storage.log.segments import Segments
from acclimate.storage.registry import (
    audit_log,
    deletion,
    labels,
    models,
    promotions,
    replicas,
    revisions,
    versions,
)
from acclimate.storage.registry.artifacts import Artifacts
from acclimate.storage.runs import runs
from acclimate.storage.runs.run_logs import RunLogs
from acclimate.storage.store import Store
from acclimate.storage.tables import metadata


class Files:
    """A store with artifacts and segments in it."""

    def __init__(self, folder: Path) -> None:
        self.store = Store(f"file://{folder / 'store'}", folder / "cache")
        self.artifacts, self.segments = Artifacts(self.store), Segments(self.store)
        self.logs = RunLogs(self.store)

    def artifact(self, name: str) -> str:
        return self.artifacts.write({"name": name}, {"x": np.zeros(1, dtype=np.float32)})

    def sweep(self, database: Database) -> None:
        deletion.sweep(database, self.segments, self.artifacts, self.logs)


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


def a_model(database: Database, files: Files, name: str = "gas", seed: str = "seed") -> str:
    with database.write() as connection:
        return models.create(connection, spec(name), seed_digest=files.artifact(seed), actor="test")


def new_versions(database: Database, files: Files, model_id: str, *names: str) -> list[str]:
    """The digests of new versions, each champion after the one before."""
    digests = [files.artifact(name) for name in names]
    with database.write() as connection:
        for digest in digests:
            number = new_version(connection, model_id)
            query = text(
                "UPDATE versions SET digest = :digest WHERE model_id = :model AND number = :number"
            )
            connection.execute(query, {"digest": digest, "model": model_id, "number": number})
    return digests


def delete_version(database: Database, number: int, name: str = "gas") -> None:
    with database.write() as connection:
        deletion.delete_version(connection, models.named(connection, name), number, actor="anna")


def delete_model(database: Database, name: str = "gas") -> None:
    with database.write() as connection:
        deletion.delete_model(connection, models.named(connection, name), actor="anna")


def recorded(database: Database, action: str) -> list[dict[str, Any]]:
    with database.read() as connection:
        assert audit_log.verify(connection).broken is None
        return [
            row["content"]
            for row in audit_log.page(connection, size=500)
            if row["action"] == action
        ]


def test_a_version_without_alias_is_deleted_with_its_artifact(database, files):
    model_id = a_model(database, files)
    digests = new_versions(database, files, model_id, "one", "two", "three", "four")
    delete_version(database, 2)
    delete_version(database, 2)
    assert [files.artifacts.exists(digest) for digest in digests] == [True] * 4
    files.sweep(database)
    assert [files.artifacts.exists(digest) for digest in digests] == [True, False, True, True]
    assert recorded(database, deletion.VERSION) == [
        {"model": model_id, "version": 2, "artifacts": [digests[1]]}
    ]
    with database.write() as connection:
        assert new_version(connection, model_id) == 5
        assert [
            row["deleted_at"] is not None for row in versions.list_all(connection, model_id)
        ] == [
            False,
            True,
            False,
            False,
            False,
        ]
        assert [row["to_version"] for row in promotions.list_all(connection, model_id)] == [
            1,
            2,
            3,
            4,
            5,
        ]


def test_a_deleted_version_is_neither_loaded_promoted_nor_rolled_back_to(database, files):
    model_id = a_model(database, files)
    new_versions(database, files, model_id, "one", "two", "three", "four")
    delete_version(database, 2)
    asked = {"actor": "anna", "reason": "try"}
    with database.write() as connection:
        with pytest.raises(versions.UnknownVersion, match="version 2 was deleted"):
            versions.get_stored(connection, model_id, 2)
        with pytest.raises(versions.UnknownVersion, match="was deleted"):
            promotions.roll_back(connection, model_id, to=2, **asked)
        for override in (True, False):
            with pytest.raises(versions.UnknownVersion, match="was deleted"):
                promotions.make_champion(
                    connection, model_id, 2, expected=4, override=override, **asked
                )
        assert promotions.champion(connection, model_id).epoch == 4


def test_a_version_that_a_name_points_at_or_a_run_learns_from_stays(database, files):
    model_id = a_model(database, files)
    new_versions(database, files, model_id, "one", "two", "three", "four")
    for number, said in ((1, "anchor"), (3, "previous"), (4, "champion")):
        with pytest.raises(deletion.VersionAliased, match=f"version {number} is {said}"):
            delete_version(database, number)
    with pytest.raises(versions.UnknownVersion):
        delete_version(database, 9)
    told = {"actor": "watch", "reason": "r", "run_id": None, "comparison": {}}
    with database.write() as connection:
        versions.set_proved(connection, model_id, 3, {})
        for number in (3, 1, 3, 1):
            promotions.switch(connection, model_id, number, **told)
    for number, said in ((3, "previous and proved"), (4, "learner")):
        with pytest.raises(deletion.VersionAliased, match=f"version {number} is {said}"):
            delete_version(database, number)
    with database.write() as connection:
        run_id = new_run(connection, model_id, parent_version=2)
    with pytest.raises(runs.RunActive):
        delete_version(database, 2)
    with database.write() as connection:
        runs.cancel(connection, run_id)
    delete_version(database, 2)


def test_an_artifact_that_something_else_refers_to_stays(database, files):
    model_id, other = a_model(database, files), a_model(database, files, "other")
    shared = new_versions(database, files, model_id, "one", "shared", "three", "four")[1]
    new_versions(database, files, other, "shared")
    delete_version(database, 2)
    files.sweep(database)
    assert files.artifacts.exists(shared)
    delete_model(database, "other")
    files.sweep(database)
    assert not files.artifacts.exists(shared)
    assert files.artifacts.exists(files.artifact("seed")), "the first model has the same seed set"
    delete_model(database)
    with database.read() as connection:
        seed = files.artifact("seed")
        assert models.list_all(connection) == []
    files.sweep(database)
    assert not files.artifacts.exists(seed)


def fill(database: Database, files: Files, model_id: str) -> None:
    """Something of the model in every table that can hold it."""
    new_versions(database, files, model_id, f"{model_id}-one", f"{model_id}-two")
    line = log_segment(database, model_id)
    files.store.put_bytes(b"x", f"segments/{model_id}/{line.id}.arrow")
    label = labels.Label(prediction_id="p", row=0, label=1, source="anna", segment=line.id)
    with database.write() as connection:
        replicas.heartbeat(connection, "api-0", {model_id: 3})
        models.lock(connection, model_id)
        labels.add(connection, model_id, [label])
        windows.close(connection, model_id, closed_by="operator", needed=1)
        run = new_run(connection, model_id, windows=[1])
        runs.cancel(connection, run)
        for statement in (
            "INSERT INTO run_stages VALUES (:run, 'train', :digest, 1.0)",
            "INSERT INTO idempotency_keys VALUES ('key', :run, 'f', :run, 1.0)",
            "INSERT INTO erasures VALUES (:model, 'p', 1.0, 0, '[]')",
        ):
            values = {"run": run, "digest": files.artifact(f"{model_id}-stage"), "model": model_id}
            needed = {name: value for name, value in values.items() if f":{name}" in statement}
            connection.execute(text(statement), needed)
    files.segments.put_tombstone(model_id, "p", 1.0)
    files.logs.write(run, 1, b"x")
    with database.write() as connection:
        connection.execute(text("UPDATE runs SET attempt = 1 WHERE id = :run"), {"run": run})


def left(connection: Connection) -> dict[str, int]:
    """Rows by table, but for what is not a model's."""
    tables = [
        table for table in metadata.sorted_tables if table.name not in ("audit", "keys", "replicas")
    ]
    return {
        table.name: connection.execute(select(func.count()).select_from(table)).scalar_one()
        for table in tables
    }


def test_of_a_deleted_model_only_the_record_stays_and_others_keep_all_of_theirs(database, files):
    kept = a_model(database, files, "kept", "another seed")
    fill(database, files, kept)
    with database.read() as connection:
        before = left(connection)
    assert min(before.values()) > 0, before
    stored = files.store.list()
    model_id = a_model(database, files)
    fill(database, files, model_id)
    delete_model(database)
    files.sweep(database)
    files.sweep(database)
    with database.read() as connection:
        assert left(connection) == before
        assert deletion.was_deleted(connection, model_id)
        assert not deletion.was_deleted(connection, kept) and not deletion.was_deleted(
            connection, "another database's"
        )
    assert files.store.list() == stored
    content = recorded(database, deletion.MODEL)[0]
    assert (content["model"], content["versions"], content["runs"], content["windows"]) == (
        model_id,
        2,
        3,
        2,
    )


def test_the_name_of_a_deleted_model_is_free_and_its_successor_starts_anew(database, files):
    model_id = a_model(database, files)
    fill(database, files, model_id)
    delete_model(database)
    new_id = a_model(database, files)
    assert new_id != model_id
    with database.write() as connection:
        assert new_version(connection, new_id) == 1
        assert [row["number"] for row in windows.list_all(connection, new_id)] == [1]
        assert windows.open_rows(connection, new_id) == 0
        assert promotions.champion(connection, new_id).epoch == 1
    files.sweep(database)
    assert files.artifacts.exists(files.artifact("seed"))


def test_a_model_with_an_active_run_stays(database, files):
    model_id = a_model(database, files)
    with database.write() as connection:
        run_id = new_run(connection, model_id)
    with pytest.raises(runs.RunActive) as told:
        delete_model(database)
    assert told.value.run_id == run_id
    assert recorded(database, deletion.MODEL) == []


def test_what_comes_for_a_deleted_model_says_so_or_changes_nothing(database, files):
    model_id = a_model(database, files)
    line = log_segment(database, model_id)
    delete_model(database)
    deeds: list[Any] = [
        lambda connection: catalog.register(connection, line),
        lambda connection: barrier.request_seal(connection, model_id),
        lambda connection: replicas.report_loaded(
            connection, "api-0", model_id, version=1, epoch=1
        ),
        lambda connection: revisions.policy(connection, model_id),
        lambda connection: models.lock(connection, model_id),
    ]
    for deed in deeds:
        with pytest.raises(models.ModelDeleted), database.write() as connection:
            deed(connection)
    with database.write() as connection:
        replicas.heartbeat(connection, "api-0", {model_id: 3})
        replicas.note_sealed(connection, "api-0", model_id, 1)
        replicas.report_problem(connection, "api-0", model_id, "cannot load")
        assert left(connection)["replica_models"] == 0


def test_segments_registered_while_a_model_is_deleted_go_with_it(database):
    for _ in range(5):
        model_id = new_model(database)

        def delete(connection: Connection) -> str:
            deletion.delete_model(connection, models.named(connection, "gas"), actor="anna")
            return "deleted"

        def log(connection: Connection, model_id: str = model_id) -> bool:
            from stored_models import segment

            return catalog.register(connection, segment(model_id))

        found = at_once(database, [log, log, delete, log])
        assert "deleted" in found, found
        assert all(
            result in (True, "deleted") or isinstance(result, models.ModelDeleted)
            for result in found
        ), found
        with database.read() as connection:
            assert left(connection)["segments"] == 0


def test_weights_go_with_the_last_version_that_uses_them(database, files):
    model_id = a_model(database, files)
    _, lender, *_ = new_versions(database, files, model_id, "one", "two", "three", "four", "five")
    borrower = files.artifacts.write(
        {"name": "in another mode"}, {"x": np.zeros(1, np.float32)}, lender=lender
    )
    with database.write() as connection:
        change = (
            "UPDATE versions SET digest = :digest, weights_digest = :lender, mode = "
            "'prior' WHERE number = 3"
        )
        connection.execute(text(change), {"digest": borrower, "lender": lender})
    delete_version(database, 2)
    files.sweep(database)
    assert files.artifacts.read(borrower)[1]["x"].tolist() == [0]
    delete_version(database, 3)
    files.sweep(database)
    assert not files.artifacts.exists(borrower)
    assert not files.artifacts.exists(lender)
