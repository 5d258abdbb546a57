"""Whose something is, once two numbers that were one patient are two patients again.

What belongs to an order goes with it. Anything else, a study or a report, says itself whom it
shows: its number, its issuer, its name and its birth date must be those of somebody on one side,
and of nobody on the other. What is left in doubt is nobody's, and stays as it says.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import Connection, bindparam, select

from mwl.archive import following
from mwl.db import Prepared
from mwl.db.tables import Study
from mwl.patients import is_someone_else, name_key
from mwl.studies import Person

Row = Mapping[str, Any]

_STUDY = Study.__table__  # type: ignore[attr-defined]
_OF_PATIENT = Prepared(
    select(_STUDY)
    .where(_STUDY.c.patient == bindparam("patient"))
    .order_by(_STUDY.c.id)
    .with_for_update(key_share=True)
)


class Side(NamedTuple):
    """One of two patients, a row, and all who are that patient, as rows of the table patient."""

    patient: int
    people: Sequence[Row]

    def may_be(self, said: Person, issuers: Collection[str]) -> bool:
        """Tell whether somebody here has the number, and no other name and birth date."""
        return any(_has_number(row, said, issuers) and _fits(row, said) for row in self.people)

    def has_number(self, said: Person, issuers: Collection[str]) -> bool:
        """Tell whether the number is one of this side's."""
        return any(_has_number(row, said, issuers) for row in self.people)

    def is_named(self, said: Person) -> bool:
        """Tell whether somebody here has that very name."""
        return any(name_key(said.name) in _names(row) for row in self.people)


def whose(said: Person, issuers: Collection[str], loser: Side, survivor: Side) -> int | None:
    """Tell whose that is which the survivor had; None: nobody's beyond doubt.

    `issuers` are the names that `said` gives its issuer, none where it names none.
    """
    if not loser.has_number(said, issuers):
        return survivor.patient
    sides = [side for side in (loser, survivor) if side.may_be(said, issuers)]
    if len(sides) > 1:
        sides = [side for side in sides if said.name and side.is_named(said)]
    return sides[0].patient if len(sides) == 1 else None


def split(conn: Connection, loser: Side, survivor: Side) -> int:
    """Give back to the loser what studies a merge took, once its orders are back; count them."""
    moved = 0
    for study in _OF_PATIENT.all(conn, {"patient": survivor.patient}):
        if study.requested_procedure is not None:
            following.follow(conn, study.id)
            moved += following.whose(conn, study.id) != survivor.patient
            continue
        said = following.person_said(study)
        found = whose(said, [said.issuer] if said.issuer.strip() else [], loser, survivor)
        if found != survivor.patient:
            following.claim(conn, study.id, found)
        moved += found == loser.patient
    return moved


def _has_number(row: Row, said: Person, issuers: Collection[str]) -> bool:
    known = _folded([row["issuer_key"], *row["issuer"].split("^")[:2]])
    named = _folded(issuers)
    is_known_issuer = not known or not named or bool(known & named)
    return bool(said.patient_id.strip() == row["patient_id"] and is_known_issuer)


def _fits(row: Row, said: Person) -> bool:
    name, birth_date = row["patient_name"], row["birth_date"]
    is_other = is_someone_else(name, birth_date, said.name, said.birth_date)
    return not is_other or name_key(said.name) in _names(row)


def _names(row: Row) -> set[str]:
    return {name_key(row["patient_name"]), *row["former_names"]} - {""}


def _folded(names: Collection[str]) -> set[str]:
    return {name.strip().casefold() for name in names} - {""}
