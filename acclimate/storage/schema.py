"""Whether the database has what this code reads and writes. Migrations only add, so one of a newer
acclimate has it all.
"""

from __future__ import annotations

from sqlalchemy import Connection, inspect

from acclimate.storage.database import Unavailable
from acclimate.storage.tables import metadata


class Outdated(Unavailable):
    """The database is one of an older acclimate, or of none yet: whoever waits for `acclimate
    migrate` may ask again.
    """


def require(connection: Connection) -> None:
    """Raises `Outdated`, which names the first table or column that is missing."""
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
