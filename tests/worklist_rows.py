"""Worklist rows for tests: plausible by default, each column open to an override.

    item(7, "CT1", step={"modality": "MR"}, patient={"patient_name": "Doe^Jane"})

gives the rows of one order with one procedure and one step on station CT1; `insert_items`
writes many at once, far faster than orders would be applied.
"""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import insert
from sqlmodel import Session, SQLModel

from mwl.db.tables import StepStation
from mwl.names import words_key
from mwl.patients import name_key

NOW = datetime(2030, 1, 2, 8, 0, tzinfo=UTC)

Row = dict[str, Any]
Item = dict[str, Row]
_BLANKS = {
    **dict.fromkeys(("created_at", "updated_at", "state_at", "start_at"), NOW),
    **dict.fromkeys(("merged_into", "closed_at", "expired_at", "revived_at", "check_at")),
    "expired": False,
    "other_ids": [],
    "flags": [],
    "attributes": {},
    "visits": {},
    "former_names": [],
}
# Each table with the column by which its rows belong to the one before.
_TABLES = {
    "patient": "",
    "imaging_order": "patient",
    "requested_procedure": "imaging_order",
    "scheduled_step": "procedure",
}


def item(
    number: int = 1,
    *stations: str,
    patient: Mapping[str, Any] | None = None,
    order: Mapping[str, Any] | None = None,
    procedure: Mapping[str, Any] | None = None,
    step: Mapping[str, Any] | None = None,
) -> Item:
    """Make one item that is told from others by `number`."""
    study_uid = f"1.2.826.0.1.3680043.8.498.{number}"
    rows: Item = {
        "patient": {
            "patient_id": f"P{number}",
            "issuer": "HOSP",
            "issuer_key": "HOSP",
            "patient_name": f"Doe^Number{number}",
            "birth_date": "19800229",
            "sex": "F",
            "applied_at": {},
            **(patient or {}),
        },
        "imaging_order": {
            "source": "TEST",
            "order_number": f"F{number}",
            "status": "SCHEDULED",
            "applied_at": None,
            **(order or {}),
        },
        "requested_procedure": {
            "key": f"RP{number}",
            "requested_procedure_id": f"RP{number}",
            "study_instance_uid": study_uid,
            "accession_number": f"ACC{number}",
            "description": "CT head",
            "code_value": "CTHEAD",
            "code_scheme": "99RIS",
            "code_meaning": "CT of the head",
            **(procedure or {}),
        },
        "scheduled_step": {
            "study_instance_uid": study_uid,
            "sps_id": f"SPS{number}",
            "state": "SCHEDULED",
            "modality": "CT",
            "start_local": "20300102093000",
            "description": "Head without contrast",
            "station_ae_titles": "\\".join(stations),
            **(step or {}),
        },
    }
    person, exam = rows["patient"], rows["scheduled_step"]
    person.setdefault("name_key", name_key(person["patient_name"]))
    person.setdefault("name_words", words_key(person["patient_name"]))
    physician = exam.get("performing_physician", "")
    exam.setdefault("performing_physician_key", name_key(physician))
    exam.setdefault("performing_physician_words", words_key(physician))
    return {name: _whole(name, row) for name, row in rows.items()}


def _whole(table: str, row: Row) -> Row:
    columns = {c.name for c in SQLModel.metadata.tables[table].c} - {"id", _TABLES[table]}
    assert row.keys() <= columns, f"{table} has no {row.keys() - columns}"
    empties = {c.name: None if c.nullable else "" for c in SQLModel.metadata.tables[table].c}
    return {name: row.get(name, _BLANKS.get(name, empties[name])) for name in columns}


def insert_items(session: Session, items: Iterable[Item]) -> list[int]:
    """Write items; return the ids of their steps."""
    items = list(items)
    connection = session.connection()
    parents: list[int] = []
    for name, column in _TABLES.items():
        table = SQLModel.metadata.tables[name]
        rows = [each[name] for each in items]
        if column:
            rows = [{**row, column: parent} for row, parent in zip(rows, parents, strict=True)]
        made = insert(table).returning(table.c.id, sort_by_parameter_order=True)
        parents = list(connection.execute(made, rows).scalars())
    stations = [
        {"step": step, "ae_title": title}
        for step, each in zip(parents, items, strict=True)
        for title in filter(None, each["scheduled_step"]["station_ae_titles"].split("\\"))
    ]
    if stations:
        connection.execute(insert(StepStation), stations)
    return parents
