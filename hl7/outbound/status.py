"""An order's status as a message: ORM^O01, OMG^O19, OMI^O23 or ORU^R01.

Which is one fact of the outbox (`mwl.outbox.facts`), rendered for one destination:

    event   ORC-1  ORC-5  OBR-25
    IP      SC     IP     I    table 0123: no results available, procedure incomplete
    CM      SC     CM     A    some, but not all, results available
    CLOSED  SC     CM     R    results stored, not yet verified: all images are kept
    DC      SC     DC     X    no results available, order canceled
    CA      SC     CA     X    the same: a scanner has cancelled it

ORC-1 SC is "status changed" (table 0119), ORC-5 table 0038. An order has one status, so
every group says the same; procedures that were cancelled are not spoken of, nor, while the
order is in progress, those that have not begun. A message with IPC has one OBR a requested
procedure and one IPC a step; the others have one OBR a step, with OBR-18 to OBR-20 as IHE
(RAD-4, RAD-13) uses them. TQ1 came with v2.5 and no ORM has it: there ORC-7 and OBR-27 say
when and how urgently.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from zoneinfo import ZoneInfo

from hl7.outbound.building import Field, Segment, build, components, repeated, text
from mwl import charsets

Fact = Mapping[str, Any]

UTF_8: Final = "UNICODE UTF-8"  # table 0211
_VERSION: Final = 1  # of the payload
_STATUSES = {
    "IP": ("IP", "I"),
    "CM": ("CM", "A"),
    "CLOSED": ("CM", "R"),
    "DC": ("DC", "X"),
    "CA": ("CA", "X"),
}
_NOT_BEGUN = frozenset({"HELD", "SCHEDULED", "ARRIVED", "READY", "CANCELED"})
# (0040,1003) → table 0485
_PRIORITIES = {"STAT": "S", "HIGH": "A", "ROUTINE": "R", "MEDIUM": "T", "LOW": "R"}
_REPRESENTATIONS = ("A", "I", "P")  # table 0465, in the order of PN's groups
_UNKNOWN_CLASS = "U"  # PV1-2, table 0004, which can't be empty


@dataclass(frozen=True, slots=True)
class Style:
    """What a destination reads. `message` is MSH-9.1^MSH-9.2, `application` MSH-5 (HD)."""

    message: str
    version: str
    application: str = ""
    facility: str = ""
    charset: str = UTF_8
    sending_application: str = "MWL"
    sending_facility: str = ""

    @property
    def kind(self) -> str:
        return self.message.partition("^")[0]

    @property
    def release(self) -> tuple[int, ...]:
        return tuple(map(int, self.version.split(".")))

    @property
    def has_tq1(self) -> bool:
        return self.release >= (2, 5) and self.kind != "ORM"

    @property
    def structure(self) -> str:
        return self.message.replace("^", "_")


def render(fact: Fact, style: Style, *, control_id: str, now: datetime, zone: ZoneInfo) -> bytes:
    """Render a fact, MSH-18 included. Raises KeyError, ValueError for what is no such fact."""
    if fact["version"] != _VERSION:
        raise ValueError("a fact of another version of this program")
    body = list(_Status(fact, style, zone).segments())
    # What the destination's set can't say, or one that we don't know, goes as UTF-8.
    for charset in (style.charset, UTF_8):
        head = _header(style, charset, control_id, now.astimezone(zone))
        message = build(style.structure, style.version, head, body)
        encoded = charsets.encode_hl7(message, charset)
        if encoded is not None:
            return encoded
    raise ValueError("a text that is no Unicode")


def _header(style: Style, charset: str, control_id: str, now: datetime) -> Mapping[int, Field]:
    kind, _, event = style.message.partition("^")
    # The message structure came with v2.3.1.
    structure = (style.structure,) if style.release >= (2, 3, 1) else ()
    return {
        3: _designator(style.sending_application),
        4: _designator(style.sending_facility),
        5: _designator(style.application),
        6: _designator(style.facility),
        7: _instant(now),
        9: components(kind, event, *structure),
        10: text(control_id),
        11: "P",
        12: style.version,
        18: text(charset),
    }


class _Status:
    """One fact and one style."""

    def __init__(self, fact: Fact, style: Style, zone: ZoneInfo) -> None:
        self._style = style
        self._order, self._patient = fact["order"], fact["patient"]
        self._performed = fact["performed"]
        self._event: str = fact["event"]
        self._status, self._results = _STATUSES[self._event]
        self._at = _instant(datetime.fromisoformat(fact["at"]).astimezone(zone))
        self._procedures = _told(fact["procedures"], self._event)

    def segments(self) -> Iterator[Segment]:
        yield self._pid()
        if self._order["admission_id"] or self._order["route_of_admissions"]:
            yield self._pv1()
        for number, (procedure, steps) in enumerate(self._groups(), start=1):
            yield from self._group(number, procedure, steps)

    def _groups(self) -> Iterator[tuple[Fact, Sequence[Fact]]]:
        for procedure in self._procedures:
            if self._style.kind == "OMI":
                yield procedure, procedure["steps"]
            else:
                for step in procedure["steps"]:
                    yield procedure, [step]

    def _group(self, number: int, procedure: Fact, steps: Sequence[Fact]) -> Iterator[Segment]:
        step, kind = steps[0], self._style.kind
        timing = Segment("TQ1", {1: "1", 7: text(step["start_local"]), 9: _priority(procedure)})
        obr = self._obr(number, procedure, step)
        yield self._orc(procedure, step)
        if not self._style.has_tq1:
            yield obr
        else:
            # An ORU has the timing behind its OBR, orders have it before.
            yield from (obr, timing) if kind == "ORU" else (timing, obr)
        study_uid = text(procedure["study_instance_uid"])
        if kind == "OMI":
            yield from (self._ipc(procedure, each) for each in steps)
        elif kind == "ORU":
            # No Z segment in a result: an observation, DCM 113014 "DICOM Study".
            concept = components("113014", "DICOM Study", "DCM")
            yield Segment("OBX", {1: "1", 2: "ST", 3: concept, 4: "1", 5: study_uid, 11: "O"})
        else:
            yield Segment("ZDS", {1: f"{study_uid}^^Application^DICOM"})  # IHE RAD-4

    def _pid(self) -> Segment:
        patient = self._patient
        return Segment(
            "PID",
            {
                1: "1",
                3: self._identifier(patient["patient_id"], patient["issuer"], "PI"),
                5: _names(patient["patient_name"]),
                7: text(patient["birth_date"]),
                8: text(patient["sex"]),
            },
        )

    def _pv1(self) -> Segment:
        visit, issuer = self._order["admission_id"], self._order["admission_issuer"]
        return Segment(
            "PV1",
            {
                1: "1",
                2: text(self._order["route_of_admissions"] or _UNKNOWN_CLASS),
                19: self._identifier(visit, issuer, "VN") if visit else "",
            },
        )

    def _identifier(self, number: str, issuer: str, type_: str) -> Field:
        """Write a CX; its type (table 0203) is asked for since v2.7."""
        is_typed = self._style.release >= (2, 7)
        return components(number, "", "", _issuer(issuer), type_ if is_typed else "")

    def _orc(self, procedure: Fact, step: Fact) -> Segment:
        return Segment(
            "ORC",
            {
                1: "SC",
                2: self._placer(),
                3: self._filler(),
                5: self._status,
                7: "" if self._style.has_tq1 else _timing(procedure, step),
                9: self._at,
            },
        )

    def _obr(self, number: int, procedure: Fact, step: Fact) -> Segment:
        performed, has_ipc = self._performed, self._style.kind == "OMI"
        steps = {} if has_ipc else {20: text(step["sps_id"])}
        # OBR-18 is an ST: who assigned the number stands behind it as in an EI, where nothing
        # else in the message says it.
        issuer = "" if has_ipc else procedure["accession_issuer"]
        return Segment(
            "OBR",
            {
                1: str(number),
                2: self._placer(),
                3: self._filler(),
                4: _service(procedure, step),
                7: text(performed["start"]),
                8: text(performed["end"]) if self._event != "IP" else "",
                18: _entity(procedure["accession_number"], issuer),
                19: text(procedure["requested_procedure_id"]),
                **steps,
                21: text(performed["station"]),
                22: self._at,
                24: text(performed["modality"] or step["modality"]),
                25: self._results,
                27: "" if self._style.has_tq1 else _timing(procedure, step),
            },
        )

    def _ipc(self, procedure: Fact, step: Fact) -> Segment:
        return Segment(
            "IPC",
            {
                1: _entity(procedure["accession_number"], procedure["accession_issuer"]),
                2: text(procedure["requested_procedure_id"]),
                3: text(procedure["study_instance_uid"]),
                4: text(step["sps_id"]),
                5: text(step["modality"]),
                6: components(
                    step["protocol_value"], step["protocol_meaning"], step["protocol_scheme"]
                ),
                7: text(step["station_name"]),
                8: text(step["location"]),
                9: text(self._station(step)),
            },
        )

    def _station(self, step: Fact) -> str:
        """Choose one of the stations that a step was scheduled on: IPC-9 does not repeat."""
        titles: list[str] = step["station_ae_titles"].split("\\")
        performed: str = self._performed["station"]
        return performed if performed in titles else titles[0]

    def _placer(self) -> Field:
        return _entity(self._order["placer_number"], self._order["placer_issuer"])

    def _filler(self) -> Field:
        order = self._order
        if order["filler_number"] or order["placer_number"]:
            return _entity(order["filler_number"], order["filler_issuer"])
        # An entry of our own: it has no number but ours.
        return _entity(order["order_number"], order["order_namespace"])


def _told(procedures: Sequence[Fact], event: str) -> Sequence[Fact]:
    """Leave out steps that the event does not speak of, unless nothing would be left."""
    silent = _NOT_BEGUN if event == "IP" else frozenset({"CANCELED"})
    left = [
        {**procedure, "steps": steps}
        for procedure in procedures
        if (steps := [step for step in procedure["steps"] if step["state"] not in silent])
    ]
    return left or procedures


def _entity(number: str, issuer: str) -> Field:
    return components(number, *issuer.split("^")) if number else ""


def _issuer(issuer: str) -> tuple[str, ...]:
    """Write an HD one level lower: namespace & universal ID & type."""
    return tuple(issuer.split("^"))


def _designator(value: str) -> Field:
    return components(*value.split("^"))


def _names(name: str) -> Field:
    """Write a PN as XPN: prefix and suffix change places, groups become repetitions."""
    groups = name.split("=")
    tell = len(groups) > 1
    return repeated(
        _name(group, code if tell else "")
        for group, code in zip(groups, _REPRESENTATIONS, strict=False)
        if group
    )


def _name(group: str, code: str) -> Field:
    family, given, middle, prefix, suffix = [*group.split("^"), *[""] * 5][:5]
    return components(family, given, middle, suffix, prefix, "", "", code)


def _service(procedure: Fact, step: Fact) -> Field:
    """Write OBR-4: the procedure's code, and the step's as its alternate."""
    meaning = procedure["code_meaning"] or procedure["description"]
    own = (procedure["code_value"], meaning, procedure["code_scheme"])
    other = (
        step["protocol_value"],
        step["protocol_meaning"] or step["description"],
        step["protocol_scheme"],
    )
    if not any(own):
        return components(*other, *own)
    return components(*own, *(other if other[0] and other[0] != own[0] else ()))


def _timing(procedure: Fact, step: Fact) -> Field:
    """Write TQ: when it was scheduled, and how urgent it is."""
    return components("", "", "", step["start_local"], "", _priority(procedure))


def _priority(procedure: Fact) -> str:
    return _PRIORITIES.get(procedure["priority"], "")


def _instant(at: datetime) -> str:
    return at.strftime("%Y%m%d%H%M%S%z")
