"""Serving modes, rehearsals, shared weights, and columns of pseudo-labels."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("versions", schema=None) as batch_op:
        batch_op.add_column(
            sa.Column("mode", sa.String(length=16), server_default="plain", nullable=False)
        )
        batch_op.add_column(sa.Column("rehearsal", sa.JSON(), nullable=True))
        batch_op.add_column(sa.Column("weights_digest", sa.String(length=71), nullable=True))

    with op.batch_alter_table("runs", schema=None) as batch_op:
        batch_op.add_column(sa.Column("rows_taught", sa.BigInteger(), nullable=True))
        batch_op.add_column(sa.Column("pseudo_labels", sa.String(length=71), nullable=True))
        batch_op.add_column(sa.Column("pseudo_labels_checked", sa.Integer(), nullable=True))
        batch_op.add_column(sa.Column("pseudo_labels_wrong", sa.Integer(), nullable=True))
