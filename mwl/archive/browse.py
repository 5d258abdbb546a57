"""Browse the archive, as people do: look for studies, go through series and instances.

The rules that this module bears:

1. Studies come newest first, by the order in which they were first stored. A page is one
   short read of rows that an index finds; none waits for others.
2. A free text is a patient ID, an accession number or a Study Instance UID, or the beginning
   of a name. What is typed is compared whole, names folded (`mwl.patients.name_key`).
3. What people look at is what is served. A study of which nothing is served any more is
   listed all the same, with no images: whoever looks for it must learn that. Else a list
   counts all instances of a study, and those few that are set aside too; its page counts
   what is served.
4. Instances of a series come by Instance Number, as a number; those without one come last,
   by UID. A slice is a frame of an instance: slices of a series are counted through.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby
from typing import Any, Final, NamedTuple

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    bindparam,
    case,
    exists,
    func,
    literal_column,
    select,
    union,
)
from sqlmodel import Session

from mwl.archive.versions import IS_QUARANTINED
from mwl.db import Prepared
from mwl.db.tables import Instance, RequestedProcedure, Series, StoredObject, Study
from mwl.patients import name_key
from mwl.studies import ObjectState

_STUDY = Study.__table__  # type: ignore[attr-defined]
_SERIES = Series.__table__  # type: ignore[attr-defined]
_INSTANCE = Instance.__table__  # type: ignore[attr-defined]
_OBJECT = StoredObject.__table__  # type: ignore[attr-defined]
_PROCEDURE = RequestedProcedure.__table__  # type: ignore[attr-defined]
_t, _s, _i, _o = _STUDY.c, _SERIES.c, _INSTANCE.c, _OBJECT.c

MOST_SLICES: Final = 20_000  # of a series, or a study, that are looked at
_HIGHEST = 2**31 - 1
_BEHIND_ALL = "\U0010ffff"
_IS_SERVED: ColumnElement[bool] = _o.state == literal_column(f"'{ObjectState.SERVED}'")


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which studies are looked for; all that is given must hold. `day` is a DA."""

    text: str = ""
    patient: str = ""
    accession: str = ""
    modality: str = ""
    day: str = ""
    unmatched: bool = False


class FoundStudy(NamedTuple):
    """A study in a list; `imaging_order` is a row."""

    id: int
    study_instance_uid: str
    patient_id: str
    patient_name: str
    birth_date: str
    accession_number: str
    study_date: str
    study_time: str
    description: str
    matched_by: str
    created_at: Any
    imaging_order: int | None
    modalities: list[str]
    series: int
    instances: int


class Slice(NamedTuple):
    """A served instance in its place; `object` is the row of what is served."""

    instance: int
    number: str
    frames: int
    object: int
    size: int
    sop_class_uid: str
    is_image: bool


@dataclass(frozen=True, slots=True)
class BrowsedSeries:
    """A series with what is served of it, in order."""

    row: Any
    instances: Sequence[Slice]

    @property
    def slices(self) -> int:
        return sum(each.frames for each in self.instances)

    @property
    def size(self) -> int:
        """How many bytes it takes."""
        return sum(each.size for each in self.instances)

    @property
    def middle(self) -> Slice | None:
        """The instance that shows best what the series is of."""
        images = [each for each in self.instances if each.is_image]
        return images[len(images) // 2] if images else None


def search(
    session: Session,
    wanted: Wanted,
    *,
    after: int | None = None,
    backwards: bool = False,
    limit: int,
) -> Sequence[FoundStudy]:
    """Find studies, newest first: those behind row `after`, or the nearest before it.

    The order is the list's in both directions.
    """
    text = wanted.text.strip()
    statement = _search(
        bool(text),
        bool(wanted.patient),
        bool(wanted.accession),
        bool(wanted.modality),
        bool(wanted.day),
        wanted.unmatched,
        backwards,
    )
    key = name_key(text.replace(", ", "^").replace(",", "^"))
    values = {
        "at": (0 if backwards else _HIGHEST) if after is None else after,
        "limit": limit,
        "text": text,
        "name": key or text,
        "name_end": (key or text) + _BEHIND_ALL,
        "patient": wanted.patient,
        "accession": wanted.accession,
        "modality": wanted.modality.upper(),
        "day": wanted.day,
    }
    conn = session.connection()
    rows = statement.all(conn, values)
    found = [_found(row, below) for row, below in zip(rows, _below(conn, rows), strict=True)]
    return found[::-1] if backwards else found


def _below(conn: Connection, rows: Sequence[Any]) -> list[list[Any]]:
    """Read the series of some studies, all asked for before the first answer is waited for."""
    replies = [_BELOW.send(conn, {"study": row.id}) for row in rows]
    return [reply.all() for reply in replies]


def _found(row: Any, below: Sequence[Any]) -> FoundStudy:
    modalities = sorted({each.modality for each in below if each.modality})
    instances = sum(each.instances for each in below)
    return FoundStudy(*(*row, modalities, len(below), instances))


def study(session: Session, row: int) -> Any:
    """Read a study, with `imaging_order`, `order_accession`; None: there is none."""
    return _STUDY_ROW.first(session.connection(), {"row": row})


def study_of_uid(session: Session, uid: str) -> int | None:
    """Find a study's row by its UID."""
    found: int | None = _STUDY_BY_UID.scalar(session.connection(), {"uid": uid})
    return found


def series_of(session: Session, study_row: int) -> list[BrowsedSeries]:
    """Read a study's series, by number, each with its instances."""
    conn = session.connection()
    rows = _SERIES_ROWS.all(conn, {"study": study_row})
    served = _SLICES_OF_STUDY.all(conn, {"study": study_row, "limit": MOST_SLICES})
    by_series = {key: list(found) for key, found in groupby(served, lambda each: each.series)}
    rows.sort(key=lambda each: (*_as_number(each.series_number), each.series_instance_uid))
    return [BrowsedSeries(row, _slices(by_series.get(row.id, ()))) for row in rows]


def series(session: Session, row: int) -> BrowsedSeries | None:
    """Read a series with its instances; None: there is none."""
    conn = session.connection()
    found = _SERIES_ROW.first(conn, {"row": row})
    if found is None:
        return None
    return BrowsedSeries(
        found, _slices(_SLICES_OF_SERIES.all(conn, {"series": row, "limit": MOST_SLICES}))
    )


def instance(session: Session, row: int) -> Any:
    """Read an instance with its study and series, and its served object.

    None: there is none. Of one that isn't served `object` and what describes it are None.
    """
    return _INSTANCE_ROW.first(session.connection(), {"row": row})


def quarantined(
    session: Session, *, after: int | None = None, backwards: bool = False, limit: int
) -> Sequence[Any]:
    """List what contradicts the archive, newest first; `study` is the row it contradicts."""
    at = (0 if backwards else _HIGHEST) if after is None else after
    rows = _quarantined(backwards).all(session.connection(), {"at": at, "limit": limit})
    return rows[::-1] if backwards else rows


# --- order


def _as_number(text: str) -> tuple[int, int]:
    """Sort an IS; what is none comes last."""
    try:
        return 0, int(text)
    except ValueError:
        return 1, 0


def _slices(rows: Iterable[Any]) -> list[Slice]:
    ordered = sorted(rows, key=lambda r: (*_as_number(r.instance_number), r.sop_instance_uid))
    return [
        Slice(
            row.id,
            row.instance_number,
            max(1, row.frames or 1),
            row.object,
            row.size,
            row.sop_class_uid,
            row.rows is not None,
        )
        for row in ordered
    ]


# --- statements


@lru_cache(maxsize=128)
def _search(  # noqa: PLR0913 - one for each way to narrow it
    text: bool,
    patient: bool,
    accession: bool,
    modality: bool,
    day: bool,
    unmatched: bool,
    backwards: bool,
) -> Prepared:
    where: list[ColumnElement[bool]] = []
    if patient:
        where.append(_t.patient_id == bindparam("patient"))
    if accession:
        where.append(_t.accession_number == bindparam("accession"))
    if day:
        where.append(_t.study_date == bindparam("day"))
    if unmatched:
        where.append(_t.requested_procedure.is_(None))
    if text:
        where.append(_t.id.in_(_ids_of_text()))
    is_alone = modality and not where
    if is_alone:
        page = _page_of_modality(backwards)
    else:
        if modality:
            of_kind = (_s.study == _t.id) & (_s.modality == bindparam("modality"))
            where.append(exists().select_from(_SERIES).where(of_kind))
        page = _at(select(_t.id).where(*where), _t.id, backwards)
    found = page.subquery("page")
    rows = _STUDY.join(found, found.c.id == _t.id).outerjoin(
        _PROCEDURE, _PROCEDURE.c.id == _t.requested_procedure
    )
    order = _t.id if backwards else _t.id.desc()
    return Prepared(select(*_FOUND_COLUMNS).select_from(rows).order_by(order))


def _ids_of_text() -> Any:
    """Give the ids that a free text names, each by an index of its own."""
    # A prefix as a range, which every index can find.
    named = _t.name_key >= bindparam("name")
    until = _t.name_key < bindparam("name_end")
    return union(
        select(_t.id).where(_t.patient_id == bindparam("text")),
        select(_t.id).where(_t.accession_number == bindparam("text")),
        select(_t.id).where(_t.study_instance_uid == bindparam("text")),
        select(_t.id).where(named, until),
    )


def _page_of_modality(backwards: bool) -> Select[Any]:
    statement = select(_s.study.label("id")).where(_s.modality == bindparam("modality"))
    return _at(statement.distinct(), _s.study, backwards)


def _at(statement: Select[Any], row: ColumnElement[int], backwards: bool) -> Select[Any]:
    ahead = row > bindparam("at") if backwards else row < bindparam("at")
    order = row if backwards else row.desc()
    return statement.where(ahead).order_by(order).limit(bindparam("limit"))


_FOUND_COLUMNS = (
    *(_t.id, _t.study_instance_uid, _t.patient_id, _t.patient_name, _t.birth_date),
    *(_t.accession_number, _t.study_date, _t.study_time, _t.description, _t.matched_by),
    *(_t.created_at, _PROCEDURE.c.imaging_order),
)
_SERVED = _INSTANCE.join(_OBJECT, (_o.instance == _i.id) & _IS_SERVED)
# Whether any is served is one look; to count those that are takes one for each.
_SHOWS = exists().select_from(_SERVED).where(_i.series == _s.id)
_COUNTED = select(func.count()).select_from(_INSTANCE).where(_i.series == _s.id)
_BELOW = Prepared(
    select(
        _s.modality,
        case((_SHOWS, _COUNTED.scalar_subquery()), else_=0).label("instances"),
    ).where(_s.study == bindparam("study"))
)
_STUDY_ROW = Prepared(
    select(
        *_t,
        _PROCEDURE.c.imaging_order,
        _PROCEDURE.c.accession_number.label("order_accession"),
    )
    .select_from(_STUDY.outerjoin(_PROCEDURE, _PROCEDURE.c.id == _t.requested_procedure))
    .where(_t.id == bindparam("row"))
)
_STUDY_BY_UID = Prepared(select(_t.id).where(_t.study_instance_uid == bindparam("uid")))
_SERIES_ROWS = Prepared(select(*_s).where(_s.study == bindparam("study")))
_SERIES_ROW = Prepared(select(*_s).where(_s.id == bindparam("row")))
_SLICE_COLUMNS = (
    *(_i.id, _i.series, _i.sop_instance_uid, _i.sop_class_uid, _i.instance_number),
    *(_i.rows, _i.frames, _o.id.label("object"), _o.size),
)
_SLICES_OF_SERIES = Prepared(
    select(*_SLICE_COLUMNS)
    .select_from(_SERVED)
    .where(_i.series == bindparam("series"))
    .limit(bindparam("limit"))
)
_SLICES_OF_STUDY = Prepared(
    select(*_SLICE_COLUMNS)
    .select_from(_SERIES.join(_SERVED, _i.series == _s.id))
    .where(_s.study == bindparam("study"))
    .order_by(_i.series)
    .limit(bindparam("limit"))
)
_INSTANCE_ROW = Prepared(
    select(
        *_i,
        *(_s.study, _s.modality, _s.series_number, _s.series_instance_uid),
        _s.description.label("series_description"),
        *(_t.study_instance_uid, _t.patient_name, _t.patient_id, _t.coerced),
        _o.id.label("object"),
        *(_o.key, _o.size, _o.sha256, _o.transfer_syntax, _o.source, _o.received_at),
    )
    .select_from(
        _INSTANCE.join(_SERIES, _s.id == _i.series)
        .join(_STUDY, _t.id == _s.study)
        .outerjoin(_OBJECT, (_o.instance == _i.id) & _IS_SERVED)
    )
    .where(_i.id == bindparam("row"))
)


@lru_cache(maxsize=2)
def _quarantined(backwards: bool) -> Prepared:
    ahead = _o.id > bindparam("at") if backwards else _o.id < bindparam("at")
    return Prepared(
        select(
            *(_o.id, _o.sop_instance_uid, _o.series_instance_uid, _o.study_instance_uid),
            *(_o.sop_class_uid, _o.patient_id, _o.source, _o.reason, _o.size, _o.received_at),
            *(_o.transfer_syntax, _t.id.label("study")),
            _t.patient_id.label("study_patient_id"),
            _t.patient_name.label("study_patient_name"),
        )
        .select_from(_OBJECT.outerjoin(_STUDY, _t.study_instance_uid == _o.study_instance_uid))
        .where(IS_QUARANTINED, ahead)
        .order_by(_o.id if backwards else _o.id.desc())
        .limit(bindparam("limit"))
    )
