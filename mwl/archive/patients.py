"""Whether images show the patient of an order, whatever merges there have been since."""

from collections.abc import Iterable
from typing import Any, Final

from sqlalchemy import Connection, bindparam, select

from mwl.db import Prepared
from mwl.db.tables import Patient
from mwl.patients import is_someone_else, name_key
from mwl.studies import Likeness, Person, is_other_issuer

_TABLE = Patient.__table__  # type: ignore[attr-defined]
_COLUMNS = (
    _TABLE.c.id,
    _TABLE.c.issuer_key,
    _TABLE.c.patient_name,
    _TABLE.c.birth_date,
    _TABLE.c.patient_id,
    _TABLE.c.former_names,
    _TABLE.c.merged_into,
)
# Issuers who gave somebody the same number.
_MOST: Final = 20
_BY_ID = Prepared(
    select(*_COLUMNS).where(_TABLE.c.patient_id == bindparam("patient_id")).limit(_MOST)
)
_BY_ROW = Prepared(select(*_COLUMNS).where(_TABLE.c.id == bindparam("row")))
# A longer trail of merges is a loop that somebody made by hand.
_LONGEST_TRAIL: Final = 16


class Patients:
    """Those who may be the person in the images: their rows, and where merges led them."""

    def __init__(self, conn: Connection, person: Person) -> None:
        """Look up everybody who has the identifier of `person`."""
        self._person = person
        self.rows: dict[int, Any] = {}
        if patient_id := person.patient_id.strip():
            for row in _BY_ID.all(conn, {"patient_id": patient_id}):
                if not is_other_issuer(row.issuer_key, person.issuer):
                    self.rows.update(_trail(conn, row))

    def likeness(self, patient: Any) -> Likeness:
        """Compare with an order's patient, a row of that table with its id as `patient`."""
        person = self._person
        if is_someone_else(
            patient.patient_name, patient.birth_date, person.name, person.birth_date
        ):
            return Likeness.OTHER
        if person.patient_id and patient.patient_id:
            is_known = patient.patient in self.rows or self._has_as_other(patient.other_ids)
            return Likeness.SAME if is_known else Likeness.OTHER
        is_same = (
            bool(person.name and person.birth_date)
            and name_key(person.name) == name_key(patient.patient_name)
            and person.birth_date == patient.birth_date
        )
        return Likeness.SAME if is_same else Likeness.UNKNOWN

    def have_met(self, other: "Patients") -> bool:
        """Tell whether the trails of merges lead to one row."""
        return not self.rows.keys().isdisjoint(other.rows)

    def is_among_them(self) -> bool:
        """Tell whether at least one of the rows doesn't contradict the person."""
        person = self._person
        return any(
            not is_someone_else(row.patient_name, row.birth_date, person.name, person.birth_date)
            for row in self.rows.values()
        )

    def only_one(self) -> int | None:
        """Give the row of the one patient whom the person can only be, None if that is open.

        Where merges led: one patient alone has had the number, under an issuer that doesn't
        contradict, and was known under the same name, born on the same day if that is said.
        """
        survivors = [row for row in self.rows.values() if row.merged_into not in self.rows]
        if len(survivors) != 1:
            return None
        return survivors[0].id if any(map(self._agrees, self.rows.values())) else None

    def _agrees(self, row: Any) -> bool:
        person = self._person
        dates = person.birth_date, row.birth_date
        name = name_key(person.name)
        is_named = bool(name) and name == name_key(row.patient_name)
        return is_named and (not all(dates) or dates[0] == dates[1])

    def _has_as_other(self, others: list[Any]) -> bool:
        return any(
            id_ == self._person.patient_id and not is_other_issuer(issuer, self._person.issuer)
            for id_, issuer, *_ in others
        )


def are_merged(conn: Connection, known: Person, new: Person) -> bool:
    """Tell whether merges made one patient of two identifiers that images give.

    Each person must still be one of those who had their identifier, or the survivor: names
    may differ, as they do after an emergency, but not from everybody on the way.
    """
    if not _are_two(known, new):
        return False
    one, other = Patients(conn, known), Patients(conn, new)
    return one.have_met(other) and one.is_among_them() and other.is_among_them()


def aliases(conn: Connection, patient: int | None, people: Iterable[Person]) -> list[Person]:
    """Tell as whom the patient in row `patient` is and was known, found by `people`'s numbers.

    With those who were merged into that row; nobody else who has one of the numbers.
    """
    rows = {row.id: row for each in people for row in Patients(conn, each).rows.values()}
    them = {patient}
    for _ in range(_LONGEST_TRAIL):
        more = {row.id for row in rows.values() if row.merged_into in them} - them
        if patient is None or not more:
            break
        them |= more
    return [
        Person(row.patient_id, "", name, row.birth_date)
        for row in rows.values()
        if row.id in them
        for name in (row.patient_name, *row.former_names)
    ]


def _are_two(known: Person, new: Person) -> bool:
    ids = known.patient_id.strip(), new.patient_id.strip()
    return all(ids) and (ids[0] != ids[1] or is_other_issuer(known.issuer, new.issuer))


def _trail(conn: Connection, row: Any) -> dict[int, Any]:
    rows = {row.id: row}
    for _ in range(_LONGEST_TRAIL):
        if row.merged_into is None or row.merged_into in rows:
            break
        row = _BY_ROW.first(conn, {"row": row.merged_into})
        rows[row.id] = row
    return rows
