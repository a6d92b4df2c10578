"""Migrates the database to the newest schema, and makes the first admin key.

`python -m migrations.run [--admin-key FILE]`
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

from acclimate.settings import server_settings
from acclimate.storage.database import Database
from acclimate.storage.registry import audit_log, keys


def configuration(connection: Connection) -> Config:
    """Alembic's configuration for this connection; the migrations are beside this file."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    config.attributes["connection"] = connection
    return config


def upgrade(database: Database) -> None:
    """Apply the missing migrations in one transaction; may be repeated.

    A newer database is left as it is: its migrations only added.
    """
    with database.write() as connection:
        config = configuration(connection)
        found = MigrationContext.configure(connection).get_current_revision()
        known = [script.revision for script in ScriptDirectory.from_config(config).walk_revisions()]
        if found is None or found in known:
            command.upgrade(config, "head")
            return
    text = (
        f"the database is of a newer acclimate (revision {found}; the newest known here is "
        f"{known[0]}) and left as it is"
    )
    print(f"acclimate migrate: {text}", file=sys.stderr)


def ensure_admin_key(database: Database, file: Path) -> None:
    """Make sure that the file holds the secret of an admin key; a valid one is kept."""
    secret = file.read_text().strip() if file.exists() else ""
    with database.write() as connection:
        key = keys.find(connection, keys.fingerprint(secret)) if secret else None
        if key is not None and key.allows("admin"):
            return
        _, secret = keys.create(connection, name="admin", scopes=["admin"])
        audit_log.write(
            connection,
            actor="migrate",
            action="key.create",
            target="admin",
            content={"scopes": ["admin"]},
        )
    file.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    os.fchmod(descriptor, 0o600)
    with os.fdopen(descriptor, "w") as out:
        out.write(secret + "\n")


def main() -> None:
    """Migrate, and make the admin key if asked to."""
    parser = argparse.ArgumentParser(prog="acclimate migrate", description=__doc__)
    parser.add_argument(
        "--admin-key", type=Path, help="file that holds, afterwards, the secret of an admin key"
    )
    arguments = parser.parse_args()
    settings = server_settings()
    if settings.database_url is None:
        settings.home.mkdir(parents=True, exist_ok=True)
    database = Database(settings.database_address)
    try:
        upgrade(database)
        if arguments.admin_key:
            ensure_admin_key(database, arguments.admin_key)
    finally:
        database.close()


if __name__ == "__main__":
    main()
