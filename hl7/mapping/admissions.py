"""Read ADT messages: who a patient is, where, and who else they are.

Person-level messages (A28, A31) have to carry a PV1 too: one of class N ("not applicable",
table 0004) says nothing of a visit.
"""

from collections.abc import Sequence
from datetime import datetime

from hl7 import columns
from hl7.er7 import Message, Segment, Value
from hl7.mapping.envelope import Envelope
from hl7.mapping.grid import Grid, Place, Row, first, leaf
from hl7.mapping.groups import Named
from hl7.mapping.identifiers import extended
from hl7.mapping.patient import PatientReader
from hl7.mapping.readers import Readers
from hl7.mapping.report import Report
from hl7.profile import Profile
from mwl.errors import Reason
from mwl.patients import Identifier, PatientLink, PatientMerge, PatientUpdate, VisitChange
from mwl.worklist import visits

_MERGES = ("merge_patient", "merge_patient_and_visit", "renumber_patient")
_MOST_MERGES = 100
_LENGTH = 64  # (0038,0010) is an LO
_NO_VISIT = "N"

Change = PatientUpdate | PatientMerge | PatientLink


class AdmissionReader:
    """A profile's way to read what ADT tells."""

    def __init__(self, profile: Profile, patient: PatientReader, grid: Grid) -> None:
        self._grid = grid
        self._patient = patient
        chains = profile.order.columns
        told = {name: chains[name] for name in visits.COLUMNS if chains.get(name)}
        self._visit = Readers(grid, profile, columns.ORDER, told)
        self._statuses = profile.values["visit_status"]
        table = profile.patient_identifier
        self._prior_visit = grid.places(table.prior_visit)
        self._visit_number = grid.places(table.visit)

    def read(
        self, event: str, message: Message, sent: Envelope, at: datetime | None, report: Report
    ) -> list[Change]:
        """Read a message by the name that its profile gives its event."""
        if event in _MERGES:
            return [*self._merges(event, message, sent, at, report)]
        if event in ("link_patients", "unlink_patients"):
            return [*self._links(message, sent, at, report, linked=event == "link_patients")]
        return [self._update(message, sent, at, report, arrived=event == "arrive_patient")]

    def _update(
        self,
        message: Message,
        sent: Envelope,
        at: datetime | None,
        report: Report,
        *,
        arrived: bool,
    ) -> PatientUpdate:
        row = self._grid.lay_out(_named(message.segments))
        patient = self._patient.read(row, report)
        visit = self._read_visit(row, message.header.get(9, 1, 2), report, arrived=arrived)
        return PatientUpdate(sent.source, patient, at, report.take_flags(), visit)

    def _read_visit(
        self, row: Row, trigger: Value, report: Report, *, arrived: bool
    ) -> VisitChange | None:
        segments = row[0].get("PV1", ())
        fields: dict[str, str | None] = {}
        if not segments or first(segments[0], 2) != _NO_VISIT:
            if segments and isinstance(trigger, str) and trigger in self._statuses:
                fields["visit_status"] = self._statuses[trigger] or None
            self._visit.read(row, report, fields)
        return VisitChange(fields, arrived) if fields or arrived else None

    def _merges(
        self, event: str, message: Message, sent: Envelope, at: datetime | None, report: Report
    ) -> list[PatientMerge]:
        """Read ADT_A39, which repeats PID with its MRG, or ADT_A30, which has one of each."""
        common, pairs = _by_patient(message)
        if not 0 < len(pairs) <= _MOST_MERGES:
            report.fault(Reason.SEQUENCE, "PID", f"1 to {_MOST_MERGES} merges a message")
            return []
        merges = []
        for pair in pairs:
            row = self._grid.lay_out({**common, **pair})
            patient = self._patient.read(row, report)
            prior = self._patient.read_prior(row, patient.id, report)
            merge = PatientMerge(sent.source, patient, prior, at, report.take_flags())
            merge.control_id = sent.control_id
            merge.renumbers = event == "renumber_patient"
            if event == "merge_patient_and_visit":
                merge.prior_visit = self._number(row, self._prior_visit, report)
                merge.visit = self._number(row, self._visit_number, report)
            merges.append(merge)
        return merges

    def _number(self, row: Row, chain: Sequence[Place], report: Report) -> Identifier | None:
        found = leaf(row, chain)
        if found is None or not isinstance(found[0], str):
            return None
        return extended(found, _LENGTH, row, report)

    def _links(
        self, message: Message, sent: Envelope, at: datetime | None, report: Report, *, linked: bool
    ) -> list[PatientLink]:
        """Read ADT_A24 and ADT_A37: two PID, each with what belongs to it."""
        common, pairs = _by_patient(message)
        if len(pairs) != 2:
            report.fault(Reason.SEQUENCE, "PID", "two patients a message")
            return []
        one, other = (
            self._patient.read(self._grid.lay_out({**common, **pair}), report) for pair in pairs
        )
        if one.id == other.id:
            report.fault(Reason.MALFORMED, "PID-3", "names the same patient twice", 2)
        return [PatientLink(sent.source, one, other, linked, at, report.take_flags())]


def _by_patient(message: Message) -> tuple[Named, list[Named]]:
    """Give the segments before the first PID, and those of each PID."""
    common: Named = {}
    pairs: list[Named] = []
    for segment in message.segments:
        if segment.name == "PID":
            pairs.append({"PID": [segment]})
        else:
            (pairs[-1] if pairs else common).setdefault(segment.name, []).append(segment)
    return common, pairs


def _named(segments: list[Segment]) -> Named:
    named: Named = {}
    for segment in segments:
        named.setdefault(segment.name, []).append(segment)
    return named
