"""What any RIS sends: who reads which message."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    _journal()


def _journal() -> None:
    for name in ("listener", "profile"):
        column = sa.Column(name, sa.String(), nullable=False, server_default="")
        op.add_column("message", column)
