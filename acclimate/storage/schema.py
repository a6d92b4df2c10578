"""Checks that the database has the tables and columns that this code uses.

Migrations only add, so a newer database has them all.
"""

from __future__ import annotations

from sqlalchemy import Connection, inspect

from acclimate.storage.database import Unavailable
from acclimate.storage.tables import metadata


class Outdated(Unavailable):
    """The database is older than this code, or empty; `acclimate migrate` has to run first."""


def require(connection: Connection) -> None:
    """Raise `Outdated`, naming the first missing table or column, if there is one."""
    found = inspect(connection)
    for table in metadata.sorted_tables:
        if not found.has_table(table.name):
            raise Outdated(f"it has no table {table.name} yet: acclimate migrate makes it")
        there = {column["name"] for column in found.get_columns(table.name)}
        for column in table.columns:
            if column.name not in there:
                raise Outdated(
                    f"its table {table.name} has no column {column.name} yet: acclimate "
                    f"migrate adds it"
                )
