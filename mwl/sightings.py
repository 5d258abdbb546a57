"""What scanners were shown: which worklist item, when, and what it told of the patient then.

A scanner keeps the list that it was answered with, and its images come with what that list
said. So when a name is corrected later, it matters who still has the old one.

`Lookout` is told of every answer while it goes out, which must cost next to nothing: it
keeps the last of each step and scanner in memory, and a thread writes them every two seconds.
A kill loses two seconds of sightings, nothing else.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from itertools import repeat
from operator import itemgetter
from threading import Event, Lock, Thread
from typing import Any
from zoneinfo import ZoneInfo

import structlog
from sqlalchemy import Connection, Select, bindparam, select, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import IntegrityError
from sqlmodel import Session

from mwl.db import Database, Prepared
from mwl.db.tables import ImagingOrder, Patient, RequestedProcedure, ScheduledStep, Sighting
from mwl.orders import FINAL
from mwl.worklist.columns import COLUMNS

log = structlog.get_logger(__name__)

_WRITE_S = 2.0
_MOST_KEPT = 20_000  # steps and scanners between two writes, of half a kilobyte each
_AT_ONCE = 500  # rows of one transaction: orders come in meanwhile

# What is remembered of an answer: column of `mwl.worklist.find` → DICOM keyword.
KEYWORDS: Mapping[str, str] = {
    "patient_name": "PatientName",
    "patient_id": "PatientID",
    "birth_date": "PatientBirthDate",
    "accession_number": "AccessionNumber",
    "modality": "Modality",
    "procedure_description": "RequestedProcedureDescription",
    "start_local": "ScheduledProcedureStepStartDateTime",
}
_LABELS: Mapping[str, str] = {
    "PatientName": "name",
    "PatientID": "patient ID",
    "PatientBirthDate": "birth date",
    "AccessionNumber": "accession number",
    "Modality": "modality",
    "RequestedProcedureDescription": "procedure",
    "ScheduledProcedureStepStartDateTime": "start",
}

_SIGHTING = Sighting.__table__  # type: ignore[attr-defined]
_STEP = ScheduledStep.__table__  # type: ignore[attr-defined]
_PROCEDURE = RequestedProcedure.__table__  # type: ignore[attr-defined]
_ORDER = ImagingOrder.__table__  # type: ignore[attr-defined]
_PATIENT = Patient.__table__  # type: ignore[attr-defined]


@dataclass(frozen=True, slots=True)
class Seen:
    """A scanner's last sight of a step; `outdated` is what has changed since, by keyword.

    Of each: what it was shown, and what is on file now.
    """

    step: int
    sps_id: str
    ae_title: str
    address: str
    count: int
    first_at: datetime
    last_at: datetime
    shown: Mapping[str, str]
    outdated: Mapping[str, tuple[str, str]] = field(default_factory=dict)

    @property
    def is_stale(self) -> bool:
        """Whether the scanner's copy tells something else than what is on file."""
        return bool(self.outdated)

    def warning(self, zone: ZoneInfo, changed_at: datetime | None = None) -> str:
        """Say in a sentence what of it is old, and what to expect; times in `zone`.

        `changed_at` is when that changed, None: it isn't known.
        """
        told = ", ".join(f"{label(k)} {spoken(old)}" for k, (old, _) in self.outdated.items())
        now = " and ".join(label(keyword) for keyword in self.outdated)
        changed = f"changed {_clock(changed_at, self.last_at, zone)}" if changed_at else "changed"
        at = f"{self.last_at.astimezone(zone):%Y-%m-%d %H:%M}"
        return (
            f"{self.ae_title} was shown {told} at {at}; since then the {now} {changed}: "
            "expect the old in its MPPS and images, unless it asks again"
        )


def label(keyword: str) -> str:
    """Name for people what is remembered of an answer."""
    return _LABELS.get(keyword, keyword)


def spoken(value: str) -> str:
    """Write what a scanner was told; dates and times as people do."""
    if not value.isdigit() or len(value) not in (8, 14):
        return value or "none"
    day = f"{value[:4]}-{value[4:6]}-{value[6:8]}"
    return f"{day} {value[8:10]}:{value[10:12]}" if len(value) == 14 else day


def _clock(at: datetime, than: datetime, zone: ZoneInfo) -> str:
    """Write a time, with its day where that is another one than that of `than`."""
    local = at.astimezone(zone)
    is_same = local.date() == than.astimezone(zone).date()
    return f"at {local:%H:%M}" if is_same else f"on {local:%Y-%m-%d at %H:%M}"


def _statement() -> Select[Any]:
    now = (
        _PATIENT.c.patient_name,
        _PATIENT.c.patient_id,
        _PATIENT.c.birth_date,
        _PROCEDURE.c.accession_number,
        _STEP.c.modality,
        COLUMNS["procedure_description"].label("procedure_description"),
        _STEP.c.start_local,
    )
    return (
        select(*_SIGHTING.c, _STEP.c.sps_id, *now)
        .join(_STEP, _STEP.c.id == _SIGHTING.c.step)
        .join(_PROCEDURE, _PROCEDURE.c.id == _STEP.c.procedure)
        .join(_ORDER, _ORDER.c.id == _PROCEDURE.c.imaging_order)
        .join(_PATIENT, _PATIENT.c.id == _ORDER.c.patient)
        .order_by(_SIGHTING.c.last_at.desc(), _SIGHTING.c.ae_title, _SIGHTING.c.step)
    )


_OF_STEP = Prepared(_statement().where(_SIGHTING.c.step == bindparam("row")))
_OF_ORDER = Prepared(_statement().where(_PROCEDURE.c.imaging_order == bindparam("row")))


_MOST_TITLES = 10
_IS_LEFT = text(f"scheduled_step.state NOT IN ({', '.join(repr(str(each)) for each in FINAL)})")
_SHOWN_TO = Prepared(
    select(_SIGHTING.c.ae_title)
    .join(_STEP, _STEP.c.id == _SIGHTING.c.step)
    .join(_PROCEDURE, _PROCEDURE.c.id == _STEP.c.procedure)
    .join(_ORDER, _ORDER.c.id == _PROCEDURE.c.imaging_order)
    .where(_ORDER.c.patient == bindparam("patient"), _IS_LEFT)
    .distinct()
    .order_by(_SIGHTING.c.ae_title)
    .limit(_MOST_TITLES)
)


def shown_to(conn: Connection, patient: int) -> list[str]:
    """List scanners, by AE title, that were shown work for a patient that is not yet over."""
    return [row.ae_title for row in _SHOWN_TO.all(conn, {"patient": patient})]


def of_step(session: Session, step: int) -> list[Seen]:
    """List who was shown a step, the latest first."""
    return [_seen(row) for row in _OF_STEP.all(session.connection(), {"row": step})]


def of_order(session: Session, order: int) -> list[Seen]:
    """List who was shown a step of an order, the latest first."""
    return [_seen(row) for row in _OF_ORDER.all(session.connection(), {"row": order})]


_MOST_SEEN = 2_000


def outdated(session: Session, steps: Iterable[int]) -> dict[int, list[Seen]]:
    """Tell of some steps that are not over which scanners have an old copy."""
    found: dict[int, list[Seen]] = {}
    statement = _statement().where(_SIGHTING.c.step.in_(list(steps)), _IS_LEFT)
    for row in session.connection().execute(statement.limit(_MOST_SEEN)):
        seen = _seen(row)
        if seen.is_stale:
            found.setdefault(seen.step, []).append(seen)
    return found


def _seen(row: Any) -> Seen:
    now = {keyword: getattr(row, column) for column, keyword in KEYWORDS.items()}
    outdated = {
        keyword: (row.shown[keyword], value)
        for keyword, value in now.items()
        if keyword in row.shown and row.shown[keyword] != value
    }
    return Seen(
        row.step,
        row.sps_id,
        row.ae_title,
        row.address,
        row.count,
        row.first_at,
        row.last_at,
        row.shown,
        outdated,
    )


@dataclass(slots=True)
class _Answers:
    """What one scanner was told since the last write, of the columns that it asks for."""

    rows: dict[int, tuple[str, ...]] = field(default_factory=dict)  # the last, by step
    counts: Counter[int] = field(default_factory=Counter)
    first: dict[int, datetime] = field(default_factory=dict)
    last: dict[int, datetime] = field(default_factory=dict)


# A scanner: its title, its address, the columns that are remembered of what it asked for.
_Asker = tuple[str, str, tuple[str, ...]]


class Lookout:
    """Note what scanners are shown; create it after the fork. Threads may share it."""

    def __init__(self, database: Database) -> None:
        """Note into `database`."""
        self._database = database
        self._lock = Lock()  # guards the three below
        self._answers: dict[_Asker, _Answers] = {}
        self._kept = 0
        self._lost = 0
        self._stopping = Event()
        self._writer = Thread(target=self._write_all, name="sightings", daemon=True)

    def start(self) -> None:
        """Begin to write down what was shown, in a thread."""
        self._writer.start()

    def stop(self) -> None:
        """Write what is left and end the thread."""
        self._stopping.set()
        self._writer.join()

    def note(
        self, title: str, address: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]
    ) -> None:
        """Take rows of `mwl.worklist.find` that were answered with; `columns` they begin with."""
        if not rows:
            return
        told = tuple(name for name in KEYWORDS if name in columns)
        steps = list(map(itemgetter(-1), rows))
        places = [columns.index(name) for name in told]
        # In C: a list of a thousand takes little longer than one of its answers.
        values: Iterable[tuple[str, ...]] = zip(
            *(map(itemgetter(place), rows) for place in places), strict=True
        )
        now = datetime.now(UTC)
        with self._lock:
            if self._kept + len(steps) > _MOST_KEPT:
                self._lost += len(steps)
                return
            asker = title, address, told
            answers = self._answers.setdefault(asker, _Answers())
            before, first = len(answers.rows), answers.first
            first |= {step: now for step in steps if step not in first}
            answers.last |= dict.fromkeys(steps, now)
            answers.counts.update(steps)
            answers.rows.update(zip(steps, values if told else repeat(()), strict=bool(told)))
            self._kept += len(answers.rows) - before

    def _write_all(self) -> None:
        while not self._stopping.wait(_WRITE_S):
            self.write()
        self.write()

    def write(self) -> None:
        """Write down what was noted so far."""
        with self._lock:
            answers, self._answers = self._answers, {}
            lost, self._kept, self._lost = self._lost, 0, 0
        if lost:
            log.warning("sightings.lost", count=lost, reason="too many at once")
        # In one order everywhere, so that no two processes wait for each other's rows.
        rows = sorted(_rows(answers), key=itemgetter("step", "ae_title"))
        for start in range(0, len(rows), _AT_ONCE):
            some = rows[start : start + _AT_ONCE]
            try:
                self._keep(some)
            except Exception as error:
                # Worth a look, not an outage.
                log.warning("sightings.lost", count=len(some), exc_info=error)

    def _keep(self, rows: Sequence[Mapping[str, Any]]) -> None:
        try:
            self._database.write(partial(keep, rows=rows))
        except IntegrityError:
            # Some of the steps have been removed since (`mwl.retention`).
            self._database.write(partial(_keep_left, rows=rows))


def _rows(answers: Mapping[_Asker, _Answers]) -> Iterator[dict[str, Any]]:
    made: dict[tuple[int, str], dict[str, Any]] = {}
    for (title, address, told), each in answers.items():
        keywords = [KEYWORDS[name] for name in told]
        for step, values in each.rows.items():
            row = {
                "step": step,
                "ae_title": title,
                "address": address,
                "count": each.counts[step],
                "first_at": each.first[step],
                "last_at": each.last[step],
                "shown": dict(zip(keywords, values, strict=True)),
            }
            before = made.get((step, title))
            made[step, title] = _together(before, row) if before else row
    yield from made.values()


def _together(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """Make one of what a scanner was told of a step by two ways of asking: the later, and both."""
    later = max(other, one, key=itemgetter("last_at"))
    first_at = min(one["first_at"], other["first_at"])
    return {**later, "count": one["count"] + other["count"], "first_at": first_at}


def keep(session: Session, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write sightings, each in place of the last of its step and scanner."""
    conn = session.connection()
    dialect_insert = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}[conn.dialect.name]
    statement: Any = dialect_insert(_SIGHTING)
    new = statement.excluded
    conn.execute(
        statement.on_conflict_do_update(
            index_elements=["step", "ae_title"],
            set_={
                "count": _SIGHTING.c.count + new.count,
                **{name: new[name] for name in ("address", "last_at", "shown")},
            },
        ),
        [dict(row) for row in rows],
    )


def _keep_left(session: Session, rows: Sequence[Mapping[str, Any]]) -> None:
    steps = select(_STEP.c.id).where(_STEP.c.id.in_({row["step"] for row in rows}))
    there = set(session.connection().scalars(steps))
    if left := [row for row in rows if row["step"] in there]:
        keep(session, left)
