"""Accounts, sessions, tokens, the audit trail, what scanners were shown, who was here when."""

import sqlalchemy as sa
from alembic import op

from mwl.db.types import Json, UtcDateTime

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "account",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("role", sa.String(), nullable=False),
        sa.Column("password_hash", sa.String(), nullable=False),
        sa.Column("must_change", sa.Boolean(), nullable=False),
        sa.Column("disabled", sa.Boolean(), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("locked_until", UtcDateTime(), nullable=True),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("signed_in_at", UtcDateTime(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_account"),
        sa.UniqueConstraint("name", name="uq_account_name"),
    )
    op.create_table(
        "audit_event",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.Column("who", sa.String(), nullable=False),
        sa.Column("role", sa.String(), nullable=False),
        sa.Column("address", sa.String(), nullable=False),
        sa.Column("action", sa.String(), nullable=False),
        sa.Column("subject", sa.String(), nullable=False),
        sa.Column("detail", Json, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_audit_event"),
    )
    op.create_index("ix_audit_event_action", "audit_event", ["action", "at", "id"])
    op.create_index("ix_audit_event_address", "audit_event", ["address", "at", "id"])
    op.create_index("ix_audit_event_at", "audit_event", ["at", "id"])
    op.create_index("ix_audit_event_subject", "audit_event", ["subject", "at", "id"])
    op.create_index("ix_audit_event_who", "audit_event", ["who", "at", "id"])
    op.create_table(
        "secret",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("value", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_secret"),
    )
    op.create_table(
        "token",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("role", sa.String(), nullable=False),
        sa.Column("token_hash", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("expires_at", UtcDateTime(), nullable=True),
        sa.Column("used_at", UtcDateTime(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_token"),
        sa.UniqueConstraint("name", name="uq_token_name"),
        sa.UniqueConstraint("token_hash", name="uq_token_token_hash"),
    )
    op.create_table(
        "web_session",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("token_hash", sa.LargeBinary(), nullable=False),
        sa.Column("account", sa.Integer(), nullable=False),
        sa.Column("address", sa.String(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("seen_at", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(["account"], ["account.id"], name="fk_web_session_account"),
        sa.PrimaryKeyConstraint("id", name="pk_web_session"),
        sa.UniqueConstraint("token_hash", name="uq_web_session_token_hash"),
    )
    op.create_index("ix_web_session_account", "web_session", ["account"])
    op.create_table(
        "sighting",
        sa.Column("step", sa.Integer(), nullable=False),
        sa.Column("ae_title", sa.String(), nullable=False),
        sa.Column("address", sa.String(), nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.Column("first_at", UtcDateTime(), nullable=False),
        sa.Column("last_at", UtcDateTime(), nullable=False),
        sa.Column("shown", Json, nullable=False),
        sa.ForeignKeyConstraint(["step"], ["scheduled_step.id"], name="fk_sighting_step"),
        sa.PrimaryKeyConstraint("step", "ae_title", name="pk_sighting"),
    )
    op.create_index("ix_sighting_last_at", "sighting", ["last_at"])
    op.add_column("device", sa.Column("seen_at", UtcDateTime(), nullable=True))
    op.add_column(
        "device", sa.Column("seen_address", sa.String(), nullable=False, server_default="")
    )
    op.create_index("ix_message_feed", "message", ["source", "state", "received_at"])
    op.create_index("ix_series_modality", "series", ["modality", "study"])
    op.create_index("ix_instance_created_at", "instance", ["created_at"])
    op.add_column("message", sa.Column("changes", Json, nullable=False, server_default="{}"))
    op.create_table(
        "message_order",
        sa.Column("message", sa.Integer(), nullable=False),
        sa.Column("imaging_order", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["message"], ["message.id"], name="fk_message_order_message"),
        sa.ForeignKeyConstraint(
            ["imaging_order"], ["imaging_order.id"], name="fk_message_order_imaging_order"
        ),
        sa.PrimaryKeyConstraint("message", "imaging_order", name="pk_message_order"),
    )
    op.create_index("ix_message_order_imaging_order", "message_order", ["imaging_order"])
    for name in ("patient_id", "accession_number"):
        op.add_column("message", sa.Column(name, sa.String(), nullable=False, server_default=""))
    op.add_column("message", sa.Column("replay_of", sa.Integer(), nullable=True))
    op.create_index("ix_message_type", "message", ["type", "received_at"])
    _index_some("ix_message_unapplied", "message", ["state", "received_at"], "state <> 'applied'")
    _index_some("ix_message_flagged", "message", ["received_at"], "flags <> '[]'")
    _index_some("ix_message_patient_id", "message", ["patient_id"], "patient_id <> ''")
    _index_some(
        "ix_message_accession_number", "message", ["accession_number"], "accession_number <> ''"
    )
    _index_some("ix_message_replay_of", "message", ["replay_of"], "replay_of IS NOT NULL")
    op.create_index("ix_delivery_destination", "delivery", ["destination", "id"])
    _index_some("ix_imaging_order_flagged", "imaging_order", ["id"], "flags <> '[]'")
    under_way = "status IN ('IN_PROGRESS', 'COMPLETED')"
    _index_some("ix_imaging_order_under_way", "imaging_order", ["id"], under_way)
    _index_some("ix_scheduled_step_expired", "scheduled_step", ["start_local"], "expired")


def _index_some(name: str, table: str, columns: list[str], condition: str) -> None:
    """Index the rows that meet a condition alone."""
    where = sa.text(condition)
    op.create_index(name, table, columns, sqlite_where=where, postgresql_where=where)
