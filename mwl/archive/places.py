"""The study and the series that an instance belongs to: found, or made of what it says.

A study's images may come under the name of their first one, or under the patient's present
one: a scanner that holds an old worklist entry, and one that asked again, are both right.
"""

from dataclasses import astuple
from typing import Any, NamedTuple

import structlog
from sqlalchemy import Connection, Table, bindparam, select
from sqlalchemy.dialects import postgresql, sqlite

from mwl.archive import following, linking
from mwl.archive.known import Place
from mwl.archive.patients import aliases, are_merged
from mwl.archive.received import Received, person_row, requests, series_row, study_row
from mwl.db import Prepared
from mwl.db.tables import Series, Study
from mwl.patients import name_key
from mwl.studies import (
    Aliases,
    Evidence,
    Person,
    contradict,
    is_other_patient,
    is_other_sex,
)

log = structlog.get_logger(__name__)

_STUDY = Study.__table__  # type: ignore[attr-defined]
_SERIES = Series.__table__  # type: ignore[attr-defined]


def _unless_there(table: Table) -> dict[str, Prepared]:
    """Prepare, for each database, the INSERT that leaves alone what is there already."""
    values = {c.name: bindparam(c.name, type_=c.type) for c in table.c if c.name != "id"}
    return {
        "sqlite": Prepared(sqlite.insert(table).values(values).inline().on_conflict_do_nothing()),
        "postgresql": Prepared(
            postgresql.insert(table).values(values).inline().on_conflict_do_nothing()
        ),
    }


_INSERT_STUDY, _INSERT_SERIES = _unless_there(_STUDY), _unless_there(_SERIES)
_UNMATCHED: dict[str, Any] = {
    "requested_procedure": None,
    "matched_by": "",
    "patient": None,
    "coerced": False,
    "as_received": {},
}
# Held, so that two who both know the patient of a nameless study don't both say who it is.
# What refers to the row is not kept waiting.
_FIND_STUDY = Prepared(
    select(_STUDY)
    .where(_STUDY.c.study_instance_uid == bindparam("study_instance_uid"))
    .with_for_update(key_share=True)
)
_FIND_SERIES = Prepared(
    select(_SERIES.c.id).where(
        _SERIES.c.study == bindparam("study"),
        _SERIES.c.series_instance_uid == bindparam("series_instance_uid"),
    )
)


def place(conn: Connection, received: Received) -> Place | None:
    """Find or make study and series; None: the study is another patient's.

    A study that is new, or tells more of itself than before, is linked to its order.
    """
    study = _study(conn, received)
    if study is None:
        return None
    series, is_new = _series(conn, study.row.id, received)
    named = requests(received) if is_new else []
    is_open = study.row.requested_procedure is None and not study.row.matched_by
    if is_open and (study.is_news or named):
        linking.consider(conn, study.row.id, _evidence(study, named))
    return Place(series, study.person)


class _Found(NamedTuple):
    row: Any
    person: Person
    is_news: bool  # it is new, or its patient is


def _study(conn: Connection, received: Received) -> _Found | None:
    key = {"study_instance_uid": received.study_instance_uid}
    row, is_new = _FIND_STUDY.first(conn, key), False
    if row is None:
        values = {**study_row(received), **_UNMATCHED}
        is_new = _INSERT_STUDY[conn.dialect.name].run(conn, values) > 0
        row = _FIND_STUDY.first(conn, key)
    said, new = following.person_said(row), received.person()
    differs = contradict(said, new)
    is_news = differs or contradict(following.person_now(row), new)
    is_known = not is_news or _is_known(conn, row, new)
    # As whom they come now, so that the images that follow ask nothing.
    pairs = zip(astuple(new), astuple(said), strict=True)
    known = Person(*(of_new or of_said for of_new, of_said in pairs))
    if is_other_patient(said, new) and not are_merged(conn, said, new):
        if not row.coerced or is_other_patient(following.person_now(row), new):
            return None
        known = said  # a person linked it, and may think again
    elif new.patient_id and not said.patient_id:
        return _named(conn, row, new, is_known=is_known)
    if said.patient_id and not new.patient_id and not is_known and _is_renamed(said, new):
        return None
    if differs or not is_known:
        following.note_difference(conn, row, new, is_known=is_known)
    if not is_known:
        known = said  # each of them is told of
        log.warning(
            "archive.contradicts",
            study=row.id,
            sop_instance_uid=received.sop_instance_uid,
            source=received.source,
        )
    return _Found(row, known, is_new)


def _is_known(conn: Connection, row: Any, new: Person) -> bool:
    """Tell whether a study's patient is, or was, known as somebody: who they are is settled."""
    said, now = following.person_said(row), following.person_now(row)
    people = [said, now, *aliases(conn, row.patient, (said, now, new))]
    sexes = said.sex, now.sex
    if new.sex not in sexes and any(is_other_sex(each, new.sex) for each in sexes):
        return False
    if new.patient_id.strip() not in {each.patient_id.strip() for each in people}:
        people.append(Person(new.patient_id))  # merged, or the study would be another's
    return Aliases.of(people).are_of(new)


def _is_renamed(said: Person, new: Person) -> bool:
    names = name_key(said.name), name_key(new.name)
    return all(names) and names[0] != names[1]


def _named(conn: Connection, row: Any, new: Person, *, is_known: bool) -> _Found | None:
    """Name a study whose images had no identifier till now."""
    now = following.person_now(row)
    if row.coerced and is_other_patient(now, new) and not are_merged(conn, now, new):
        return None
    said = following.person_said(row)
    if contradict(said, new):
        # What came before goes out as it is, unless that is the patient's too.
        following.note_difference(conn, row, said, is_known=is_known)
        row = _FIND_STUDY.first(conn, {"study_instance_uid": row.study_instance_uid})
    following.restate(conn, row, person_row(new))
    return _Found(row, new, is_news=True)


def _series(conn: Connection, study: int, received: Received) -> tuple[int, bool]:
    key = {"study": study, "series_instance_uid": received.series_instance_uid}
    found = _FIND_SERIES.scalar(conn, key)
    if found is not None:
        return found, False
    values = {**series_row(received), "study": study}
    is_new = _INSERT_SERIES[conn.dialect.name].run(conn, values) > 0
    return _FIND_SERIES.scalar(conn, key), is_new


def _evidence(study: _Found, named: list[dict[str, str]]) -> Evidence:
    row = study.row
    return Evidence(
        study_instance_uid=row.study_instance_uid,
        accession_number=following.said(row)["accession_number"],
        person=study.person,
        requests=tuple(named),
    )
