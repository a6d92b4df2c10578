"""Alembic's entry: runs the migrations on the connection that `migrations.run` hands over."""

from alembic import context

from acclimate.storage.tables import metadata


def migrate() -> None:
    """Run the migrations of Alembic's context on its connection."""
    connection = context.config.attributes["connection"]
    # SQLite alters tables by copying them.
    batch = connection.dialect.name == "sqlite"
    context.configure(
        connection=connection,
        target_metadata=metadata,
        render_as_batch=batch,
        transactional_ddl=True,
    )
    context.run_migrations()


# Alembic imports this file for every command; a plain import does nothing.
if getattr(context, "_proxy", None) is not None:
    migrate()
