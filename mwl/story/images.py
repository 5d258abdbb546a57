"""Images of the order, and who asked to have them committed."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import Connection, and_, func, or_, select, text

from mwl.db.tables import Commitment, CommitmentItem, Instance, Series, StoredObject, Study
from mwl.story.entries import Entry, Kind, known, moment, several
from mwl.story.subjects import Subject
from mwl.studies import ObjectState

_STUDY = Study.__table__  # type: ignore[attr-defined]
_SERIES = Series.__table__  # type: ignore[attr-defined]
_INSTANCE = Instance.__table__  # type: ignore[attr-defined]
_OBJECT = StoredObject.__table__  # type: ignore[attr-defined]
_REQUEST = Commitment.__table__  # type: ignore[attr-defined]
_ITEM = CommitmentItem.__table__  # type: ignore[attr-defined]

_MOST_STUDIES = 20
_MOST_SERIES = 200
_MOST_REQUESTS = 50
_PICTURES = 4  # of a study
_AT_ONCE = timedelta(minutes=1)

_SERVED = text(f"'{ObjectState.SERVED}'")
_SET_ASIDE = text(f"'{ObjectState.QUARANTINED}'")


@dataclass(slots=True)
class _Series:
    row: int
    label: str
    images: int = 0
    first: datetime | None = None
    last: datetime | None = None
    sources: list[str] = field(default_factory=list)


def gather(conn: Connection, subject: Subject, zone: ZoneInfo) -> list[Entry]:
    """List the studies of an order, and requests to commit their images."""
    studies = _studies(conn, subject)
    if not studies:
        return []
    rows = [study.id for study in studies]
    series = _series(conn, rows)
    aside = _set_aside(conn, [study.study_instance_uid for study in studies])
    procedures = {procedure["id"] for procedure in subject.procedures}
    entries = []
    for study in studies:
        found, appended = _parted(series.get(study.id, []), subject.order["closed_at"])
        linked = study.requested_procedure in procedures
        entry = _entry(study, found, zone)
        entry.pictures = _pictures(conn, found)
        if appended:
            later = _entry(study, appended, zone)
            later.text += ", after the order had closed"
            later.pictures = _pictures(conn, appended)
            entries.append(later)
        if not linked:
            entry.notes.append("this study is not linked with the order: see `mwl study link`")
        if count := aside.get(study.study_instance_uid):
            entry.notes.append(f"{several(count, 'version')} set aside: see the quarantine")
        entries.append(entry)
    return entries + _commitments(conn, rows, zone)


def _parted(
    series: list[_Series], closed_at: datetime | None
) -> tuple[list[_Series], list[_Series]]:
    """Tell series that were begun after their order had closed from the others."""
    late = [each for each in series if closed_at and each.first and each.first > closed_at]
    # Where all are, they are none that were appended.
    return ([each for each in series if each not in late], late) if late != series else (late, [])


def _studies(conn: Connection, subject: Subject) -> Sequence[Any]:
    """Find studies that are linked with the order, and those that should be."""
    numbers, patients = subject.accession_numbers, [subject.patient, *subject.aliases]
    its = [procedure["id"] for procedure in subject.procedures]
    uids = {procedure["study_instance_uid"] for procedure in subject.procedures}
    statement = (
        select(_STUDY)
        .where(
            or_(
                _STUDY.c.requested_procedure.in_(its),
                and_(
                    _STUDY.c.requested_procedure.is_(None),
                    or_(
                        _STUDY.c.study_instance_uid.in_(sorted(uids)),
                        and_(
                            _STUDY.c.accession_number.in_(numbers),
                            _STUDY.c.patient_id.in_([each["patient_id"] for each in patients]),
                        ),
                    ),
                ),
            )
        )
        .order_by(_STUDY.c.id)
        .limit(_MOST_STUDIES)
    )
    return conn.execute(statement).all()


def _series(conn: Connection, studies: list[int]) -> dict[int, list[_Series]]:
    """Sum up the series of studies: images served, when they came, from whom."""
    statement = (
        select(
            _SERIES.c.study,
            _SERIES.c.id,
            _SERIES.c.modality,
            _SERIES.c.series_number,
            _SERIES.c.description,
            _OBJECT.c.source,
            func.count(),
            func.min(_OBJECT.c.received_at),
            func.max(_OBJECT.c.received_at),
        )
        .join(_INSTANCE, _INSTANCE.c.series == _SERIES.c.id)
        .join(_OBJECT, and_(_OBJECT.c.instance == _INSTANCE.c.id, _OBJECT.c.state == _SERVED))
        .where(_SERIES.c.study.in_(studies))
        .group_by(*_SERIES.c["study", "id", "modality", "series_number", "description"])
        .group_by(_OBJECT.c.source)
        .order_by(_SERIES.c.id)
        .limit(_MOST_SERIES)
    )
    found: dict[int, dict[int, _Series]] = defaultdict(dict)
    for study, row, modality, number, description, source, images, first, last in conn.execute(
        statement
    ):
        label = " ".join(filter(None, [f"series {number}".strip(), modality, description]))
        it = found[study].setdefault(row, _Series(row, label))
        it.images += images
        it.first, it.last = min(it.first or first, first), max(it.last or last, last)
        it.sources += [source] if source else []
    return {study: list(series.values()) for study, series in found.items()}


def _entry(study: Any, series: list[_Series], zone: ZoneInfo) -> Entry:
    images = sum(each.images for each in series)
    firsts = [each.first for each in series if each.first]
    lasts = [each.last for each in series if each.last]
    sources = ", ".join(dict.fromkeys(name for each in series for name in each.sources))
    text = f"{several(images, 'image')} in {several(len(series), 'series', 'series')}"
    if sources:
        text += f" from {sources}"
    first, last = min(firsts, default=study.created_at), max(lasts, default=study.created_at)
    if (last - first) > _AT_ONCE:
        text += f", the last at {moment(last, zone)}"
    return Entry(
        first,
        Kind.IMAGES,
        text,
        facts=[
            *known(
                ("first received", moment(first, zone)),
                ("last received", moment(last, zone)),
                ("linked by", study.matched_by if study.requested_procedure else ""),
            ),
            *((each.label, several(each.images, "image")) for each in series),
            ("Study Instance UID", study.study_instance_uid),
        ],
        about=f"study:{study.id}",
    )


def _pictures(conn: Connection, series: list[_Series]) -> list[int]:
    """Choose an image of each series, from its middle, where most is to be seen."""
    found = []
    for each in series[:_PICTURES]:
        statement = (
            select(_INSTANCE.c.id)
            .join(_OBJECT, and_(_OBJECT.c.instance == _INSTANCE.c.id, _OBJECT.c.state == _SERVED))
            .where(_INSTANCE.c.series == each.row, _INSTANCE.c.rows.is_not(None))
            .order_by(_INSTANCE.c.id)
            .offset(each.images // 2)
            .limit(1)
        )
        if (row := conn.execute(statement).scalar()) is not None:
            found.append(row)
    return found


def _set_aside(conn: Connection, uids: list[str]) -> dict[str, int]:
    statement = (
        select(_OBJECT.c.study_instance_uid, func.count())
        .where(
            _OBJECT.c.state != _SERVED,  # as the index of what is set aside says it
            _OBJECT.c.state == _SET_ASIDE,
            _OBJECT.c.study_instance_uid.in_(uids),
        )
        .group_by(_OBJECT.c.study_instance_uid)
    )
    return {row[0]: row[1] for row in conn.execute(statement)}


def _commitments(conn: Connection, studies: list[int], zone: ZoneInfo) -> list[Entry]:
    statement = (
        select(_ITEM.c.commitment, _ITEM.c.failure, func.count())
        .join(_INSTANCE, _ITEM.c.sop_instance_uid == _INSTANCE.c.sop_instance_uid)
        .join(_SERIES, _INSTANCE.c.series == _SERIES.c.id)
        .where(_SERIES.c.study.in_(studies))
        .group_by(_ITEM.c.commitment, _ITEM.c.failure)
        .order_by(_ITEM.c.commitment.desc())
        .limit(_MOST_REQUESTS)
    )
    counts: dict[int, dict[int | None, int]] = defaultdict(dict)
    for request, failure, count in conn.execute(statement):
        counts[request][failure] = count
    if not counts:
        return []
    found = conn.execute(select(_REQUEST).where(_REQUEST.c.id.in_(counts)))
    return [entry for row in found for entry in _told(row, counts[row.id], zone)]


def _told(row: Any, counts: dict[int | None, int], zone: ZoneInfo) -> list[Entry]:
    images = sum(counts.values())
    asked = Entry(
        row.received_at,
        Kind.COMMITMENT,
        f"{row.ae_title} asks us to keep {several(images, 'image')}",
        "" if row.reported_at else row.state,
        facts=known(
            ("transaction UID", row.transaction_uid),
            ("waits until", "" if row.reported_at else moment(row.wait_until, zone)),
        ),
        about="commitments",
    )
    if row.reported_at is None:
        return [asked]
    kept = counts.get(0, 0)
    failures = {reason: count for reason, count in counts.items() if reason}
    told = Entry(
        row.reported_at,
        Kind.COMMITMENT,
        f"{row.ae_title} was told that {kept:,} of {several(images, 'image')} are kept",
        "failed" if failures else "committed",
        facts=[(f"failure {reason:04X}", several(n, "image")) for reason, n in failures.items()],
        about="commitments",
    )
    return [asked, told]
