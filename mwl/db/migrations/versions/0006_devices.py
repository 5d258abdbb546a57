"""What each scanner is shown, and in which letters."""

import sqlalchemy as sa
from alembic import op

from mwl.db.types import Json

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    _devices()
    _orders()


def _devices() -> None:
    for name in ("zone", "close_images"):
        column = sa.Column(name, sa.String(), nullable=False, server_default="")
        op.add_column("device", column)
    for name, empty in (("aliases", "[]"), ("worklist", "{}"), ("characters", "{}")):
        op.add_column("device", sa.Column(name, Json, nullable=False, server_default=empty))


def _orders() -> None:
    """Add the profile that an order was read by last."""
    profile = sa.Column("profile", sa.String(), nullable=False, server_default="")
    op.add_column("imaging_order", profile)
