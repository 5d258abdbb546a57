"""Read a message as changes to orders and patients, by a profile.

`Mapper.read` is the whole of it: segments in, `OrderChange`, `PatientUpdate`, `PatientMerge`,
`PatientLink` and `ReportChange` out, or Rejected with every fault of the message. It knows no
database.
"""

from datetime import datetime, tzinfo
from zoneinfo import ZoneInfo

from hl7.er7 import Message
from hl7.mapping.admissions import AdmissionReader
from hl7.mapping.appointments import AppointmentReader
from hl7.mapping.envelope import Envelope, check, envelope, sent_at
from hl7.mapping.grid import Grid
from hl7.mapping.groups import split, with_notes
from hl7.mapping.orders import Context, OrderReader
from hl7.mapping.patient import PatientReader
from hl7.mapping.report import Report
from hl7.mapping.reports import ReportReader
from hl7.mapping.times import offset_of
from hl7.mapping.usual import UsualOrders
from hl7.profile import Profile
from mwl.errors import Reason
from mwl.orders import OrderChange
from mwl.patients import PatientLink, PatientMerge, PatientUpdate
from mwl.reports import ReportChange

Change = OrderChange | PatientUpdate | PatientMerge | PatientLink | ReportChange


class Mapper:
    """A profile, compiled. Threads may share it."""

    def __init__(self, profile: Profile, site_zone: ZoneInfo) -> None:
        self.profile = profile
        self._zone: ZoneInfo = profile.time.zone or site_zone
        self._grid = Grid()
        self._patient = PatientReader(profile, self._grid)
        self._orders = OrderReader(profile, self._grid)
        self._usual = UsualOrders(self._patient, self._orders)
        self._admissions = AdmissionReader(profile, self._patient, self._grid)
        self._appointments = AppointmentReader(profile, self._patient, self._grid)
        self._reports = ReportReader(profile, self._patient, self._grid)

    def read(self, message: Message, sent: Envelope, now: datetime) -> list[Change]:
        """Give what a message that arrived at `now` asks for, in its order.

        Flags stand with the change that they are about. Raises Rejected.
        """
        report = Report()
        event = check(message, sent, self.profile, report)
        report.reject()
        zone = self._zone_of(message)
        at = sent_at(message, zone, now, report)
        changes: list[Change]
        if event == "ignore":
            return []
        if event == "order":
            changes = [*self._read_orders(message, sent, at, zone, report)]
        elif event == "appointment":
            changes = [*self._appointments.read(message, sent, at, zone, report)]
        elif event == "report":
            changes = [*self._reports.read(message, sent, at, zone, report)]
        else:
            changes = [*self._admissions.read(event, message, sent, at, report)]
        report.reject()
        changes[-1].flags += report.take_flags()
        if report.shortened:
            changes[-1].shortened = report.shortened
        return changes

    def _zone_of(self, message: Message) -> tzinfo:
        # By option only: most senders don't mean it, and a winter's offset would move an
        # appointment of next summer.
        if not self.profile.time.msh7_offset:
            return self._zone
        value = message.header.get(7)
        return (offset_of(value.strip()) if isinstance(value, str) else None) or self._zone

    def _read_orders(
        self,
        message: Message,
        sent: Envelope,
        at: datetime | None,
        zone: tzinfo,
        report: Report,
    ) -> list[OrderChange]:
        head, groups = split(message, self._grid, report)
        if not groups:
            if not report.faults:  # else there are too many
                report.fault(Reason.SEQUENCE, "ORC", "an order message without ORC and OBR")
            return []
        if groups[0].common is head:  # whatever there is is there once
            usual = self._usual.read(groups[0].rows[0], sent.source, at, zone, report)
            if usual is not None:
                return [usual]
        patient = self._patient.read(with_notes(groups[0].rows[0], head), report)
        return self._orders.read(groups, Context(sent.source, at, zone, patient), report)


__all__ = ["Change", "Envelope", "Mapper", "envelope"]
