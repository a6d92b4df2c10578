"""Switches of serving, proofs by labels, and labels that say right or wrong."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

KINDS = "kind IN ('first', 'promote', 'switch', 'rollback', 'override')"


def upgrade() -> None:
    with op.batch_alter_table("versions", schema=None) as batch_op:
        batch_op.add_column(sa.Column("proved_at", sa.Float(), nullable=True))
        batch_op.add_column(sa.Column("proof", sa.JSON(), nullable=True))

    with op.batch_alter_table("promotions", schema=None) as batch_op:
        batch_op.add_column(sa.Column("comparison", sa.JSON(), nullable=True))
        batch_op.drop_constraint(op.f("ck_promotions_kind"), type_="check")
        batch_op.create_check_constraint(op.f("ck_promotions_kind"), KINDS)

    with op.batch_alter_table("runs", schema=None) as batch_op:
        batch_op.add_column(sa.Column("serving", sa.JSON(), nullable=True))

    with op.batch_alter_table("labels", schema=None) as batch_op:
        batch_op.add_column(sa.Column("wrong", sa.Integer(), nullable=True))
        batch_op.add_column(sa.Column("label_time", sa.Float(), nullable=True))
