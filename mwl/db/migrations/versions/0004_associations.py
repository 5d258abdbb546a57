"""Live associations, what devices are over TLS, whose studies are, as patients are now."""

import sqlalchemy as sa
from alembic import op

from mwl.db.types import Json, UtcDateTime
from mwl.names import words_key

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "dicom_server",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("place", sa.String(), nullable=False),
        sa.Column("asked", sa.Integer(), nullable=False),
        sa.Column("beat_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_dicom_server"),
        sa.UniqueConstraint("place", name="uq_dicom_server_place"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "live_association",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("server", sa.Integer(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("address", sa.String(), nullable=False),
        sa.Column("calling_ae_title", sa.String(), nullable=False),
        sa.Column("called_ae_title", sa.String(), nullable=False),
        sa.Column("tls", sa.Boolean(), nullable=False),
        sa.Column("contexts", Json, nullable=False),
        sa.Column("operation", sa.String(), nullable=False),
        sa.Column("received_bytes", sa.BigInteger(), nullable=False),
        sa.Column("sent_bytes", sa.BigInteger(), nullable=False),
        sa.Column("messages", sa.Integer(), nullable=False),
        sa.Column("ending", sa.Boolean(), nullable=False),
        sa.Column("since", UtcDateTime(), nullable=False),
        sa.Column("changed_at", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(["server"], ["dicom_server.id"], name="fk_live_association_server"),
        sa.PrimaryKeyConstraint("id", name="pk_live_association"),
        sa.UniqueConstraint("server", "number", name="uq_live_association_server_number"),
        sqlite_autoincrement=True,
    )
    op.add_column("device", sa.Column("tls", sa.Boolean(), nullable=False, server_default="0"))
    op.add_column(
        "device", sa.Column("certificate", sa.String(), nullable=False, server_default="")
    )
    op.add_column("device", sa.Column("oddities", Json, nullable=False, server_default="[]"))
    op.add_column("patient", sa.Column("former_names", Json, nullable=False, server_default="[]"))
    op.add_column("study", sa.Column("patient", sa.Integer(), nullable=True))
    op.add_column("study", sa.Column("coerced", sa.Boolean(), nullable=False, server_default="0"))
    op.add_column("study", sa.Column("as_received", Json, nullable=False, server_default="{}"))
    op.create_index("ix_study_patient", "study", ["patient"])
    op.create_index("ix_audit_event_who_action", "audit_event", ["who", "action", "at", "id"])
    op.drop_index("ix_study_patient_id", "study")
    op.create_index("ix_study_patient_id", "study", ["patient_id", "patient_id_issuer", "id"])
    op.drop_index("ix_stored_object_instance", "stored_object")
    op.create_index("ix_stored_object_instance", "stored_object", ["instance", "state"])
    op.create_index(
        "ix_study_name_groups",
        "study",
        ["name_key"],
        sqlite_where=sa.text("instr(name_key, '=') > 0"),
        postgresql_where=sa.text("strpos(name_key, '=') > 0"),
    )
    op.execute(_WHOSE)
    for table, name, words in _NAMES:
        op.add_column(table, sa.Column(words, sa.String(), nullable=False, server_default=""))
        _fill(table, name, words)


# Names that fuzzy queries look for, and the columns for their words.
_NAMES = (
    ("patient", "patient_name", "name_words"),
    ("scheduled_step", "performing_physician", "performing_physician_words"),
    ("study", "patient_name", "name_words"),
    ("study", "referring_physician", "referring_physician_words"),
)


def _fill(table: str, name: str, words: str) -> None:
    """Make the words of the names that are there, so many at a time."""
    conn = op.get_bind()
    rows = sa.table(table, sa.column("id"), sa.column(name), sa.column(words))
    page = (
        sa.select(rows.c.id, rows.c[name])
        .where(rows.c.id > sa.bindparam("after"), rows.c[name] != "")
        .order_by(rows.c.id)
        .limit(1000)
    )
    put = sa.update(rows).where(rows.c.id == sa.bindparam("row"))
    put = put.values({words: sa.bindparam("key")})
    after = 0
    while found := conn.execute(page, {"after": after}).all():
        conn.execute(put, [{"row": row, "key": words_key(text)} for row, text in found])
        after = found[-1][0]


# A linked study is the patient's of its order; what changed before stays as the images say.
_WHOSE = """
UPDATE study SET patient = (
    SELECT imaging_order.patient FROM requested_procedure
    JOIN imaging_order ON imaging_order.id = requested_procedure.imaging_order
    WHERE requested_procedure.id = study.requested_procedure
) WHERE requested_procedure IS NOT NULL
"""
