"""Ask for a device as it would, and tell what it would be answered.

An identifier is written, handed to the service that answers scanners, and its responses are
read as the scanner reads them. Nobody is told that the device was shown anything.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Final, cast

from structlog.contextvars import bound_contextvars

from mwl import charsets, dataset
from mwl.config import DeviceCharacters, DeviceTable, Settings
from mwl.db import Database
from mwl.errors import Fault, Reason, Rejected
from mwl.net import status
from mwl.net.association import Association
from mwl.net.dimse import Command, CommandField, Context, Element, Message
from mwl.net.pdu import EXPLICIT_VR_LITTLE_ENDIAN
from mwl.scp.attributes import (
    SCHEDULED_PROCEDURE_STEP_SEQUENCE,
    SPECIFIC_CHARACTER_SET,
    keyword_of,
    tag_of,
    vr_of,
)
from mwl.scp.elements import Writer
from mwl.scp.worklist import MODALITY_WORKLIST_FIND, WorklistService
from mwl.worklist import asking, trying
from mwl.worklist.trying import Asked, Shown, Tried
from mwl.worklist.why import at_the_door, titled

# What most scanners want to know of a step (PS3.4 table K.6-1).
_TOP: Final = (
    *("AccessionNumber", "ReferringPhysicianName", "PatientName", "PatientID"),
    *("IssuerOfPatientID", "PatientBirthDate", "PatientSex", "PatientWeight"),
    *("MedicalAlerts", "Allergies", "PregnancyStatus", "StudyInstanceUID"),
    *("RequestingPhysician", "RequestedProcedureDescription", "RequestedProcedureCodeSequence"),
    *("RequestedProcedureID", "RequestedProcedurePriority"),
    *("AdmissionID", "CurrentPatientLocation"),
)
_STEP: Final = (
    *("Modality", "ScheduledStationAETitle", "ScheduledProcedureStepStartDate"),
    *("ScheduledProcedureStepStartTime", "ScheduledPerformingPhysicianName"),
    *("ScheduledProcedureStepDescription", "ScheduledProtocolCodeSequence"),
    *("ScheduledProcedureStepID", "ScheduledStationName", "ScheduledProcedureStepLocation"),
    *("ScheduledProcedureStepStatus", "PreMedication"),
)
_LONGEST: Final = 200  # characters of what is asked by
_UNICODE: Final = DeviceCharacters(sets=(charsets.UTF_8,))
_CONTEXT: Final = Context(1, MODALITY_WORKLIST_FIND, EXPLICIT_VR_LITTLE_ENDIAN)
_COMMAND: Final = Command(CommandField.C_FIND, 1, True, {})


def see(
    database: Database, settings: Settings, ae_title: str, asked: Asked, now: datetime
) -> Tried:
    """Tell what who calls itself `ae_title` would be shown now.

    Rejected: there can be no such title, or what is asked can't be written as it is to be;
    Outage.
    """
    title, zone = titled(ae_title), settings.site.zone_info
    with database.read() as session:
        device = asking.known(session, title)
    door = at_the_door(settings.dicom, title, device)
    asked = trying.usual(asked, device, title, now, zone)
    service = WorklistService(database, zone, clock=lambda: now)
    sets = device.characters.sets if device else ()
    told = _Asking(title).of(service, device, _identifier(asked, sets))
    # Once more in Unicode, and without a bound: what it would be told otherwise.
    whole = _Asking(title).of(service, _unbound(device), _identifier(asked, (charsets.UTF_8,)))
    with database.read() as session:
        hidden, more = trying.hidden(session, asked, set(told.steps), now=now, zone=zone)
    return Tried(
        ae_title=title,
        device=device,
        asked=asked,
        refused=" ".join(f"{each.text}. {each.remedy}" for each in door),
        status=told.status,
        comment=told.comment,
        count=len(told.steps),
        more=len(whole.steps),
        answers=_shown(told, whole),
        hidden=hidden,
        more_hidden=more,
    )


def _unbound(device: DeviceTable | None) -> DeviceTable | None:
    if device is None:
        return None
    shown = device.worklist.model_copy(update={"max_answers": None})
    return device.model_copy(update={"worklist": shown, "characters": _UNICODE})


@dataclass
class _Asking:
    """An association as far as a search needs one, that keeps what is sent."""

    calling_title: str
    address: str = ""
    steps: list[int] = field(default_factory=list)
    data_sets: list[bytes] = field(default_factory=list)
    status: int = status.SUCCESS
    comment: str = ""

    def of(self, service: WorklistService, device: DeviceTable | None, keys: bytes) -> "_Asking":
        """Have a query answered for a device."""
        service = replace(service, device=lambda _: device, note=self._note)
        with bound_contextvars(trial=True):  # no scanner has asked: the log must not say so
            service.handle(cast("Association", self), Message(_CONTEXT, _COMMAND, keys))
        return self

    def cancelled(self, _message_id: int) -> bool:
        return False

    def send_responses(self, _request: Message, data_sets: Iterable[bytes], _status: int) -> bool:
        for data_set in data_sets:
            if len(self.data_sets) < trying.MOST_TOLD:
                self.data_sets.append(data_set)
        return True

    def send_response(
        self, _request: Message, ended: int, *, elements: Mapping[int, int | str | bytes]
    ) -> None:
        self.status, self.comment = ended, str(elements.get(Element.ERROR_COMMENT, ""))

    def _note(self, _title: str, _address: str, _columns: Any, rows: Sequence[Any]) -> None:
        self.steps += [row[-1] for row in rows]


def _shown(told: _Asking, whole: _Asking) -> list[Shown]:
    kept = dict(zip(whole.steps, map(_attributes, whole.data_sets), strict=False))
    found = []
    for step, data_set in zip(told.steps, told.data_sets, strict=False):
        attributes = _attributes(data_set)
        term = attributes.pop("SpecificCharacterSet", "")
        otherwise = kept.get(step, {})
        rewritten = {
            name: otherwise[name]
            for name, text in attributes.items()
            if name in otherwise and otherwise[name] != text
        }
        found.append(Shown(step, attributes, term, rewritten))
    return found


def _attributes(data_set: bytes) -> dict[str, str]:
    """Read an answer: texts by keyword, those of the step among them."""
    keys = dataset.read(data_set, explicit=True, vr_of=vr_of)
    terms = dataset.character_sets(keys)
    step = keys.get(SCHEDULED_PROCEDURE_STEP_SEQUENCE)
    within = step.items[0] if step and step.items else {}
    rest = {tag: key for tag, key in keys.items() if key is not step}
    return {keyword_of(tag): _text(key, terms) for tag, key in {**rest, **within}.items()}


def _text(key: dataset.Element, terms: Sequence[str]) -> str:
    """Read a value; of a sequence, as of codes, all values of its first item."""
    if key.vr == "SQ":
        item = key.items[0] if key.items else {}
        return "^".join(_text(each, terms) for each in item.values())
    return charsets.specific_character_set(key.value, terms).text


def _identifier(asked: Asked, sets: Sequence[str]) -> bytes:
    """Write what is asked, in the set that is named, else where it matters in one of `sets`."""
    values = {
        "PatientID": asked.patient_id,
        "PatientName": asked.patient_name,
        "AccessionNumber": asked.accession_number,
        "ScheduledProcedureStepStartDate": asked.day or "",
        "Modality": asked.modality or "",
        "ScheduledStationAETitle": asked.station or "",
    }
    script = _script(asked.character_set, sets, "".join(values.values()))
    writer = Writer(True, script)

    def written(names: Iterable[str]) -> Iterator[tuple[int, bytes]]:
        for name in names:
            tag = tag_of(name)
            assert tag is not None
            yield tag, writer.element(tag, vr_of(tag), _encoded(name, values.get(name, ""), script))

    step = b"".join(each for _, each in sorted(written(_STEP)))
    top = dict(written(_TOP))
    top[SCHEDULED_PROCEDURE_STEP_SEQUENCE] = b"".join(
        (
            writer.open_sequence(SCHEDULED_PROCEDURE_STEP_SEQUENCE),
            writer.open_item(),
            step,
            writer.close_item(),
            writer.close_sequence(),
        )
    )
    if script.term:
        term = script.term.encode("latin-1")
        top[SPECIFIC_CHARACTER_SET] = writer.element(SPECIFIC_CHARACTER_SET, "CS", term)
    return b"".join(top[tag] for tag in sorted(top))


def _script(named: str, sets: Iterable[str], text: str) -> charsets.Script:
    if not named:
        if text.isascii():
            return charsets.ASCII
        known = (found for each in (*sets, charsets.UTF_8) if (found := charsets.script(each)))
        return next(known)
    found = charsets.script(named)
    if found is None:
        said = "no such Specific Character Set (0008,0005), as ISO_IR 100 is"
        raise Rejected(Fault(Reason.UNKNOWN_CODE, "character_set", said))
    return found


def _encoded(name: str, text: str, script: charsets.Script) -> bytes:
    if len(text) > _LONGEST:
        raise Rejected(Fault(Reason.TOO_LONG, name, f"more than {_LONGEST} characters"))
    try:
        return script.encode(text)
    except UnicodeEncodeError:
        said = f"can't be said in {script.term or 'ASCII'}, which it is asked in"
        raise Rejected(Fault(Reason.MALFORMED, name, said)) from None
