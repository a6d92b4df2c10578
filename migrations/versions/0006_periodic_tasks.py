"""When each periodic task last finished."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    table = op.create_table(
        "periodic_tasks",
        sa.Column("name", sa.String(length=16), nullable=False),
        sa.Column("done_at", sa.Float(), nullable=True),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_periodic_tasks")),
    )
    op.bulk_insert(
        table, [{"name": "trigger", "done_at": None}, {"name": "reconcile", "done_at": None}]
    )
