"""Journals of many messages, filled in bulk, for benchmarks.

Ten messages are about each order, one of four a patient's alone. Control IDs are what senders
make of them: three of four count, the others draw lots. A row is small: 300 bytes of message.
"""

from datetime import UTC, datetime

from mwl.db import Database
from tests.bench import filling

PER_ORDER = 10
LAST = datetime(2030, 1, 2, 12, tzinfo=UTC)
GAP_S = 0.7  # between two messages: ten million come in 81 days

_OF_SENDER = "CASE n % 4 WHEN 0 THEN {0} ELSE {1} END"
_OF_REFUSED = "CASE WHEN n % 5000 = 7 THEN {0} ELSE {1} END"
_ORDER = f"(n - 1) / {PER_ORDER} + 1"

_COLUMNS: dict[str, dict[str, str]] = {
    "patient": {"patient_id": "'P' || n", "patient_name": "'Doe^Number' || n"},
    "imaging_order": {
        "patient": "n",
        "source": "'RIS^HOSPITAL'",
        "order_number": "'F' || n",
        "placer_number": "'O' || n",
        "filler_number": "'F' || n",
        "status": "'CLOSED'",
    },
    "requested_procedure": {
        "imaging_order": "n",
        "key": "'RP' || n",
        "requested_procedure_id": "'RP' || n",
        "study_instance_uid": "'1.2.3.' || n",
        "accession_number": "'ACC' || n",
    },
    "message": {
        "received_at": "{at}",
        "source": _OF_SENDER.format("'ADT^HOSPITAL'", "'RIS^HOSPITAL'"),
        "peer": "'10.0.0.5:50000'",
        "control_id": _OF_SENDER.format("{lot}", "'C' || n"),
        "type": _OF_SENDER.format("'ADT^A08'", "'ORM^O01'"),
        "state": _OF_REFUSED.format("'rejected'", "'applied'"),
        "ack_code": _OF_REFUSED.format("'AE'", "'AA'"),
        "error": _OF_REFUSED.format("'PID-3.1: is missing'", "''"),
        "flags": """CASE WHEN n % 10000 = 9 THEN '["OBR-4.2: shortened"]' ELSE '[]' END{json}""",
        "encoding": "'utf-8'",
        "profile": "'default'",
        "content_hash": "{digest}",
        "raw": "{raw}",
        "ack": "{ack}",
        "imaging_order": _OF_SENDER.format("NULL", _ORDER),
        "patient": _ORDER,
    },
}
_SAID = {
    "sqlite": {
        "now": f"{round(LAST.timestamp() * 1e6)}",
        "at": f"{round(LAST.timestamp() * 1e6)} - ({{count}} - n) * {round(GAP_S * 1e6)}",
        "lot": "hex(randomblob(10))",
        "json": "",
        "digest": "randomblob(32)",
        "raw": "CAST('MSH|^~\\&|RIS|HOSPITAL|' || hex(randomblob(140)) AS BLOB)",
        "ack": "CAST('MSH|^~\\&|MWL||RIS|HOSPITAL|||ACK|' || n || '|P|2.5' AS BLOB)",
    },
    "postgresql": {
        "now": f"to_timestamp({LAST.timestamp()})",
        "at": f"to_timestamp({LAST.timestamp()} - ({{count}} - n) * {GAP_S})",
        "lot": "replace(gen_random_uuid()::text, '-', '')",
        "json": "::jsonb",
        "digest": "sha256(n::text::bytea)",
        "raw": "convert_to('MSH|^~&|RIS|HOSPITAL|' || "
        + " || ".join(f"md5('{n}' || n)" for n in range(9))
        + ", 'UTF8')",
        "ack": "convert_to('MSH|^~&|MWL||RIS|HOSPITAL|||ACK|' || n || '|P|2.5', 'UTF8')",
    },
}


def fill(database: Database, count: int) -> None:
    """Insert `count` messages, and the orders and patients that they are about."""
    words = {**_SAID[database.dialect], "count": str(count)}
    rows = {table: count if table == "message" else count // PER_ORDER for table in _COLUMNS}
    tables = {table: (columns, rows[table]) for table, columns in _COLUMNS.items()}
    filling.fill(database, tables, words, "message")
