"""The worklist, the journal of messages, and the devices."""

import sqlalchemy as sa
from alembic import op

from mwl.db.types import Json, UtcDateTime

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "device",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("ae_title", sa.String(), nullable=False),
        sa.Column("host", sa.String(), nullable=False),
        sa.Column("port", sa.Integer(), nullable=False),
        sa.Column("modality", sa.String(), nullable=False),
        sa.Column("station_name", sa.String(), nullable=False),
        sa.Column("location", sa.String(), nullable=False),
        sa.Column("may", Json, nullable=False),
        sa.Column("origin", sa.String(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("updated_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_device"),
        sa.UniqueConstraint("ae_title", name="uq_device_ae_title"),
    )
    op.create_index("ix_device_modality", "device", ["modality"])

    op.create_table(
        "knock",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("calling_ae_title", sa.String(), nullable=False),
        sa.Column("called_ae_title", sa.String(), nullable=False),
        sa.Column("address", sa.String(), nullable=False),
        sa.Column("admitted", sa.Boolean(), nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.Column("first_at", UtcDateTime(), nullable=False),
        sa.Column("last_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_knock"),
        sa.UniqueConstraint(
            "calling_ae_title",
            "called_ae_title",
            "address",
            name="uq_knock_calling_ae_title_called_ae_title_address",
        ),
    )
    op.create_table(
        "patient",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("patient_id", sa.String(), nullable=False),
        sa.Column("issuer_key", sa.String(), nullable=False),
        sa.Column("issuer", sa.String(), nullable=False),
        sa.Column("patient_name", sa.String(), nullable=False),
        sa.Column("name_key", sa.String(), nullable=False),
        sa.Column("birth_date", sa.String(), nullable=False),
        sa.Column("sex", sa.String(), nullable=False),
        sa.Column("mother_name", sa.String(), nullable=False),
        sa.Column("address", sa.String(), nullable=False),
        sa.Column("phone", sa.String(), nullable=False),
        sa.Column("language", sa.String(), nullable=False),
        sa.Column("medical_alerts", sa.String(), nullable=False),
        sa.Column("allergies", sa.String(), nullable=False),
        sa.Column("comments", sa.String(), nullable=False),
        sa.Column("other_ids", Json, nullable=False),
        sa.Column("merged_into", sa.Integer(), nullable=True),
        sa.Column("applied_at", Json, nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("updated_at", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(["merged_into"], ["patient.id"], name="fk_patient_merged_into"),
        sa.PrimaryKeyConstraint("id", name="pk_patient"),
        sa.UniqueConstraint("patient_id", "issuer_key", name="uq_patient_patient_id_issuer_key"),
    )
    op.create_index("ix_patient_merged_into", "patient", ["merged_into"])
    op.create_index("ix_patient_name_key", "patient", ["name_key"])

    op.create_table(
        "imaging_order",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("patient", sa.Integer(), nullable=False),
        sa.Column("source", sa.String(), nullable=False),
        sa.Column("order_number", sa.String(), nullable=False),
        sa.Column("order_namespace", sa.String(), nullable=False),
        sa.Column("placer_number", sa.String(), nullable=False),
        sa.Column("placer_issuer", sa.String(), nullable=False),
        sa.Column("filler_number", sa.String(), nullable=False),
        sa.Column("filler_issuer", sa.String(), nullable=False),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("admission_id", sa.String(), nullable=False),
        sa.Column("admission_issuer", sa.String(), nullable=False),
        sa.Column("current_patient_location", sa.String(), nullable=False),
        sa.Column("route_of_admissions", sa.String(), nullable=False),
        sa.Column("referring_physician", sa.String(), nullable=False),
        sa.Column("requesting_physician", sa.String(), nullable=False),
        sa.Column("requesting_service", sa.String(), nullable=False),
        sa.Column("pregnancy_status", sa.String(), nullable=False),
        sa.Column("patient_state", sa.String(), nullable=False),
        sa.Column("patient_weight", sa.String(), nullable=False),
        sa.Column("patient_size", sa.String(), nullable=False),
        sa.Column("confidentiality", sa.String(), nullable=False),
        sa.Column("comments", sa.String(), nullable=False),
        sa.Column("applied_at", UtcDateTime(), nullable=True),
        sa.Column("flags", Json, nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("updated_at", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(["patient"], ["patient.id"], name="fk_imaging_order_patient"),
        sa.PrimaryKeyConstraint("id", name="pk_imaging_order"),
        sa.UniqueConstraint(
            "source",
            "order_number",
            "order_namespace",
            name="uq_imaging_order_source_order_number_order_namespace",
        ),
    )
    op.create_index("ix_imaging_order_filler_number", "imaging_order", ["filler_number"])
    op.create_index("ix_imaging_order_patient", "imaging_order", ["patient"])
    op.create_index("ix_imaging_order_placer_number", "imaging_order", ["placer_number"])

    op.create_table(
        "message",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("received_at", UtcDateTime(), nullable=False),
        sa.Column("source", sa.String(), nullable=False),
        sa.Column("peer", sa.String(), nullable=False),
        sa.Column("control_id", sa.String(), nullable=False),
        sa.Column("type", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("ack_code", sa.String(), nullable=False),
        sa.Column("error", sa.String(), nullable=False),
        sa.Column("flags", Json, nullable=False),
        sa.Column("encoding", sa.String(), nullable=False),
        sa.Column("content_hash", sa.LargeBinary(), nullable=False),
        sa.Column("raw", sa.LargeBinary(), nullable=False),
        sa.Column("ack", sa.LargeBinary(), nullable=False),
        sa.Column("imaging_order", sa.Integer(), nullable=True),
        sa.Column("patient", sa.Integer(), nullable=True),
        sa.Column("repeats", sa.Integer(), nullable=False),
        sa.Column("repeated_at", UtcDateTime(), nullable=True),
        sa.ForeignKeyConstraint(
            ["imaging_order"], ["imaging_order.id"], name="fk_message_imaging_order"
        ),
        sa.ForeignKeyConstraint(["patient"], ["patient.id"], name="fk_message_patient"),
        sa.PrimaryKeyConstraint("id", name="pk_message"),
    )
    op.create_index("ix_message_control_id", "message", ["control_id"])
    op.create_index("ix_message_imaging_order", "message", ["imaging_order"])
    op.create_index("ix_message_patient", "message", ["patient"])
    op.create_index("ix_message_received_at", "message", ["received_at"])
    op.create_index(
        "ux_message_accepted",
        "message",
        ["source", "control_id", "content_hash"],
        unique=True,
        sqlite_where=sa.text("ack_code = 'AA'"),
        postgresql_where=sa.text("ack_code = 'AA'"),
    )

    op.create_table(
        "requested_procedure",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("imaging_order", sa.Integer(), nullable=False),
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("requested_procedure_id", sa.String(), nullable=False),
        sa.Column("study_instance_uid", sa.String(), nullable=False),
        sa.Column("accession_number", sa.String(), nullable=False),
        sa.Column("accession_issuer", sa.String(), nullable=False),
        sa.Column("description", sa.String(), nullable=False),
        sa.Column("code_value", sa.String(), nullable=False),
        sa.Column("code_scheme", sa.String(), nullable=False),
        sa.Column("code_meaning", sa.String(), nullable=False),
        sa.Column("priority", sa.String(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("transport", sa.String(), nullable=False),
        sa.Column("comments", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(
            ["imaging_order"],
            ["imaging_order.id"],
            name="fk_requested_procedure_imaging_order",
        ),
        sa.PrimaryKeyConstraint("id", name="pk_requested_procedure"),
        sa.UniqueConstraint(
            "imaging_order", "key", name="uq_requested_procedure_imaging_order_key"
        ),
    )
    op.create_index(
        "ix_requested_procedure_accession_number",
        "requested_procedure",
        ["accession_number"],
    )
    op.create_index(
        "ix_requested_procedure_requested_procedure_id",
        "requested_procedure",
        ["requested_procedure_id"],
    )
    op.create_index(
        "ix_requested_procedure_study_instance_uid",
        "requested_procedure",
        ["study_instance_uid"],
    )

    op.create_table(
        "scheduled_step",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("procedure", sa.Integer(), nullable=False),
        sa.Column("study_instance_uid", sa.String(), nullable=False),
        sa.Column("sps_id", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("state_at", UtcDateTime(), nullable=False),
        sa.Column("modality", sa.String(), nullable=False),
        sa.Column("station_ae_titles", sa.String(), nullable=False),
        sa.Column("station_name", sa.String(), nullable=False),
        sa.Column("location", sa.String(), nullable=False),
        sa.Column("start_at", UtcDateTime(), nullable=False),
        sa.Column("start_local", sa.String(), nullable=False),
        sa.Column("performing_physician", sa.String(), nullable=False),
        sa.Column("performing_physician_key", sa.String(), nullable=False),
        sa.Column("description", sa.String(), nullable=False),
        sa.Column("protocol_value", sa.String(), nullable=False),
        sa.Column("protocol_scheme", sa.String(), nullable=False),
        sa.Column("protocol_meaning", sa.String(), nullable=False),
        sa.Column("pre_medication", sa.String(), nullable=False),
        sa.Column("contrast_agent", sa.String(), nullable=False),
        sa.Column("comments", sa.String(), nullable=False),
        sa.Column("attributes", Json, nullable=False),
        sa.ForeignKeyConstraint(
            ["procedure"], ["requested_procedure.id"], name="fk_scheduled_step_procedure"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_scheduled_step"),
        sa.UniqueConstraint(
            "study_instance_uid", "sps_id", name="uq_scheduled_step_study_instance_uid_sps_id"
        ),
    )
    op.create_index(
        "ix_scheduled_step_modality_start", "scheduled_step", ["modality", "start_local"]
    )
    op.create_index("ix_scheduled_step_procedure", "scheduled_step", ["procedure"])
    op.create_index("ix_scheduled_step_start", "scheduled_step", ["start_local"])
    op.create_index("ix_scheduled_step_state_start", "scheduled_step", ["state", "start_local"])

    op.create_table(
        "step_station",
        sa.Column("step", sa.Integer(), nullable=False),
        sa.Column("ae_title", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(["step"], ["scheduled_step.id"], name="fk_step_station_step"),
        sa.PrimaryKeyConstraint("step", "ae_title", name="pk_step_station"),
    )
    op.create_index("ix_step_station_ae_title", "step_station", ["ae_title"])
