"""A migrated database, once of each kind."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from acclimate.storage.database import Database
from migrations.run import upgrade


@pytest.fixture
def database(database_address: str) -> Iterator[Database]:
    """An empty database with the newest schema, on SQLite and on Postgres."""
    database = Database(database_address)
    upgrade(database)
    yield database
    database.close()
