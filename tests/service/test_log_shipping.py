"""Shipping sealed files: one that the store refuses does not block others, and is reported."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from stored_models import new_model

from acclimate.storage.database import Database
from acclimate.storage.log import barrier, catalog
from acclimate.storage.log.journal import Journal, SealedFile
from acclimate.storage.log.logged_rows import JournalSchema, LoggedRows, RequestRows
from acclimate.storage.log.segments import Segments
from acclimate.storage.registry import deletion, models, replicas
from acclimate.storage.store import Store
from service.inference.backlog import Backlog
from service.inference.recorder import Recorder
from service.metrics import ServingMetrics
from service.sync.log_shipping import LogShipper

NOW = 1_000_000_000.0
REPLICA = "api-0"


class Way:
    """A replica's shipper between a journal folder and a store, and two models whose rows
    it moves.
    """

    def __init__(self, database: Database, folder: Path) -> None:
        self.database, self.folder = database, folder
        metrics = ServingMetrics()
        self.recorder = Recorder(
            folder / "journal", REPLICA, metrics, Backlog(folder / "journal", 2**30, metrics)
        )
        segments = Segments(Store(f"file://{folder / 'store'}", folder / "cache"))
        self.shipper = LogShipper(
            replica=REPLICA, database=database, segments=segments, recorder=self.recorder
        )
        with database.write() as connection:
            replicas.heartbeat(connection, REPLICA, {})

    def sealed(self, model_id: str) -> SealedFile:
        """A sealed file with one row, which waits."""
        schema = JournalSchema(
            kind="vector", shape=(2,), classes=2, model=model_id, replica=REPLICA
        )
        journal = Journal.open(self.folder / "journal" / model_id, schema, NOW)
        answer = {
            "x": np.zeros((1, 2), np.float32),
            "probabilities": np.full((1, 2), 0.5, np.float32),
        }
        journal.append(
            LoggedRows.of_request(
                RequestRows(
                    prediction_id=journal.id, version="1", logged_at=NOW, client="k", **answer
                )
            )
        )
        sealed = journal.seal()
        assert sealed is not None
        self.shipper.take(model_id, sealed)
        return sealed

    def arrived(self, sealed: SealedFile) -> bool:
        with self.database.read() as connection:
            return catalog.is_registered(connection, sealed.id)

    def problem(self, model_id: str) -> str | None:
        with self.database.read() as connection:
            [said] = [row["problem"] for row in replicas.list_live(connection, model_id)]
        return None if said is None else str(said)


@pytest.fixture
def way(database: Database, tmp_path: Path) -> Way:
    return Way(database, tmp_path)


def test_a_file_that_the_store_refuses_keeps_back_no_other_and_goes_once_it_can(way, tmp_path):
    gas, air = new_model(way.database, "gas"), new_model(way.database, "air")
    refused, other = way.sealed(gas), way.sealed(air)
    in_the_way = tmp_path / "store" / "segments" / gas / f"{refused.id}.arrow"
    in_the_way.parent.mkdir(parents=True)
    in_the_way.write_bytes(b"something else")
    way.shipper.ship_waiting()
    assert (way.arrived(refused), way.arrived(other)) == (False, True)
    assert way.shipper.stuck and refused.path.exists()
    assert "SegmentDamaged" in str(way.problem(gas)) and way.problem(air) is None
    in_the_way.unlink()
    way.shipper.ship_waiting()
    assert way.arrived(refused) and not refused.path.exists()
    assert not way.shipper.stuck and way.problem(gas) is None


def test_a_file_of_a_model_that_was_deleted_while_it_waited_keeps_back_no_other(way, tmp_path):
    gas, air = new_model(way.database, "gas"), new_model(way.database, "air")
    way.recorder.start()
    (tmp_path / "store").write_text("no folder")
    gone, other = way.sealed(gas), way.sealed(air)
    way.shipper.ship_waiting()
    with way.database.write() as connection:
        deletion.delete_model(connection, models.named(connection, "gas"), actor="anna")
    way.shipper.drop(gas)
    (tmp_path / "store").unlink()
    way.shipper.ship_waiting()
    assert way.arrived(other) and not gone.path.exists()
    assert not way.shipper.stuck and way.problem(air) is None
    way.recorder.close()


def test_a_seal_is_acknowledged_only_when_nothing_of_the_model_waits_any_more(way, tmp_path):
    gas = new_model(way.database, "gas")
    way.recorder.start()
    waiting = way.sealed(gas)
    (tmp_path / "store").write_text("no folder")
    assert not way.shipper.seal(gas, acknowledge=1)
    with way.database.read() as connection:
        assert barrier.unsealed_replicas(connection, gas, 1) == [REPLICA]
    (tmp_path / "store").unlink()
    assert way.shipper.seal(gas, acknowledge=1)
    with way.database.read() as connection:
        assert barrier.unsealed_replicas(connection, gas, 1) == []
    assert way.arrived(waiting)
    way.recorder.close()
