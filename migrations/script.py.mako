"""${message}"""

import sqlalchemy as sa
from alembic import op
${imports if imports else ""}
revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}
branch_labels = None
depends_on = None


# long: one change after the other, as the schema needs them
def upgrade() -> None:
    ${upgrades if upgrades else "pass"}
