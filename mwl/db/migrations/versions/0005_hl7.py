"""What any RIS sends: who reads which message."""

import sqlalchemy as sa
from alembic import op

from mwl.db.types import Json, UtcDateTime

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    _journal()
    _patients()
    _reports()
    _retention()
    _lengths()


def _journal() -> None:
    for name in ("listener", "profile"):
        column = sa.Column(name, sa.String(), nullable=False, server_default="")
        op.add_column("message", column)


def _retention() -> None:
    """Add what says how large the journal is, and how far it has been cleared."""
    cursors = ("seen_to", "counted_to", "emptied_to", "removed_to", "held_to")
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


def _lengths() -> None:
    """Add what the short identifiers of ours stand for."""
    op.create_table(
        "short_identifier",
        *(sa.Column(name, sa.String(), nullable=False) for name in ("short", "long")),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("short", name="pk_short_identifier"),
    )


def _reports() -> None:
    """Add reports of examinations, and what is in them."""
    texts = ("code", "title", "status", "interpreter", "others", "patient_id", "issuer_key")
    named = ("issuer", "patient_name", "birth_date", "accession_number", "placer_number")
    further = ("filler_number", "study_instance_uid", "linked_by", "control_id")
    op.create_table(
        "report",
        sa.Column("id", sa.Integer(), nullable=False),
        *(sa.Column(name, sa.String(), nullable=False) for name in ("source", "number")),
        *(sa.Column(name, sa.String(), nullable=False) for name in (*texts, *named, *further)),
        sa.Column("issued_at", UtcDateTime(), nullable=True),
        sa.Column("imaging_order", sa.Integer(), nullable=True),
        sa.Column("patient", sa.Integer(), nullable=True),
        sa.Column("superseded_by", sa.Integer(), nullable=True),
        sa.Column("completes", sa.Boolean(), nullable=False),
        sa.Column("flags", Json, nullable=False),
        sa.Column("content_hash", sa.LargeBinary(), nullable=False),
        sa.Column("sent_at", UtcDateTime(), nullable=True),
        sa.Column("received_at", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["imaging_order"], ["imaging_order.id"], name="fk_report_imaging_order"
        ),
        sa.ForeignKeyConstraint(["patient"], ["patient.id"], name="fk_report_patient"),
        sa.ForeignKeyConstraint(["superseded_by"], ["report.id"], name="fk_report_superseded_by"),
        sa.PrimaryKeyConstraint("id", name="pk_report"),
    )
    op.create_index("ix_report_identity", "report", ["source", "number", "code"])
    for name in ("received_at", "patient_id", "accession_number"):
        op.create_index(f"ix_report_{name}", "report", [name])
    op.create_index("ix_report_status", "report", ["status", "received_at"])
    for name, columns, rows in (
        ("unlinked", ["received_at", "id"], "imaging_order IS NULL"),
        ("imaging_order", ["imaging_order"], "imaging_order IS NOT NULL"),
        ("patient", ["patient"], "patient IS NOT NULL"),
    ):
        only = sa.text(rows)
        op.create_index(
            f"ix_report_{name}", "report", columns, sqlite_where=only, postgresql_where=only
        )
    op.create_table(
        "report_document",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("report", sa.Integer(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        *(
            sa.Column(name, sa.String(), nullable=False)
            for name in ("kind", "label", "media_type", "abnormal")
        ),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["report"], ["report.id"], name="fk_report_document_report"),
        sa.PrimaryKeyConstraint("id", name="pk_report_document"),
    )
    op.create_index("ix_report_document_report", "report_document", ["report", "position"])
    if op.get_bind().dialect.name == "postgresql":
        # What is long is compressed already, in base64 too; to try it takes half a second for
        # ten megabytes, while the sender waits.
        for table, column in (("message", "raw"), ("report_document", "content")):
            op.execute(f"ALTER TABLE {table} ALTER COLUMN {column} SET STORAGE EXTERNAL")


def _patients() -> None:
    """Add how patients belong together, and what is known of their visits."""
    empty = sa.text("'{}'")
    op.add_column("patient", sa.Column("visits", Json, nullable=False, server_default=empty))
    op.add_column("imaging_order", sa.Column("stated_patient", sa.Integer(), nullable=True))
    op.add_column("imaging_order", sa.Column("visit_at", UtcDateTime(), nullable=True))
    op.execute("UPDATE imaging_order SET stated_patient = patient")
    rows = ("loser", "survivor", "prior")
    op.create_table(
        "patient_merge",
        sa.Column("id", sa.Integer(), nullable=False),
        *(sa.Column(name, sa.Integer(), nullable=False) for name in rows),
        *(sa.Column(name, sa.String(), nullable=False) for name in ("source", "control_id")),
        *(sa.Column(name, UtcDateTime(), nullable=False) for name in ("stated_at", "applied_at")),
        sa.Column("renumbered", sa.Boolean(), nullable=False),
        *(
            sa.Column(name, Json, nullable=False)
            for name in ("moved", "counts", "visits", "former")
        ),
        sa.Column("ended_at", UtcDateTime(), nullable=True),
        sa.Column("ended_by", sa.String(), nullable=False),
        *(
            sa.ForeignKeyConstraint([name], ["patient.id"], name=f"fk_patient_merge_{name}")
            for name in rows
        ),
        sa.PrimaryKeyConstraint("id", name="pk_patient_merge"),
    )
    for name in rows:
        op.create_index(f"ix_patient_merge_{name}", "patient_merge", [name])
    op.create_table(
        "patient_link",
        sa.Column("id", sa.Integer(), nullable=False),
        *(sa.Column(name, sa.Integer(), nullable=False) for name in ("one", "other")),
        sa.Column("linked", sa.Boolean(), nullable=False),
        sa.Column("source", sa.String(), nullable=False),
        sa.Column("stated_at", UtcDateTime(), nullable=False),
        *(
            sa.ForeignKeyConstraint([name], ["patient.id"], name=f"fk_patient_link_{name}")
            for name in ("one", "other")
        ),
        sa.PrimaryKeyConstraint("id", name="pk_patient_link"),
        sa.UniqueConstraint("one", "other", name="uq_patient_link_one_other"),
    )
    op.create_index("ix_patient_link_other", "patient_link", ["other"])
