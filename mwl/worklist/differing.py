"""What work changed, row by row, with all values: for people who look before it is done.

`mwl.worklist.changed` is what the journal keeps, little by design; here rows are read after
the work and, once it is undone, before it, and laid beside each other. So it tells whatever
was written, by whomever: new rows with all their values, rows that are gone, what a merge
moved, and what others would be told.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from sqlalchemy import Connection, Table, select

from mwl.db.tables import (
    Delivery,
    ImagingOrder,
    Patient,
    PatientLink,
    Report,
    RequestedProcedure,
    ScheduledStep,
    Study,
)
from mwl.worklist.changed import DERIVED, kept

CREATED, CHANGED, DELETED = "created", "changed", "deleted"
_MOST_ROWS: Final = 2_000  # of a table
_AT_ONCE: Final = 500  # numbers in one statement
_OURS = "MWL-"  # what identifiers that are made here begin with
_MADE_UID = "2.25."
MADE = "(made when it is applied)"

_PATIENT: Table = Patient.__table__  # type: ignore[attr-defined]
_ORDER: Table = ImagingOrder.__table__  # type: ignore[attr-defined]
_PROCEDURE: Table = RequestedProcedure.__table__  # type: ignore[attr-defined]
_STEP: Table = ScheduledStep.__table__  # type: ignore[attr-defined]
_REPORT: Table = Report.__table__  # type: ignore[attr-defined]
_STUDY: Table = Study.__table__  # type: ignore[attr-defined]
_DELIVERY: Table = Delivery.__table__  # type: ignore[attr-defined]
_LINK: Table = PatientLink.__table__  # type: ignore[attr-defined]

# What each kind of row is called by, for people.
_NAMES = {
    "patient": ("patient_id", "issuer"),
    "link": ("pair",),
    "order": ("order_number",),
    "procedure": ("accession_number", "requested_procedure_id"),
    "step": ("sps_id",),
    "study": ("study_instance_uid",),
    "report": ("title", "number"),
    "delivery": ("destination",),
}
# A delivery is told by whom it goes to and what it says, not by how its sending goes.
_TOLD = ("kind", "destination", "subject", "state")
# What follows from other columns, links of rows, and what a person reads elsewhere.
_LEFT_OUT = DERIVED | {
    *("issuer_key", "former_names", "imaging_order", "procedure", "requested_procedure"),
    *("order_namespace", "referring_physician_key", "referring_physician_words", "as_received"),
    *("pair", "coerced", "matched_by", "content_hash", "received_at", "sent_at", "linked_by"),
}

_Row = dict[str, Any]
_Table = dict[int, _Row]
Rows = dict[str, _Table]
"""Rows by kind and number."""


@dataclass(slots=True)
class Concerned:
    """The rows that work was about, as far as it told."""

    patients: set[int] = field(default_factory=set)
    orders: set[int] = field(default_factory=set)
    reports: set[int] = field(default_factory=set)
    subjects: set[str] = field(default_factory=set)  # of deliveries, beside those of the others

    def join(self, other: "Concerned") -> None:
        """Add what other work was about."""
        self.patients |= other.patients
        self.orders |= other.orders
        self.reports |= other.reports
        self.subjects |= other.subjects

    def add(self, changes: Mapping[str, Any]) -> None:
        """Add what `mwl.worklist.changed` names."""
        for name in changes:
            kind, _, number = name.partition(":")
            if kind == "patient":
                self.patients.add(int(number))
            elif kind == "order":
                self.orders.add(int(number))
            elif kind == "report":
                self.reports.add(int(number))


@dataclass(frozen=True, slots=True)
class Difference:
    """A row that differs: `columns` by name, before and after; None where there is no row.

    `row` is its number; None for a new one, which will have another.
    """

    kind: str  # patient, link, order, procedure, step, study, report, delivery
    what: str  # created, changed, deleted
    name: str
    row: int | None
    columns: Mapping[str, tuple[Any, Any]]


def read(conn: Connection, concerned: Concerned) -> Rows:
    """Read the rows of patients and orders, with what belongs to them, as they are now."""
    orders = {
        **_rows(conn, _ORDER, "id", concerned.orders),
        **_rows(conn, _ORDER, "patient", concerned.patients),
    }
    people = {row["patient"] for row in orders.values()} | concerned.patients
    procedures = _rows(conn, _PROCEDURE, "imaging_order", orders)
    return {
        "patient": _rows(conn, _PATIENT, "id", people),
        "link": _links(conn, people),
        "order": orders,
        "procedure": procedures,
        "step": _rows(conn, _STEP, "procedure", procedures),
        "study": {
            **_rows(conn, _STUDY, "patient", people),
            **_rows(conn, _STUDY, "requested_procedure", procedures),
        },
        "report": {
            **_rows(conn, _REPORT, "patient", people),
            **_rows(conn, _REPORT, "imaging_order", orders),
            **_rows(conn, _REPORT, "id", concerned.reports),
        },
        "delivery": _rows(
            conn,
            _DELIVERY,
            "subject",
            {
                *(f"order:{row}" for row in orders),
                *(f"patient:{row}" for row in people),
                *concerned.subjects,
            },
        ),
    }


def of(found: Rows) -> Concerned:
    """Give what rows are about, so that the same ones can be read at another time."""
    subjects = {each["subject"] for each in found["delivery"].values()}
    return Concerned(set(found["patient"]), set(found["order"]), set(found["report"]), subjects)


def compare(before: Rows, after: Rows) -> list[Difference]:
    """Tell how rows differ, patients first; what is the same is left out."""
    people = {**before["patient"], **after["patient"]}
    found = []
    for kind in _NAMES:
        old, new = (_named(rows[kind], people) for rows in (before, after))
        for row in sorted(old.keys() | new.keys()):
            difference = _compare(kind, row, old.get(row), new.get(row))
            if difference is not None:
                found.append(difference)
    return found


def _named(rows: _Table, people: _Table) -> _Table:
    """Have rows say whose they are by name."""
    named = {}
    for number, row in rows.items():
        links = {
            column: _name("patient", people[row[column]])
            for column in ("patient", "merged_into")
            if row.get(column) in people
        }
        named[number] = {**row, **links}
    return named


def _name(kind: str, row: Mapping[str, Any]) -> str:
    return " ".join(str(row[each]) for each in _NAMES[kind] if row[each])


def _compare(kind: str, row: int, before: _Row | None, after: _Row | None) -> Difference | None:
    either = after or before
    assert either is not None
    if kind == "delivery" and before is not None:
        return None  # told before: how its sending goes is no matter of the work
    name = _name(kind, either)
    if before is None or after is None:
        what = CREATED if before is None else DELETED
        columns = {
            each: (None, _shown(each, value)) if before is None else (kept(value), None)
            for each, value in either.items()
            if _is_told(kind, each) and not _is_blank(value)
        }
        if name.startswith(_OURS):
            name = MADE
        return Difference(kind, what, name, None if before is None else row, columns)
    columns = {
        each: (kept(before[each]), kept(value))
        for each, value in after.items()
        if _is_told(kind, each) and before[each] != value
    }
    return Difference(kind, CHANGED, name, row, columns) if columns else None


def _is_told(kind: str, column: str) -> bool:
    return column in _TOLD if kind == "delivery" else column not in _LEFT_OUT


def _is_blank(value: Any) -> bool:
    return value is None or value is False or value in ("", [], {})


def _shown(column: str, value: Any) -> Any:
    """Give a new row's value; what is made by chance will be another."""
    text = str(value)
    if column in ("requested_procedure_id", "sps_id") and text.startswith(_OURS):
        return MADE
    if column == "study_instance_uid" and text.startswith(_MADE_UID):
        return MADE
    return kept(value)


def _links(conn: Connection, people: Iterable[int]) -> _Table:
    """Read the links of patients (ADT^A24, A37), named by both: the other one may not be here."""
    rows = {**_rows(conn, _LINK, "one", people), **_rows(conn, _LINK, "other", people)}
    both = {row[end] for row in rows.values() for end in ("one", "other")}
    named = {
        number: _name("patient", row) for number, row in _rows(conn, _PATIENT, "id", both).items()
    }
    return {
        number: {
            "id": number,
            "pair": f"{named[row['one']]} and {named[row['other']]}",
            "said": "may be one person" if row["linked"] else "are two people",
            "source": row["source"],
        }
        for number, row in rows.items()
    }


def _rows(conn: Connection, table: Table, column: str, values: Iterable[int | str]) -> _Table:
    wanted: Sequence[Any] = sorted(values)
    found: _Table = {}
    for start in range(0, len(wanted), _AT_ONCE):
        some = table.c[column].in_(wanted[start : start + _AT_ONCE])
        rows = conn.execute(select(table).where(some).order_by(table.c.id).limit(_MOST_ROWS))
        found |= {row.id: row._asdict() for row in rows}
    return found
