"""The worklist as CSV (RFC 4180), for people with a spreadsheet.

Columns are named as the listing names them, and in the file's own order. A cell that a
spreadsheet would take for a formula has an apostrophe before it, which is taken away again as
the file is read: nobody's name runs a program. Files come back as spreadsheets write them, with
a byte order mark, and with semicolons where commas part decimals.
"""

import csv
import io
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any, Final, TextIO
from zoneinfo import ZoneInfo

from sqlalchemy import select

from mwl.db import Database
from mwl.db.tables import ImagingOrder, Patient, RequestedProcedure, ScheduledStep
from mwl.errors import Fault, Reason, Rejected
from mwl.orders import FINAL, YEARS, Action, OrderChange, ProcedureChange, StepChange
from mwl.patients import Identifier, PatientChange
from mwl.worklist import browse
from mwl.worklist.browse import Wanted
from mwl.worklist.numbers import IMPORTED

_p = Patient.__table__.c  # type: ignore[attr-defined]
_o = ImagingOrder.__table__.c  # type: ignore[attr-defined]
_r = RequestedProcedure.__table__.c  # type: ignore[attr-defined]
_s = ScheduledStep.__table__.c  # type: ignore[attr-defined]

# As the listing has them, and what else makes an entry.
_COLUMNS: Mapping[str, Any] = {
    "accession_number": _r.accession_number,
    "patient_id": _p.patient_id,
    "patient_name": _p.patient_name,
    "study_instance_uid": _r.study_instance_uid,
    "sps_id": _s.sps_id,
    "modality": _s.modality,
    "station_ae_title": _s.station_ae_titles,
    "start": _s.start_at,
    "status": _s.state,
    "order_status": _o.status,
    "flags": _o.flags,
    "issuer": _p.issuer,
    "birth_date": _p.birth_date,
    "sex": _p.sex,
    "requested_procedure_id": _r.requested_procedure_id,
    "procedure": _r.description,
    "description": _s.description,
    "priority": _r.priority,
    "referring_physician": _o.referring_physician,
    "placer_number": _o.placer_number,
    "placer_issuer": _o.placer_issuer,
    "filler_number": _o.filler_number,
    "filler_issuer": _o.filler_issuer,
    "accession_issuer": _r.accession_issuer,
}
COLUMNS: Final = tuple(_COLUMNS)
# What follows from the others, and is not read.
_TOLD = frozenset({"order_status", "flags"})
_NEEDED = ("patient_id", "patient_name", "modality")
_PATIENT = {name: name for name in ("patient_name", "birth_date", "sex")}
_PROCEDURE = {"procedure": "description", "priority": "priority"}
_STEP = {"modality": "modality", "description": "description"}

# PS3.5 table 6.2-1. An identifier is never shortened.
_LONGEST = {
    "accession_number": 16,
    "patient_id": 64,
    "study_instance_uid": 64,
    "sps_id": 16,
    "modality": 16,
    "requested_procedure_id": 16,
    "placer_number": 64,
    "filler_number": 64,
}
_FORMS = {
    "study_instance_uid": re.compile(r"[0-9.]*"),
    "birth_date": re.compile(r"([0-9]{8})?"),
    "sex": re.compile(r"[FMO]?"),
    "station_ae_title": re.compile(r"([^\\\x00-\x1f]{1,16}(\\[^\\\x00-\x1f]{1,16})*)?"),
}
_FORMULA = re.compile(r"'*[=+\-@\t\r\n＝＋－＠]")
_DELIMITERS = (",", ";", "\t")
_PAGE = 200
_MOST_CELL = 10_240  # characters: an LT's
_MOST_LINE = 1_000_000  # characters
_MOST_LINES = 1_000_000

_Page = Sequence[tuple[browse.Item, Any]]


def written(database: Database, wanted: Wanted, *, now: datetime, zone: ZoneInfo) -> Iterator[str]:
    """Write the entries that are wanted, in their order, page by page; lines, the names first.

    Raises Rejected as `browse.page`, at once, and Outage.
    """
    return _written(database, wanted, now, zone, _page(database, wanted, now, ()))


def _written(
    database: Database, wanted: Wanted, now: datetime, zone: ZoneInfo, rows: _Page
) -> Iterator[str]:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(COLUMNS)
    while rows:
        for _, row in rows:
            writer.writerow(_cell(name, row[name], zone) for name in COLUMNS)
        yield text.getvalue()
        text.seek(0)
        text.truncate()
        value, number = rows[-1][0].place(wanted.sort)
        rows = _page(database, wanted, now, (value, str(number)))
    yield text.getvalue()


def _page(database: Database, wanted: Wanted, now: datetime, at: tuple[str, ...]) -> _Page:
    columns = [column.label(name) for name, column in _COLUMNS.items()]
    with database.read() as session:
        items = browse.page(session, wanted, now=now, at=at, limit=_PAGE)
        statement = (
            select(_s.id.label("row"), *columns)
            .join(RequestedProcedure, _r.id == _s.procedure)
            .join(ImagingOrder, _o.id == _r.imaging_order)
            .join(Patient, _p.id == _o.patient)
            .where(_s.id.in_([item.id for item in items]))
        )
        rows = {row["row"]: row for row in session.connection().execute(statement).mappings()}
    return [(item, rows[item.id]) for item in items]


def _cell(name: str, value: Any, zone: ZoneInfo) -> str:
    if name == "start":
        return str(value.astimezone(zone).isoformat())
    text = "; ".join(value) if name == "flags" else str(value)
    return f"'{text}" if _FORMULA.match(text) else text


# ---- read ------------------------------------------------------------------------------


def read(file: Path, *, zone: ZoneInfo) -> Iterator[tuple[int, OrderChange | Rejected]]:
    """Read a file: line by line, by the number of the line it ends on, a change or why not.

    `zone` is that of times without an offset. Rejected: it is no such file at all.
    """
    try:
        with file.open(encoding="utf-8-sig", newline="") as opened:
            yield from _lines(opened, str(file), zone)
    except UnicodeDecodeError:
        text = 'is not UTF-8: save it as "CSV UTF-8"'
        raise Rejected(Fault(Reason.MALFORMED, str(file), text)) from None
    except OSError as error:
        text = error.strerror or "can't be read"
        raise Rejected(Fault(Reason.MALFORMED, str(file), text)) from None


def _lines(
    opened: TextIO, file: str, zone: ZoneInfo
) -> Iterator[tuple[int, OrderChange | Rejected]]:
    source = _bounded(opened, file)
    first = next(source, "")
    delimiter = max(_DELIMITERS, key=first.count)
    names = _names(next(csv.reader([first], delimiter=delimiter), []), f"{file}:1")
    reader = csv.reader(source, delimiter=delimiter)
    while reader.line_num < _MOST_LINES:
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield reader.line_num + 1, Rejected(Fault(Reason.MALFORMED, "", str(error)))
            continue
        if any(cells):
            yield reader.line_num + 1, _change(names, cells, zone)
    raise Rejected(Fault(Reason.TOO_LONG, file, f"more than {_MOST_LINES:,} lines"))


def _bounded(opened: TextIO, file: str) -> Iterator[str]:
    """Read lines; what has none, for as long as a file may be, is not taken into memory."""
    while line := opened.readline(_MOST_LINE + 1):
        if len(line) > _MOST_LINE:
            text = f"a line of more than {_MOST_LINE:,} characters"
            raise Rejected(Fault(Reason.TOO_LONG, file, text))
        yield line


def _names(cells: list[str], where: str) -> list[str]:
    names = [cell.strip().lower() for cell in cells]
    if unknown := [name for name in names if name not in _COLUMNS]:
        text = f"there is no column {unknown[0][:40]!r}; there are {', '.join(COLUMNS)}"
        raise Rejected(Fault(Reason.MALFORMED, where, text))
    if len(set(names)) < len(names):
        raise Rejected(Fault(Reason.MALFORMED, where, "a column is there twice"))
    if missing := [name for name in _NEEDED if name not in names]:
        text = f"there is no column {missing[0]!r}, which is needed"
        raise Rejected(Fault(Reason.MALFORMED, where, text))
    return names


def _change(names: list[str], cells: list[str], zone: ZoneInfo) -> OrderChange | Rejected:
    if len(cells) > len(names):
        text = f"{len(cells)} cells, and names for {len(names)}"
        return Rejected(Fault(Reason.MALFORMED, "", text))
    given = dict.fromkeys(COLUMNS, "")
    given |= {name: _plain(cell) for name, cell in zip(names, cells, strict=False)}
    faults = [*_faults(given)]
    start = _start(given["start"], zone)
    if start is None and given["start"]:
        faults.append(Fault(Reason.MALFORMED, "start", "no time like 2026-07-01T10:30"))
    return Rejected(*faults) if faults else _order(given, start)


def _plain(cell: str) -> str:
    text = cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell
    return text.strip(" ")


def _faults(given: Mapping[str, str]) -> Iterator[Fault]:
    for name in _NEEDED:
        if not given[name]:
            yield Fault(Reason.MISSING, name, "is needed")
    for name, value in given.items():
        if len(value) > _LONGEST.get(name, _MOST_CELL):
            text = f"more than {_LONGEST.get(name, _MOST_CELL)} characters"
            yield Fault(Reason.TOO_LONG, name, text)
        elif name in _LONGEST and "\\" in value:
            yield Fault(Reason.MALFORMED, name, "several values")
        elif not _form(name)(value) or (not value.isprintable() and name not in _TOLD):
            yield Fault(Reason.MALFORMED, name, "no value of its type")
    if given["status"] in FINAL:
        yield Fault(Reason.FINAL, "status", f"the step is {given['status']} already")


def _form(name: str) -> Callable[[str], object]:
    return _FORMS[name].fullmatch if name in _FORMS else lambda _: True


def _start(text: str, zone: ZoneInfo) -> datetime | None:
    with suppress(ValueError):
        start = datetime.fromisoformat(text)
        if start.year in YEARS:
            return start if start.tzinfo else start.replace(tzinfo=zone)
    return None


def _order(given: Mapping[str, str], start: datetime | None) -> OrderChange | Rejected:
    placer, filler = (_numbered(given, name) for name in ("placer", "filler"))
    accession = given["accession_number"]
    uid, sps_id = given["study_instance_uid"], given["sps_id"]
    number, where = filler or placer, "filler_number" if filler else "placer_number"
    if number is None and accession:
        number, where = _identifier(accession, given["accession_issuer"]), "accession_number"
        number = Identifier(number.id, number.namespace)
    if number is None and uid and sps_id:
        number, where = Identifier(f"{uid}/{sps_id}"), "study_instance_uid"
    if number is None:
        text = "nothing identifies the order"
        return Rejected(Fault(Reason.MISSING, "accession_number", text))
    stations = tuple(filter(None, given["station_ae_title"].split("\\")))
    step = StepChange(sps_id or None, start, stations or None, _stated(given, _STEP))
    procedure_id = given["requested_procedure_id"]
    fields = _stated(given, _PROCEDURE)
    for name in ("accession_number", "accession_issuer"):
        if given[name]:
            fields[name] = given[name]
    procedure = ProcedureChange(
        key=procedure_id or uid or number.id,
        requested_procedure_id=procedure_id or None,
        study_uid=uid or None,
        fields=fields,
        steps=[step],
    )
    patient = PatientChange(
        _identifier(given["patient_id"], given["issuer"]),
        where="patient_id",
        fields=_stated(given, _PATIENT),
    )
    return OrderChange(
        source=IMPORTED,
        action=Action.CREATE,
        number=number,
        where=where,
        placer=placer,
        filler=filler,
        patient=patient,
        fields=_stated(given, {"referring_physician": "referring_physician"}),
        procedures=[procedure],
    )


def _numbered(given: Mapping[str, str], who: str) -> Identifier | None:
    number = given[f"{who}_number"]
    return _identifier(number, given[f"{who}_issuer"]) if number else None


def _identifier(value: str, issuer: str) -> Identifier:
    namespace, universal_id, universal_type = (*issuer.split("^"), "", "", "")[:3]
    return Identifier(value, namespace, universal_id, universal_type)


def _stated(given: Mapping[str, str], columns: Mapping[str, str]) -> dict[str, str | None]:
    """Take what is stated; what is empty in a file says nothing."""
    return {column: given[name] for name, column in columns.items() if given[name]}
