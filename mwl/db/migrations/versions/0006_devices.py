"""What each scanner is shown, and in which letters."""

from collections.abc import Callable
from typing import Any

import sqlalchemy as sa
from alembic import op

from mwl.db.types import Json, UtcDateTime
from mwl.patients import name_key

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    _devices()
    _orders()
    _return_keys()
    _sources()
    _finding()
    _deliveries()


def _devices() -> None:
    for name in ("zone", "close_images"):
        column = sa.Column(name, sa.String(), nullable=False, server_default="")
        op.add_column("device", column)
    for name, empty in (("aliases", "[]"), ("worklist", "{}"), ("characters", "{}")):
        op.add_column("device", sa.Column(name, Json, nullable=False, server_default=empty))
    revision = sa.Column("revision", sa.Integer(), nullable=False, server_default="0")
    op.add_column("device", revision)
    op.create_index("ix_device_revision", "device", ["revision"])
    some = sa.text("close_images <> ''")
    op.create_index(
        "ix_device_close_images",
        "device",
        ["ae_title"],
        sqlite_where=some,
        postgresql_where=some,
    )
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
    """Keep how it goes with other worklists and with folders, and what was on their lists."""
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
        sa.Column("missing_since", UtcDateTime, nullable=True),
    )
    op.create_table(
        "failing_export",
        sa.Column("folder", sa.String(), primary_key=True),
        sa.Column("since", UtcDateTime, nullable=False),
        sa.Column("error", sa.String(), nullable=False),
    )


def _finding() -> None:
    """Let no key of a scanner's query take long, and no accent hide a name."""
    op.drop_index("ix_scheduled_step_state_start", "scheduled_step")
    op.create_index(
        "ix_scheduled_step_state_start",
        "scheduled_step",
        ["state", "start_local"],
        sqlite_where=sa.text("NOT expired"),
        postgresql_where=sa.text("NOT expired"),
    )
    op.create_index(
        "ix_patient_name_groups",
        "patient",
        ["name_key"],
        sqlite_where=sa.text("instr(name_key, '=') > 0"),
        postgresql_where=sa.text("strpos(name_key, '=') > 0"),
    )
    if op.get_bind().dialect.name == "postgresql":
        # A range of what begins alike: the order of a language would tear it apart.
        op.execute('ALTER TABLE patient ALTER COLUMN name_key TYPE varchar COLLATE "C"')
    _refold_names()


def _deliveries() -> None:
    """Find what is told of a subject, and what is forwarded, however much else is told."""
    op.drop_index("ix_delivery_subject", "delivery")
    op.create_index("ix_delivery_subject", "delivery", ["subject", "kind", "destination"])
    forwarded = sa.text("kind IN ('forward', 'mpps')")
    op.create_index(
        "ix_delivery_as_it_came",
        "delivery",
        ["destination", "id"],
        sqlite_where=forwarded,
        postgresql_where=forwarded,
    )


_KEYS = (
    ("patient", "name_key"),
    ("scheduled_step", "performing_physician_key"),
    ("study", "name_key"),
    ("study", "referring_physician_key"),
)


def _refold_names() -> None:
    for table, key in _KEYS:
        _refold(table, sa.column(key, sa.String()), "", name_key)
    former = sa.column("former_names", Json)
    _refold("patient", former, [], lambda names: list(map(name_key, names)))


def _refold(
    table: str, column: sa.ColumnClause[Any], empty: object, fold: Callable[[Any], Any]
) -> None:
    """Make what is folded of names anew, so many at a time; most of it stays as it is."""
    conn = op.get_bind()
    rows = sa.table(table, sa.column("id"), column)
    page = sa.select(rows).where(rows.c.id > sa.bindparam("after"), column != empty)
    page = page.order_by(rows.c.id).limit(1000)
    put = sa.update(rows).where(rows.c.id == sa.bindparam("row"))
    put = put.values({column.name: sa.bindparam("folded", type_=column.type)})
    after = 0
    while found := conn.execute(page, {"after": after}).all():
        for row, old in found:
            if (new := fold(old)) != old:
                conn.execute(put, {"row": row, "folded": new})
        after = found[-1][0]
