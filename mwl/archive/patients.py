"""Whether images show the patient of an order, whatever merges there have been since."""

from typing import Any, Final

from sqlalchemy import Connection, bindparam, select

from mwl.db import Prepared
from mwl.db.tables import Patient
from mwl.patients import is_someone_else, name_key
from mwl.studies import Likeness, Person, is_other_issuer

_TABLE = Patient.__table__  # type: ignore[attr-defined]
_COLUMNS = (_TABLE.c.id, _TABLE.c.issuer_key, _TABLE.c.merged_into)
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
        self._rows: set[int] = set()
        if person.patient_id:
            for row in _BY_ID.all(conn, {"patient_id": person.patient_id}):
                if not is_other_issuer(row.issuer_key, person.issuer):
                    self._rows.update(_trail(conn, row))

    def likeness(self, patient: Any) -> Likeness:
        """Compare with an order's patient, a row of that table with its id as `patient`."""
        person = self._person
        if is_someone_else(
            patient.patient_name, patient.birth_date, person.name, person.birth_date
        ):
            return Likeness.OTHER
        if person.patient_id and patient.patient_id:
            is_known = patient.patient in self._rows or self._has_as_other(patient.other_ids)
            return Likeness.SAME if is_known else Likeness.OTHER
        is_same = (
            bool(person.name and person.birth_date)
            and name_key(person.name) == name_key(patient.patient_name)
            and person.birth_date == patient.birth_date
        )
        return Likeness.SAME if is_same else Likeness.UNKNOWN

    def _has_as_other(self, others: list[Any]) -> bool:
        return any(
            id_ == self._person.patient_id and not is_other_issuer(issuer, self._person.issuer)
            for id_, issuer, *_ in others
        )


def _trail(conn: Connection, row: Any) -> set[int]:
    rows = {row.id}
    for _ in range(_LONGEST_TRAIL):
        if row.merged_into is None or row.merged_into in rows:
            break
        row = _BY_ROW.first(conn, {"row": row.merged_into})
        rows.add(row.id)
    return rows
