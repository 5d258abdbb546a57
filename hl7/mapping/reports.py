"""Read ORU^R01: every OBR with its OBX is a report of its own, or a version of one.

A report is known by its order's number (filler, else placer) and its code; both are read
where the profile reads them of an order. What the patient's segments say is taken as it is:
reports of people whom nobody has announced are kept as well, so nothing of it is a fault.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime, tzinfo

from hl7.chains import Chain
from hl7.columns import SH
from hl7.embedded import Embedded
from hl7.er7 import Message, Segment
from hl7.mapping import observed, places
from hl7.mapping.envelope import Envelope
from hl7.mapping.grid import Grid, Row, View
from hl7.mapping.groups import split
from hl7.mapping.observed import line
from hl7.mapping.patient import PatientReader
from hl7.mapping.report import Report
from hl7.mapping.times import NotATime, read_instant
from hl7.profile import Profile
from hl7.profile_tables import ReportTable
from mwl.errors import Reason
from mwl.patients import Identifier
from mwl.reports import Part, ReportChange, Status

_Numbers = tuple[Identifier | None, Identifier | None]

_LONGEST_NUMBER = 64
_LONGEST_UID = 64
_MOST_PEOPLE = 8
_MOST_UIDS = 10


class ReportReader:
    """A profile's way to read reports."""

    def __init__(self, profile: Profile, patient: PatientReader, grid: Grid) -> None:
        self._patient, self._grid = patient, grid
        self._table: ReportTable | None = profile.report
        self._filler, self._placer = profile.order.filler, profile.order.placer
        self._accession = profile.procedure.columns.get("accession_number", ())
        self._maps_accessions = profile.lengths.maps("accession_number")
        self._study_uid = profile.procedure.study_uid

    def read(
        self,
        message: Message,
        sent: Envelope,
        at: datetime | None,
        zone: tzinfo,
        report: Report,
    ) -> list[ReportChange]:
        """Read every report of a message, in its order; faults are in `report`."""
        assert self._table is not None
        _, groups = split(message, self._grid, report)
        documents = message.embedded
        found = []
        patient: Identifier | None = None
        described: dict[str, str] = {}
        for group in groups:
            several = len(group.details) > 1
            for row, detail in zip(group.rows, group.details, strict=False):
                if patient is None:
                    patient, described = self._read_patient(row, report)
                numbers = self._numbers(row[0], several=several)
                change = self._read(row[0], detail, numbers, self._table, zone, documents, report)
                change.source, change.control_id = sent.source, sent.control_id
                change.patient, change.at = patient, at
                change.fields.update(described)
                change.flags += report.take_flags()
                found.append(change)
        if not found:
            report.fault(Reason.SEQUENCE, "OBR", "a report without OBR")
        return found

    def _numbers(self, view: View, *, several: bool) -> _Numbers:
        """Read filler and placer number; of `several` OBR under one ORC, each one's own."""
        chains = self._filler, self._placer
        if several:
            chains = _obr_first(self._filler), _obr_first(self._placer)
        filler, placer = (_number(view, chain) for chain in chains)
        return filler, placer

    def _read_patient(self, row: Row, report: Report) -> tuple[Identifier, dict[str, str]]:
        """Read whom the report is about, as far as that can be read."""
        own = Report()
        patient = self._patient.read(row, own)
        report.shortened += own.shortened
        if own.faults:
            report.flag("no patient's identifier that can be read: whose report it is, is open")
        said = {name: patient.fields.get(name) or "" for name in ("patient_name", "birth_date")}
        return patient.id, said

    def _read(  # noqa: PLR0913 - what is read, and how
        self,
        view: View,
        detail: View,
        numbers: _Numbers,
        table: ReportTable,
        zone: tzinfo,
        documents: Embedded,
        report: Report,
    ) -> ReportChange:
        observations = detail.get("OBX", ())
        filler, placer = numbers
        number = filler or placer
        uids = self._uids(view, observations, table)
        found = ReportChange(
            "",
            _status(view, observations, table, report),
            Identifier(""),
            number=f"{number.id}^{number.issuer_key}".rstrip("^") if number else "",
            code=places.first(view, table.code),
            placer=placer,
            filler=filler,
            study_uids=uids,
            issued_at=_instant(view, table.issued_at, zone, report),
            completes=table.completes_order,
            parts=_parts(observations, uids, detail, documents, report),
        )
        found.fields = {
            "title": places.first(view, table.title),
            "interpreter": "".join(_people(view, table.interpreter)[:1]),
            "others": "\\".join(_people(view, table.others)[:_MOST_PEOPLE]),
            "accession_number": self._accession_number(view, report),
        }
        if not found.parts and found.status is not Status.CANCELED:
            report.flag("a report without content")
        return found

    def _accession_number(self, view: View, report: Report) -> str:
        found = places.where(view, self._accession)
        if found is None:
            return ""
        number, link = found
        if self._maps_accessions and SH < len(number) < places.LONGEST:
            return report.shorten(number, SH, str(link))
        return number[:_LONGEST_NUMBER]

    def _uids(
        self, view: View, observations: Iterable[Segment], table: ReportTable
    ) -> tuple[str, ...]:
        """Read which studies it is about: where an order has its UID, else observations."""
        found = [places.first(view, self._study_uid)]
        for segment in observations:
            code, text = segment.get(3, 1, 1), segment.get(3, 1, 2)
            named = isinstance(text, str) and text.strip().lower() in table.study_uid_texts
            if code in table.study_uid_codes or named:
                value = segment.get(5)
                found.append(value.strip() if isinstance(value, str) else "")
        known = dict.fromkeys(uid for uid in found if uid and len(uid) <= _LONGEST_UID)
        return tuple(known)[:_MOST_UIDS]


def _parts(
    observations: Sequence[Segment],
    uids: Sequence[str],
    detail: View,
    documents: Embedded,
    report: Report,
) -> list[Part]:
    # Which study it is about stands with the report, not in it.
    told = [each for each in observations if each.get(5) not in uids]
    found = observed.parts(told, documents, report)
    remark = observed.comment(detail.get("NTE", ()))
    return [*found, remark] if remark else found


def _status(
    view: View, observations: Iterable[Segment], table: ReportTable, report: Report
) -> Status:
    """Read OBR-25, else what is said of the observations; corrected is what says so."""
    said = places.first(view, table.status).upper()
    each = {places.code(segment, 11) for segment in observations} - {""}
    known = {table.states[code] for code in each if code in table.states}
    status = table.states.get(said)
    if said and status is None:
        report.flag("a status of the report that is not in [report.states]: taken as preliminary")
        return Status.PRELIMINARY
    if status is Status.FINAL and Status.CORRECTED in known:
        return Status.CORRECTED
    if status is not None:
        return status
    if not known:
        report.flag("a report without a status: taken as preliminary")
        return Status.PRELIMINARY
    for likely in (Status.PRELIMINARY, Status.CORRECTED, Status.FINAL):
        if likely in known:
            return likely
    return Status.CANCELED


def _instant(view: View, chain: Chain, zone: tzinfo, report: Report) -> datetime | None:
    text = places.first(view, chain)
    try:
        return read_instant(text, zone)[0] if text else None
    except NotATime as error:
        report.flag(f"when the report was issued can't be read: {error}")
        return None


def _obr_first(chain: Chain) -> Chain:
    return tuple(sorted(chain, key=lambda link: all(place.segment != "OBR" for place in link)))


def _number(view: View, chain: Chain) -> Identifier | None:
    found = places.entity(view, chain)
    # A number is not shortened: it would be another order's.
    return found[0] if found and len(found[0].id) <= _LONGEST_NUMBER else None


def _people(view: View, chain: Chain) -> list[str]:
    """Read the names of XCN, or of NDL, whose first component is a CNN; each once, as PN."""
    found: dict[str, None] = {}
    for place in [place for link in chain if places.hold(view, link.when) for place in link]:
        for segment in view.get(place.segment, ()):
            for repetition in range(1, min(segment.count(place.field), _MOST_PEOPLE) + 1):
                if name := _name(segment, place.field, repetition):
                    found[name] = None
    return list(found)


def _name(segment: Segment, field: int, repetition: int) -> str:
    def parts(*places: tuple[int, int]) -> str:
        found = [segment.get(field, repetition, *place) for place in places]
        # The five components of PN: an XCN has its suffix before its prefix.
        texts = [line(each, 64) if isinstance(each, str) else "" for each in found]
        return "^".join(texts).rstrip("^").replace("\\", "/")

    # XCN-1 is an identifier and has no subcomponents; NDL-1 is a name in subcomponents.
    return parts((1, 2), (1, 3), (1, 4), (1, 6), (1, 5)) or parts(
        (2, 1), (3, 1), (4, 1), (6, 1), (5, 1)
    )
