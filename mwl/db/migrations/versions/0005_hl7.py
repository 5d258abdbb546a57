"""What any RIS sends: who reads which message."""

import sqlalchemy as sa
from alembic import op

from mwl.db.types import UtcDateTime

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    _journal()
    _retention()


def _journal() -> None:
    for name in ("listener", "profile"):
        column = sa.Column(name, sa.String(), nullable=False, server_default="")
        op.add_column("message", column)


def _retention() -> None:
    """Add what says how large the journal is, and how far it has been cleared."""
    cursors = ("seen_to", "counted_to", "emptied_to", "removed_to")
    op.create_table(
        "journal_progress",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("claimed_until", UtcDateTime(), nullable=True),
        sa.Column("seen_at", UtcDateTime(), nullable=True),
        *(sa.Column(name, sa.Integer(), nullable=False) for name in cursors),
        sa.PrimaryKeyConstraint("id", name="pk_journal_progress"),
    )
    op.create_table(
        "journal_day",
        sa.Column("day", sa.String(), nullable=False),
        sa.Column("messages", sa.Integer(), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("day", name="pk_journal_day"),
    )
    op.create_table(
        "journal_held",
        sa.Column("message", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("message", name="pk_journal_held"),
    )
