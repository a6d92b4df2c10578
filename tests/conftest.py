"""What many tests stand on: real databases, and the whole product as its real processes."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from postgres import Postgres
from running import Service, free_port
from xdist.scheduler import LoadScopeScheduling

from acclimate.storage.database import Database
from migrations.run import upgrade

ROOT = Path(__file__).parents[1]
JOURNEYS = ("tests/journeys/", "tests/faults/test_stages.py")
SHARED = (*JOURNEYS, "tests/service/", "tests/cli/")
ORDER = (
    *SHARED,
    "tests/faults/",
    "tests/house/test_style.py",
    "tests/benchmarks/",
    "tests/learning/",
    "",
)
DATABASE = re.compile(r"\[.*\b(sqlite|postgres)\b")


class ByService(LoadScopeScheduling):
    """For `-n 2`: what shares a service stays in one process, and so does every other file.

    Those that wait for a service start first, two processes with a service of their own; the short
    files fill up the end. xdist's own groups need a node's private id, which this pytest has under
    another name.
    """

    def _split_scope(self, nodeid: str) -> str:
        path, _, test = nodeid.partition("::")
        found = DATABASE.search(test)
        if found is None or not path.startswith(SHARED):
            return path
        return f"{'journeys' if path.startswith(JOURNEYS) else 'service'} on {found[1]}"


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ByService:
    return ByService(config, log)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks what uses a Postgres, before `-m` chooses; puts first what takes longest, for
    `--no-loadscope-reorder`.
    """
    for item in items:
        if uses_postgres(item):
            item.add_marker("postgres")
    items.sort(
        key=lambda item: next(
            place for place, path in enumerate(ORDER) if item.nodeid.startswith(path)
        )
    )


def uses_postgres(item: pytest.Item) -> bool:
    """By a fixture that starts one, or as the database that it is parametrized with."""
    values = item.callspec.params.values() if hasattr(item, "callspec") else ()
    chosen = [value for value in values if isinstance(value, str)]
    return "postgres" in chosen or "postgres" in getattr(item, "fixturenames", ())


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
    environment = {"ACCLIMATE_LEASE_SECONDS": "4", "ACCLIMATE_LOG_LEVEL": "DEBUG"}
    environment["ACCLIMATE_WORKER_METRICS_PORT"] = str(free_port())
    environment["ACCLIMATE_DRILLS"] = str(short_folder / f"drills-{request.param}")
    # A network that is not acclimate's own: a user's module on the server's path, and allowed
    # there.
    found = (str(ROOT / "examples" / "own_module"), os.environ.get("PYTHONPATH", ""))
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, found))
    environment["ACCLIMATE_NETWORK_ALLOWLIST"] = "own_network:build"
    if request.param == "postgres":
        environment["ACCLIMATE_DATABASE_URL"] = request.getfixturevalue("postgres").new_database()
    running = Service(home=short_folder / f"home-{request.param}", environment=environment)
    running.start()
    yield running
    assert running.stop() == 0, running.logs()
