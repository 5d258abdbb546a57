"""Performed steps, the archive, storage commitment, deliveries, and how orders end."""

import sqlalchemy as sa
from alembic import op

from mwl.db.types import Json, UtcDateTime

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:

    op.create_table(
        "commitment",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("transaction_uid", sa.String(), nullable=False),
        sa.Column("items_digest", sa.LargeBinary(), nullable=False),
        sa.Column("ae_title", sa.String(), nullable=False),
        sa.Column("called_ae_title", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("may_call", sa.Boolean(), nullable=False),
        sa.Column("held_by", sa.String(), nullable=False),
        sa.Column("held_until", UtcDateTime(), nullable=True),
        sa.Column("received_at", UtcDateTime(), nullable=False),
        sa.Column("wait_until", UtcDateTime(), nullable=False),
        sa.Column("next_at", UtcDateTime(), nullable=False),
        sa.Column("claimed_by", sa.String(), nullable=False),
        sa.Column("claimed_until", UtcDateTime(), nullable=True),
        sa.Column("reported_at", UtcDateTime(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_commitment"),
        sa.UniqueConstraint(
            "ae_title",
            "transaction_uid",
            "items_digest",
            name="uq_commitment_ae_title_transaction_uid_items_digest",
        ),
    )
    op.create_index("ix_commitment_state_next_at", "commitment", ["state", "next_at"])
    op.create_table(
        "delivery",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("destination", sa.String(), nullable=False),
        sa.Column("subject", sa.String(), nullable=False),
        sa.Column("payload", Json, nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("control_id", sa.String(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("next_at", UtcDateTime(), nullable=False),
        sa.Column("claimed_by", sa.String(), nullable=False),
        sa.Column("claimed_until", UtcDateTime(), nullable=True),
        sa.Column("error", sa.String(), nullable=False),
        sa.Column("answer", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("done_at", UtcDateTime(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_delivery"),
    )
    op.create_index(
        "ix_delivery_claimed",
        "delivery",
        ["destination", "kind"],
        sqlite_where=sa.text("claimed_by <> ''"),
        postgresql_where=sa.text("claimed_by <> ''"),
    )
    op.create_index(
        "ix_delivery_open",
        "delivery",
        ["state", "id"],
        sqlite_where=sa.text("state <> 'done'"),
        postgresql_where=sa.text("state <> 'done'"),
    )
    op.create_index("ix_delivery_subject", "delivery", ["subject"])
    op.create_index(
        "ix_delivery_waiting",
        "delivery",
        ["destination", "kind", "id"],
        sqlite_where=sa.text("state = 'waiting'"),
        postgresql_where=sa.text("state = 'waiting'"),
    )
    op.create_table(
        "performed_step",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("sop_instance_uid", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("ae_title", sa.String(), nullable=False),
        sa.Column("station_ae_title", sa.String(), nullable=False),
        sa.Column("modality", sa.String(), nullable=False),
        sa.Column("patient_id", sa.String(), nullable=False),
        sa.Column("patient_id_issuer", sa.String(), nullable=False),
        sa.Column("patient_name", sa.String(), nullable=False),
        sa.Column("study_instance_uid", sa.String(), nullable=False),
        sa.Column("accession_number", sa.String(), nullable=False),
        sa.Column("performed_step_id", sa.String(), nullable=False),
        sa.Column("start_local", sa.String(), nullable=False),
        sa.Column("end_local", sa.String(), nullable=False),
        sa.Column("discontinuation", sa.String(), nullable=False),
        sa.Column("requests", Json, nullable=False),
        sa.Column("unscheduled", sa.Boolean(), nullable=False),
        sa.Column("flags", Json, nullable=False),
        sa.Column("ended_by", sa.String(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("updated_at", UtcDateTime(), nullable=False),
        sa.Column("final_at", UtcDateTime(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_performed_step"),
        sa.UniqueConstraint("sop_instance_uid", name="uq_performed_step_sop_instance_uid"),
    )
    op.create_index("ix_performed_step_accession_number", "performed_step", ["accession_number"])
    op.create_index("ix_performed_step_patient_id", "performed_step", ["patient_id"])
    op.create_index("ix_performed_step_state_created", "performed_step", ["state", "created_at"])
    op.create_index(
        "ix_performed_step_unscheduled",
        "performed_step",
        ["id"],
        sqlite_where=sa.text("unscheduled"),
        postgresql_where=sa.text("unscheduled"),
    )
    op.create_index(
        "ix_performed_step_study_instance_uid", "performed_step", ["study_instance_uid"]
    )
    op.create_table(
        "performed_instance",
        sa.Column("performed_step", sa.Integer(), nullable=False),
        sa.Column("sop_instance_uid", sa.String(), nullable=False),
        sa.Column("sop_class_uid", sa.String(), nullable=False),
        sa.Column("series_instance_uid", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(
            ["performed_step"], ["performed_step.id"], name="fk_performed_instance_performed_step"
        ),
        sa.PrimaryKeyConstraint("performed_step", "sop_instance_uid", name="pk_performed_instance"),
    )
    op.create_index(
        "ix_performed_instance_sop_instance_uid", "performed_instance", ["sop_instance_uid"]
    )
    op.create_table(
        "performed_message",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("performed_step", sa.Integer(), nullable=False),
        sa.Column("operation", sa.String(), nullable=False),
        sa.Column("ae_title", sa.String(), nullable=False),
        sa.Column("received_at", UtcDateTime(), nullable=False),
        sa.Column("transfer_syntax", sa.String(), nullable=False),
        sa.Column("data_set", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["performed_step"], ["performed_step.id"], name="fk_performed_message_performed_step"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_performed_message"),
    )
    op.create_index("ix_performed_message_performed_step", "performed_message", ["performed_step"])
    op.create_table(
        "study",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("study_instance_uid", sa.String(), nullable=False),
        sa.Column("patient_id", sa.String(), nullable=False),
        sa.Column("patient_id_issuer", sa.String(), nullable=False),
        sa.Column("patient_name", sa.String(), nullable=False),
        sa.Column("name_key", sa.String(), nullable=False),
        sa.Column("birth_date", sa.String(), nullable=False),
        sa.Column("sex", sa.String(), nullable=False),
        sa.Column("accession_number", sa.String(), nullable=False),
        sa.Column("study_id", sa.String(), nullable=False),
        sa.Column("study_date", sa.String(), nullable=False),
        sa.Column("study_time", sa.String(), nullable=False),
        sa.Column("description", sa.String(), nullable=False),
        sa.Column("referring_physician", sa.String(), nullable=False),
        sa.Column("referring_physician_key", sa.String(), nullable=False),
        sa.Column("requested_procedure", sa.Integer(), nullable=True),
        sa.Column("matched_by", sa.String(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["requested_procedure"], ["requested_procedure.id"], name="fk_study_requested_procedure"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_study"),
        sa.UniqueConstraint("study_instance_uid", name="uq_study_study_instance_uid"),
    )
    op.create_index("ix_study_accession_number", "study", ["accession_number"])
    op.create_index("ix_study_created_at", "study", ["created_at"])
    op.create_index("ix_study_date", "study", ["study_date", "id"])
    op.create_index(
        "ix_study_unmatched",
        "study",
        ["id"],
        sqlite_where=sa.text("requested_procedure IS NULL"),
        postgresql_where=sa.text("requested_procedure IS NULL"),
    )
    op.create_index("ix_study_name_key", "study", ["name_key"])
    op.create_index("ix_study_patient_id", "study", ["patient_id"])
    op.create_index("ix_study_requested_procedure", "study", ["requested_procedure"])
    op.create_table(
        "performed_link",
        sa.Column("performed_step", sa.Integer(), nullable=False),
        sa.Column("scheduled_step", sa.Integer(), nullable=False),
        sa.Column("by", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(
            ["performed_step"], ["performed_step.id"], name="fk_performed_link_performed_step"
        ),
        sa.ForeignKeyConstraint(
            ["scheduled_step"], ["scheduled_step.id"], name="fk_performed_link_scheduled_step"
        ),
        sa.PrimaryKeyConstraint("performed_step", "scheduled_step", name="pk_performed_link"),
    )
    op.create_index("ix_performed_link_scheduled_step", "performed_link", ["scheduled_step"])
    op.create_table(
        "series",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("study", sa.Integer(), nullable=False),
        sa.Column("series_instance_uid", sa.String(), nullable=False),
        sa.Column("modality", sa.String(), nullable=False),
        sa.Column("series_number", sa.String(), nullable=False),
        sa.Column("description", sa.String(), nullable=False),
        sa.Column("body_part", sa.String(), nullable=False),
        sa.Column("series_date", sa.String(), nullable=False),
        sa.Column("series_time", sa.String(), nullable=False),
        sa.Column("station_name", sa.String(), nullable=False),
        sa.Column("request", Json, nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(["study"], ["study.id"], name="fk_series_study"),
        sa.PrimaryKeyConstraint("id", name="pk_series"),
        sa.UniqueConstraint(
            "study", "series_instance_uid", name="uq_series_study_series_instance_uid"
        ),
    )
    op.create_index("ix_series_series_instance_uid", "series", ["series_instance_uid"])
    op.create_table(
        "instance",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("series", sa.Integer(), nullable=False),
        sa.Column("sop_instance_uid", sa.String(), nullable=False),
        sa.Column("sop_class_uid", sa.String(), nullable=False),
        sa.Column("instance_number", sa.String(), nullable=False),
        sa.Column("rows", sa.Integer(), nullable=True),
        sa.Column("columns", sa.Integer(), nullable=True),
        sa.Column("frames", sa.Integer(), nullable=True),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(["series"], ["series.id"], name="fk_instance_series"),
        sa.PrimaryKeyConstraint("id", name="pk_instance"),
        sa.UniqueConstraint("sop_instance_uid", name="uq_instance_sop_instance_uid"),
    )
    op.create_index("ix_instance_series", "instance", ["series"])
    op.create_table(
        "stored_object",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("instance", sa.Integer(), nullable=True),
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("data_set_offset", sa.Integer(), nullable=False),
        sa.Column("sha256", sa.LargeBinary(), nullable=False),
        sa.Column("transfer_syntax", sa.String(), nullable=False),
        sa.Column("source", sa.String(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("study_instance_uid", sa.String(), nullable=False),
        sa.Column("series_instance_uid", sa.String(), nullable=False),
        sa.Column("sop_instance_uid", sa.String(), nullable=False),
        sa.Column("sop_class_uid", sa.String(), nullable=False),
        sa.Column("patient_id", sa.String(), nullable=False),
        sa.Column("received_at", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(["instance"], ["instance.id"], name="fk_stored_object_instance"),
        sa.PrimaryKeyConstraint("id", name="pk_stored_object"),
        sa.UniqueConstraint("key", name="uq_stored_object_key"),
    )
    op.create_index("ix_stored_object_instance", "stored_object", ["instance"])
    op.create_index(
        "ix_stored_object_set_aside",
        "stored_object",
        ["state", "sop_instance_uid"],
        sqlite_where=sa.text("state <> 'served'"),
        postgresql_where=sa.text("state <> 'served'"),
    )
    op.create_table(
        "commitment_item",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("commitment", sa.Integer(), nullable=False),
        sa.Column("sop_class_uid", sa.String(), nullable=False),
        sa.Column("sop_instance_uid", sa.String(), nullable=False),
        sa.Column("failure", sa.Integer(), nullable=True),
        sa.Column("stored_object", sa.Integer(), nullable=True),
        sa.ForeignKeyConstraint(
            ["commitment"], ["commitment.id"], name="fk_commitment_item_commitment"
        ),
        sa.ForeignKeyConstraint(
            ["stored_object"], ["stored_object.id"], name="fk_commitment_item_stored_object"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_commitment_item"),
    )
    op.create_index("ix_commitment_item_commitment", "commitment_item", ["commitment"])
    op.create_index("ix_commitment_item_sop_instance_uid", "commitment_item", ["sop_instance_uid"])
    op.add_column(
        "device", sa.Column("mpps", sa.Boolean(), nullable=False, server_default=sa.true())
    )
    op.add_column(
        "device", sa.Column("commit_report", sa.String(), nullable=False, server_default="new")
    )
    op.add_column("imaging_order", sa.Column("closed_at", UtcDateTime(), nullable=True))
    op.add_column(
        "imaging_order", sa.Column("closed_by", sa.String(), nullable=False, server_default="")
    )
    op.add_column("imaging_order", sa.Column("expired_at", UtcDateTime(), nullable=True))
    op.add_column("imaging_order", sa.Column("revived_at", UtcDateTime(), nullable=True))
    op.add_column("imaging_order", sa.Column("check_at", UtcDateTime(), nullable=True))
    op.create_index(
        "ix_imaging_order_check_at",
        "imaging_order",
        ["check_at"],
        sqlite_where=sa.text("check_at IS NOT NULL"),
        postgresql_where=sa.text("check_at IS NOT NULL"),
    )
    op.add_column(
        "scheduled_step",
        sa.Column("expired", sa.Boolean(), nullable=False, server_default=sa.false()),
    )
