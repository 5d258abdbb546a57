"""What each scanner is shown, and in which letters."""

import sqlalchemy as sa
from alembic import op

from mwl.db.types import Json, UtcDateTime

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    _devices()
    _orders()
    _return_keys()
    _sources()


def _devices() -> None:
    for name in ("zone", "close_images"):
        column = sa.Column(name, sa.String(), nullable=False, server_default="")
        op.add_column("device", column)
    for name, empty in (("aliases", "[]"), ("worklist", "{}"), ("characters", "{}")):
        op.add_column("device", sa.Column(name, Json, nullable=False, server_default=empty))
    revision = sa.Column("revision", sa.Integer(), nullable=False, server_default="0")
    op.add_column("device", revision)
    op.create_index("ix_device_revision", "device", ["revision"])
    op.create_table(
        "device_title",
        sa.Column("ae_title", sa.String(), primary_key=True),
        sa.Column(
            "device",
            sa.Integer(),
            sa.ForeignKey("device.id", ondelete="CASCADE", name="fk_device_title_device_device"),
            primary_key=True,
        ),
        sa.Column("calls", sa.Boolean(), nullable=False),
    )
    op.create_index("ix_device_title_device", "device_title", ["device"])


def _orders() -> None:
    """Add the profile that an order was read by last."""
    profile = sa.Column("profile", sa.String(), nullable=False, server_default="")
    op.add_column("imaging_order", profile)


# What more of the order, the visit and the patient scanners may ask for.
_RETURNED = {
    "patient": ("ethnic_group",),
    "imaging_order": (
        *("referring_physician_id", "requesting_physician_id", "entered_by", "enterer_location"),
        *("callback_phone", "issued_local", "institution", "visit_status", "admitting_date"),
        *("admitting_diagnoses", "admitting_codes"),
    ),
    "requested_procedure": ("code_items", "reason_codes", "recipients", "recipient_ids"),
    "scheduled_step": ("performing_physician_id", "protocol_items"),
}


def _return_keys() -> None:
    for table, names in _RETURNED.items():
        for name in names:
            op.add_column(table, sa.Column(name, sa.String(), nullable=False, server_default=""))


def _sources() -> None:
    """Keep how it went with other worklists, and what was on their lists."""
    op.create_table(
        "worklist_source",
        sa.Column("name", sa.String(), primary_key=True),
        sa.Column("next_at", UtcDateTime, nullable=False),
        sa.Column("asked_at", UtcDateTime, nullable=True),
        sa.Column("succeeded_at", UtcDateTime, nullable=True),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("error", sa.String(), nullable=False),
        sa.Column("counts", Json, nullable=False),
    )
    op.create_table(
        "listed_item",
        sa.Column("source", sa.String(), primary_key=True),
        sa.Column("item", sa.String(), primary_key=True),
        sa.Column("digest", sa.String(), nullable=False),
        sa.Column("vanished", sa.Boolean(), nullable=False),
    )
