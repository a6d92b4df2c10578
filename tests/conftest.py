"""What many tests stand on: real databases, and the whole product as its real processes."""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from postgres import Postgres
from running import Service

from acclimate.storage.database import Database
from migrations.run import upgrade

ROOT = Path(__file__).parents[1]
FIRST = ("service on sqlite", "service on postgres")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """For `-n 2`: what shares a service, or the fixtures of a file, stays in one process, and the services' tests start first."""
    for item in items:
        parameters = item.callspec.params if isinstance(item, pytest.Function) and hasattr(item, "callspec") else {}
        group = f"service on {parameters['service']}" if "service" in parameters else item.path.name
        item.add_marker(pytest.mark.xdist_group(group))
    items.sort(key=lambda item: next(item.iter_markers("xdist_group")).args[0] not in FIRST)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A private Postgres server on a unix socket, from its wheel."""
    with Postgres.started() as server:
        yield server


@pytest.fixture(params=["sqlite", "postgres"])
def database_address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of an empty database, once of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'acclimate.db'}"
    server: Postgres = request.getfixturevalue("postgres")
    return server.new_database()


@pytest.fixture
def database(database_address: str) -> Iterator[Database]:
    """An empty database with the newest schema, on SQLite and on Postgres."""
    database = Database(database_address)
    upgrade(database)
    yield database
    database.close()


@pytest.fixture(scope="session")
def short_folder() -> Iterator[Path]:
    """A folder whose path leaves room for the names of unix sockets."""
    folder = Path(tempfile.mkdtemp(prefix="acc-"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session", params=["sqlite", "postgres"])
def service(request: pytest.FixtureRequest, short_folder: Path) -> Iterator[Service]:
    """The whole product, running, once on each database; tests make models of their own in it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        environment = {"ACCLIMATE_LEASE_SECONDS": "4", "ACCLIMATE_LOG_LEVEL": "DEBUG"}
        environment["ACCLIMATE_WORKER_METRICS_PORT"] = str(free.getsockname()[1])
    environment["ACCLIMATE_DRILLS"] = str(short_folder / f"drills-{request.param}")
    # A network that is not acclimate's own: a user's module on the server's path, and allowed there.
    found = (str(ROOT / "examples" / "own_module"), os.environ.get("PYTHONPATH", ""))
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, found))
    environment["ACCLIMATE_NETWORK_ALLOWLIST"] = "own_network:build"
    if request.param == "postgres":
        environment["ACCLIMATE_DATABASE_URL"] = request.getfixturevalue("postgres").new_database()
    running = Service(home=short_folder / f"home-{request.param}", environment=environment)
    running.start()
    yield running
    assert running.stop() == 0, running.logs()
