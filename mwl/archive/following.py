"""Studies follow their patient and their order: who they show, as that is known now.

The rules that this module bears (IHE RAD-12, Patient Update: the archive shows images under
the patient's present name, and keeps them as they came):

1. A study is somebody's by its order, or because its patient ID, with its issuer, and its
   name are those of one patient known here (`linking`). One that is in doubt stays as its
   images say.
2. What the patient's record leaves empty is as the images say. So is the issuer of a number
   that is the same in both: images that don't name it contradict nothing.
3. What the images said, where the study says something else now, is in `as_received`. When
   that comes back to what it was, or the study is nobody's any more, so does the study.
4. `coerced` tells whether images go out with other values than they came with: the first
   one, as the study was made of it, or a later one that said something else (`differ`).
5. Images that say something else than the patient was ever known as (`strangers`) are shown
   to be there, and go out as they are: nobody's contradiction is written over. `aliases` is
   what others said that is the patient's all the same.

Who changes a patient or an order calls this in the same transaction, after the change.
PostgreSQL then sees that studies and patients don't miss each other: who makes a study
somebody's holds the patient's row first (FOR SHARE), so that either the change of the
patient is seen here, or the study is seen by who changes the patient.
"""

import json
from collections.abc import Collection, Mapping
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    Text,
    bindparam,
    case,
    cast,
    literal,
    select,
    update,
)

from mwl.archive.received import clean
from mwl.db import Prepared
from mwl.db.tables import ImagingOrder, Patient, RequestedProcedure, Study
from mwl.names import words_key
from mwl.patients import name_key
from mwl.studies import SEPARATOR, Aliases, Identity, Person, is_other_issuer

_STUDY = Study.__table__  # type: ignore[attr-defined]
_PATIENT = Patient.__table__  # type: ignore[attr-defined]
_ORDER = ImagingOrder.__table__  # type: ignore[attr-defined]
_PROCEDURE = RequestedProcedure.__table__  # type: ignore[attr-defined]
_t, _p = _STUDY.c, _PATIENT.c

# In the order of mwl.studies.Identity.
COLUMNS: Final = (
    *("patient_name", "patient_id", "patient_id_issuer"),
    *("birth_date", "sex", "accession_number"),
)
# Of a patient, what a study follows.
FOLLOWED: Final = frozenset({"patient_name", "patient_id", "issuer", "birth_date", "sex"})
# In as_received, beside the columns:
_DIFFER: Final = "differ"  # images of the study don't all say the same
_STRANGERS: Final = "strangers"  # some contradict whatever the patient is known as
_ALIASES: Final = "aliases"  # [[name, patient ID, birth date], …] of the others
_MOST_ALIASES: Final = 32  # images under one more go out as they are
# A longer trail of merges is a loop that somebody made by hand.
_LONGEST_TRAIL: Final = 64

Row = dict[str, Any]


def _identity() -> ColumnElement[str]:
    joined: Any = _t[COLUMNS[0]]
    for column in (*(_t[name] for name in COLUMNS[1:]), cast(_t.as_received, Text)):
        joined = joined + literal(SEPARATOR) + column
    return case((_t.coerced, joined), else_=None).label("identity")


IDENTITY: Final = _identity()
"""Of a coerced study what `mwl.studies.Identity.of` and `aliases` read, NULL of any other."""


def aliases(identity: str) -> Aliases | None:
    """Read from an IDENTITY whose images it is for, None: for all of the study's."""
    now = Identity.of(identity)
    received = json.loads(identity.split(SEPARATOR)[len(COLUMNS)])
    if not received.get(_STRANGERS):
        return None
    first = [received.get(name, "") for name in ("patient_name", "patient_id", "birth_date")]
    people = [[now.patient_name, now.patient_id, now.birth_date], first]
    return Aliases.of(
        Person(number, "", name, date) for name, number, date in people + received.get(_ALIASES, [])
    )


def differs(study: Any) -> bool:
    """Tell whether some images contradict whatever the patient of a study, a row, is known as."""
    return bool(study.as_received.get(_STRANGERS))


def said(study: Any) -> Row:
    """Tell what the images say of whom they show, by column of study."""
    received = study.as_received
    return {name: received.get(name, getattr(study, name)) for name in COLUMNS}


def replaced(study: Any) -> Row:
    """Tell what the images say where the study says something else, by column."""
    return {name: study.as_received[name] for name in COLUMNS if name in study.as_received}


def person_said(study: Any) -> Person:
    """Tell whom the images say that they show."""
    row = said(study)
    return Person(
        row["patient_id"],
        row["patient_id_issuer"],
        row["patient_name"],
        row["birth_date"],
        row["sex"],
    )


def person_now(study: Any) -> Person:
    """Tell whom a study shows, as far as is known now."""
    return Person(
        study.patient_id,
        study.patient_id_issuer,
        study.patient_name,
        study.birth_date,
        study.sex,
    )


def as_it_is_now(images: Mapping[str, str], patient: Any, accession: str) -> Row:
    """Put what patient (a row, or None) and order say now in place of what `images` say."""
    now = dict(images)
    if patient is not None:
        name = clean(patient.patient_name)
        if name_key(name) not in ("", name_key(now["patient_name"])):
            now["patient_name"] = name
        now["birth_date"] = clean(patient.birth_date) or now["birth_date"]
        now["sex"] = clean(patient.sex) or now["sex"]
        _identify(now, patient)
    now["accession_number"] = clean(accession) or now["accession_number"]
    return now


def _identify(now: Row, patient: Any) -> None:
    number, issuer = clean(patient.patient_id), clean(patient.issuer.partition("^")[0])
    if number and number != now["patient_id"]:
        # Another number is another issuer's, perhaps one without a name.
        now["patient_id"], now["patient_id_issuer"] = number, issuer
    elif is_other_issuer(now["patient_id_issuer"], issuer):
        now["patient_id_issuer"] = issuer


# --- what is called when something changed


def follow(conn: Connection, study: int) -> None:
    """Bring the study in row `study` to what its order, or else its patient, says now."""
    row = _BY_ROW.first(conn, {"row": study})
    patient, accession = None, ""
    if row.requested_procedure is not None:
        asked = _SUBJECT.first(conn, {"procedure": row.requested_procedure})
        patient, accession = _survivor(conn, asked.patient), asked.accession_number
    elif row.patient is not None:
        patient = _survivor(conn, row.patient)
    _settle(conn, row, patient, accession)


def follow_patient(conn: Connection, patient: int) -> None:
    """Bring the studies of the patient in row `patient` to what that row says now."""
    studies = _OF_PATIENT.all(conn, {"patient": patient})
    if not studies:
        return
    now = _survivor(conn, patient)
    accessions = [_ACCESSION.send(conn, {"row": study.id}) for study in studies]
    for study, accession in zip(studies, accessions, strict=True):
        _settle(conn, study, now, accession.scalar() or "")


def follow_merge(conn: Connection, loser: int, survivor: int) -> None:
    """Give the survivor the studies of who was merged into it."""
    _MOVE.send(conn, {"loser": loser, "survivor": survivor})
    follow_patient(conn, survivor)


def follow_procedure(conn: Connection, procedure: int) -> None:
    """Bring the studies of a procedure whose accession number changed to that."""
    for study in _OF_PROCEDURE.all(conn, {"procedure": procedure}):
        follow(conn, study.id)


def whose(conn: Connection, study: int) -> int | None:
    """Tell whose the study in row `study` is: a patient, by row."""
    patient: int | None = _BY_ROW.first(conn, {"row": study}).patient
    return patient


def claim(conn: Connection, study: int, patient: int | None) -> None:
    """Note that the study in row `study`, which has no order, is of the patient's, or nobody's."""
    _CLAIM.send(conn, {"row": study, "patient": patient})
    follow(conn, study)


def note_difference(conn: Connection, study: Any, said: Person, *, is_known: bool) -> None:
    """Note that an image of a study, a row, says something else than the first one.

    `is_known`: the study's patient is, or was, known as that.
    """
    received = {**study.as_received, _DIFFER: True}
    alias = [said.name, said.patient_id, said.birth_date]
    others = received.get(_ALIASES, [])
    if not is_known:
        received[_STRANGERS] = True
    elif alias not in others and len(others) < _MOST_ALIASES:
        received[_ALIASES] = [*others, alias]
    if received != study.as_received:
        _NOTE.send(conn, {"row": study.id, "new_as_received": received})
        follow(conn, study.id)


def others_said(study: Any) -> list[Person]:
    """List whom images of a study, a row, name beside the first one, as its patient's."""
    others = study.as_received.get(_ALIASES, [])
    return [Person(number, "", name, date) for name, number, date in others]


def disown(conn: Connection, study: Any, others: Collection[Person]) -> None:
    """Note that `others`, whom images of a study, a row, name, are not its patient any more."""
    gone = [[each.name, each.patient_id, each.birth_date] for each in others]
    aliases_left = [each for each in study.as_received.get(_ALIASES, []) if each not in gone]
    received = {**study.as_received, _STRANGERS: True, _ALIASES: aliases_left}
    _NOTE.send(conn, {"row": study.id, "new_as_received": received})
    follow(conn, study.id)


def restate(conn: Connection, study: Any, images: Mapping[str, str]) -> None:
    """Take `images`, by column, for what the images of a study, a row, say."""
    values = {**said(study), **{name: images[name] for name in COLUMNS if name in images}}
    _write(conn, study, values, study.patient, study.coerced, _noted(study))
    follow(conn, study.id)


def _settle(conn: Connection, study: Any, patient: Any, accession: str) -> None:
    images = said(study)
    now = as_it_is_now(images, patient, accession)
    received: Row = {name: images[name] for name in COLUMNS if images[name] != now[name]}
    differ = bool(study.as_received.get(_DIFFER))
    # Without a patient nobody knows better than the images.
    coerced = bool(received) or (differ and patient is not None)
    received |= _noted(study)
    whose = None if patient is None else patient.id
    before = {name: getattr(study, name) for name in COLUMNS}
    if (before, study.patient, study.coerced, study.as_received) != (now, whose, coerced, received):
        _write(conn, study, now, whose, coerced, received)


def _noted(study: Any) -> Row:
    received = study.as_received
    return {key: received[key] for key in (_DIFFER, _STRANGERS, _ALIASES) if key in received}


def _write(  # noqa: PLR0913 - the columns
    conn: Connection, study: Any, now: Row, patient: int | None, coerced: bool, received: Row
) -> None:
    values = {
        **now,
        "name_key": name_key(now["patient_name"]),
        "name_words": words_key(now["patient_name"]),
        "patient": patient,
        "coerced": coerced,
        "as_received": received,
    }
    new = {f"new_{name}": value for name, value in values.items()}
    _WRITE.send(conn, {"row": study.id, **new})


def _survivor(conn: Connection, patient: int) -> Any:
    row = _PATIENT_ROW.first(conn, {"row": patient})
    for _ in range(_LONGEST_TRAIL):
        if row.merged_into is None:
            break
        row = _PATIENT_ROW.first(conn, {"row": row.merged_into})
    return row


# --- statements

# Held, so that nobody links a study meanwhile to another order.
_HELD: Select[Any] = select(_STUDY).with_for_update(key_share=True)
_BY_ROW = Prepared(_HELD.where(_t.id == bindparam("row")))
_OF_PATIENT = Prepared(_HELD.where(_t.patient == bindparam("patient")).order_by(_t.id))
_OF_PROCEDURE = Prepared(
    select(_t.id).where(_t.requested_procedure == bindparam("procedure")).order_by(_t.id)
)
_ACCESSION = Prepared(
    select(_PROCEDURE.c.accession_number)
    .join(_STUDY, _t.requested_procedure == _PROCEDURE.c.id)
    .where(_t.id == bindparam("row"))
)
_SUBJECT = Prepared(
    select(_ORDER.c.patient, _PROCEDURE.c.accession_number)
    .select_from(_PROCEDURE.join(_ORDER, _ORDER.c.id == _PROCEDURE.c.imaging_order))
    .where(_PROCEDURE.c.id == bindparam("procedure"))
    .with_for_update(read=True, of=_PROCEDURE)
)
_PATIENT_ROW = Prepared(
    select(
        *(_p.id, _p.patient_id, _p.issuer, _p.patient_name, _p.birth_date, _p.sex),
        _p.merged_into,
    )
    .where(_p.id == bindparam("row"))
    .with_for_update(read=True)
)
_MOVE = Prepared(
    update(_STUDY).where(_t.patient == bindparam("loser")).values(patient=bindparam("survivor"))
)
_CLAIM = Prepared(
    update(_STUDY)
    .where(_t.id == bindparam("row"), _t.requested_procedure.is_(None), _t.matched_by == "")
    .values(patient=bindparam("patient"))
)
_NOTE = Prepared(
    update(_STUDY)
    .where(_t.id == bindparam("row"))
    .values(as_received=bindparam("new_as_received", type_=_t.as_received.type))
)
_WRITTEN = (*COLUMNS, "name_key", "name_words", "patient", "coerced", "as_received")
_WRITE = Prepared(
    update(_STUDY)
    .where(_t.id == bindparam("row"))
    .values({name: bindparam(f"new_{name}", type_=_t[name].type) for name in _WRITTEN})
)
