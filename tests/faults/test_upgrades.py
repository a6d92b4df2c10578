"""Old and new code at the same time: older code goes on with a newer database, newer code
waits until it is migrated.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from digits_model import create, learn, send, served, window
from history import load
from running import Service, free_port, process, wait_for
from sqlalchemy import text

from acclimate.storage.database import Database
from acclimate.storage.tables import metadata
from migrations.run import upgrade

pytestmark = pytest.mark.slow


def add_what_a_later_release_might(address: str) -> None:
    """A column in every table, a table, and a revision that nobody here knows."""
    database = Database(address)
    with database.write() as connection:
        for table in metadata.sorted_tables:
            connection.execute(text(f"ALTER TABLE {table.name} ADD COLUMN from_later TEXT"))
        connection.execute(text("CREATE TABLE later (id INTEGER PRIMARY KEY)"))
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    database.close()


def take_away_what_came_later(address: str) -> None:
    """The database of an earlier release."""
    database = Database(address)
    upgrade(database)
    with database.write() as connection:
        for table, column in (
            ("versions", "lineage"),
            ("versions", "proved_at"),
            ("versions", "proof"),
            ("promotions", "comparison"),
            ("runs", "serving"),
            ("labels", "wrong"),
            ("labels", "label_time"),
        ):
            connection.execute(text(f"ALTER TABLE {table} DROP COLUMN {column}"))
        connection.execute(text("DROP TABLE periodic_tasks"))
        connection.execute(text("UPDATE alembic_version SET version_num = '0004'"))
    database.close()


@pytest.fixture
def service(request: pytest.FixtureRequest, short_folder: Path, database_address: str) -> Service:
    home = short_folder / f"later-{request.node.callspec.id}"
    return Service(
        home=home,
        environment={"ACCLIMATE_LEASE_SECONDS": "4", "ACCLIMATE_DATABASE_URL": database_address},
    )


@pytest.mark.parametrize(
    "database_address", ["sqlite", pytest.param("postgres", marks=pytest.mark.drill)], indirect=True
)
def test_a_service_restarts_on_the_database_of_a_newer_release(service, database_address, drill):
    service.start()
    with service.http() as http:
        create(http, "older")
        send(http, "older", window(1)[0])
        with load(service, "older") as history:
            add_what_a_later_release_might(database_address)
            run = learn(http, "older")
            assert (run["state"], run["version"]) == ("succeeded", "2"), run
            served(http, "older", "2")
    assert service.stop() == 0, service.logs()
    service.start()
    with service.http() as http:
        served(http, "older", "2")
        send(http, "older", window(2)[0])
        again = learn(http, "older")
        acknowledged, found, copies = history.compare(http, "older")
        counted = {"acknowledged": acknowledged, "found": found, "duplicates": copies}
        kind = database_address.partition(":")[0]
        drill.note(
            "25 upgrade",
            f"{kind} migrated by a later release under load, this one started again",
            **counted,
        )
    assert service.stop() == 0, service.logs()
    assert again["state"] in ("succeeded", "rejected"), again
    assert {request.code for request in history.requests} == {200} and (acknowledged, copies) == (
        found,
        0,
    )


def test_a_newer_release_waits_until_the_database_is_migrated(database_address, tmp_path, drill):
    take_away_what_came_later(database_address)
    port = free_port()
    environment = {"ACCLIMATE_HOME": str(tmp_path), "ACCLIMATE_DATABASE_URL": database_address}
    environment |= {"ACCLIMATE_PORT": str(port), "ACCLIMATE_BROKER_URL": "redis://127.0.0.1:1/0"}
    api_log, worker_log = tmp_path / "api.log", tmp_path / "worker.log"

    def ready() -> bool:
        try:
            return httpx.get(f"http://127.0.0.1:{port}/v2/health/ready").status_code == 200
        except httpx.TransportError:
            return False

    with (
        process("serve", api_log, environment),
        process("worker", worker_log, environment) as worker,
    ):
        for log in (api_log, worker_log):
            wait_for(lambda log=log: " yet: acclimate migrate " in log.read_text())
        assert not ready() and "ready." not in worker_log.read_text()
        done = [sys.executable, "-m", "acclimate.cli.app", "migrate"]
        assert subprocess.run(done, env={**os.environ, **environment}, check=False).returncode == 0
        wait_for(ready)
        wait_for(lambda: "Cannot connect to redis" in worker_log.read_text())
        assert worker.poll() is None
    drill.note("25 upgrade", "API and worker started before the database was migrated")
