"""Answer a message: MSA, and an ERR segment for each fault (HL7 v2.5.1 2.9.2, 2.15).

One tree of errors, mapped here once to HL7's codes:

- AE: the content is at fault; ERR-3 is 100 to 104. Also an order that names somebody
  else's patient, a collision of identities, and a state that never goes back: their ERR-3
  is 205, the nearest of table 0357, but it is this message that a person must mend.
- AR: what table 0357 calls rejection: a type, event, processing id or version we don't
  take (200 to 203), a key unknown here (204), and 207 where a site wants our own troubles
  answered at all.

Answered bytes echo the sender's: its delimiters, version, processing id, MSH-18, and
MSH-10 byte for byte, for it is what the sender matches MSA-2 with.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, tzinfo
from enum import StrEnum
from functools import lru_cache
from typing import NamedTuple

from hl7 import er7
from hl7.escapes import UNDECLARED
from hl7.order_answer import OrderAnswer
from mwl.errors import Fault, Reason


class Code(StrEnum):
    """MSA-1, table 0008: the application's, and those of safe storage (enhanced mode)."""

    AA = "AA"
    AE = "AE"
    AR = "AR"
    CA = "CA"
    CE = "CE"
    CR = "CR"


# Table 0357: message error condition codes.
_CONDITIONS = {
    Reason.SEQUENCE: ("100", "Segment sequence error"),
    Reason.MISSING: ("101", "Required field missing"),
    Reason.MALFORMED: ("102", "Data type error"),
    Reason.UNKNOWN_CODE: ("103", "Table value not found"),
    Reason.TOO_LONG: ("104", "Value too long"),
    Reason.UNSUPPORTED_TYPE: ("200", "Unsupported message type"),
    Reason.UNSUPPORTED_EVENT: ("201", "Unsupported event code"),
    Reason.UNSUPPORTED_PROCESSING: ("202", "Unsupported processing id"),
    Reason.UNSUPPORTED_VERSION: ("203", "Unsupported version id"),
    Reason.UNKNOWN_KEY: ("204", "Unknown key identifier"),
    Reason.UNKNOWN_ORDER: ("204", "Unknown key identifier"),
    Reason.DUPLICATE_KEY: ("205", "Duplicate key identifier"),
    Reason.OTHER_PATIENT: ("205", "Duplicate key identifier"),
    # Not 206, application record locked: senders ask again after that one.
    Reason.FINAL: ("205", "Duplicate key identifier"),
    Reason.INTERNAL: ("207", "Application internal error"),
}
_REJECTIONS = frozenset(
    {
        Reason.UNSUPPORTED_TYPE,
        Reason.UNSUPPORTED_EVENT,
        Reason.UNSUPPORTED_PROCESSING,
        Reason.UNSUPPORTED_VERSION,
        Reason.UNKNOWN_KEY,
        Reason.INTERNAL,
    }
)
_ACCEPTING = frozenset({Code.AA, Code.CA})
_DEFAULT_VERSION = "2.5.1"  # for a sender that names none
MAX_ECHO = 250  # characters of any field that we give back
MAX_TEXT = 250  # ERR-8, v2.5.1
MAX_MSA_TEXT = 80  # MSA-3, v2.5.1
MAX_FAULTS = 50
_SEGMENT = re.compile(r"[A-Z][A-Z0-9]{2}")


def code_for(faults: Sequence[Fault]) -> Code:
    """Choose MSA-1: AA without faults, AR when one of them is a rejection, else AE."""
    if not faults:
        return Code.AA
    return Code.AR if any(fault.reason in _REJECTIONS for fault in faults) else Code.AE


def acknowledge(  # noqa: PLR0913 - what an answer is made of
    request: er7.Message | None,
    code: Code,
    faults: Sequence[Fault] = (),
    *,
    now: datetime,
    control_id: str,
    is_enhanced: bool = False,
    orders: OrderAnswer | None = None,
) -> bytes:
    """Write the ACK of a message, unframed.

    `request` may be its header alone (`er7.header`), or None for what has no MSH that can
    be read: such an answer has an empty MSA-2 and names no receiver. `control_id` is the
    answer's own MSH-10. Faults that come with an AA are warnings, which no version before
    v2.5 can tell from errors: there they are left out. The first error's text is MSA-3 too:
    v2.5 deprecated it, but it is what most engines show. `is_enhanced`: an application
    acknowledgement of that mode, which says that it wants none itself (2.9.3.2). `orders` makes
    it the answer to an order message.
    """
    msh = request.header if request else _NOBODY
    fields = tuple([_echo(msh, number) for number in _CONVERSATION])
    head = _head(msh.delimiters, msh.encoding, fields, is_enhanced)
    writer = head.writer
    if code in _ACCEPTING and head.old:
        faults = ()
    note = writer.text(str(faults[0]), MAX_MSA_TEXT) if faults and code not in _ACCEPTING else ""
    at = _time(int(now.timestamp()), now.tzinfo)
    kind = head.type if orders is None else _order_type(head, orders)
    segments = [
        f"{head.to_time}{at}{kind}{control_id}{head.rest}",
        writer.join("MSA", code, _echo(msh, 10), note),
    ]
    if faults:
        severity = "W" if code in _ACCEPTING else "E"
        segments += _eld(writer, faults) if head.old else _err(writer, faults, severity)
    if orders is not None:
        segments += [writer.join(*(f[:MAX_ECHO] for f in each)) for each in orders.segments]
    segments.append("")
    return "\r".join(segments).encode(msh.encoding, "replace")


@dataclass(frozen=True, slots=True)
class _Writer:
    """Write in the sender's delimiters."""

    delimiters: er7.Delimiters
    encoding: str  # of texts of our own; what we echo goes back in the bytes it came in

    def text(self, text: str, limit: int) -> str:
        readable = text[:limit].encode(self.encoding, "replace").decode(self.encoding)
        return er7.escape(readable, self.delimiters)

    def join(self, *fields: str) -> str:
        return self.delimiters.field.join(fields).rstrip(self.delimiters.field)

    def components(self, *components: str) -> str:
        return self.delimiters.component.join(components).rstrip(self.delimiters.component)


def _echo(msh: er7.Segment, field: int) -> str:
    """Give a field of MSH as it came, its escapes still in it."""
    fields = msh.fields
    return fields[field][:MAX_ECHO] if field < len(fields) else ""


# What one sender's messages have in common: who speaks to whom, type, processing, version, set.
_CONVERSATION = (3, 4, 5, 6, 9, 11, 12, 18)
_NOBODY = er7.Segment(["MSH"], er7.Delimiters(), "ascii")


class _Head(NamedTuple):
    """The answer's MSH without its time and control ID, and how to write what follows."""

    writer: _Writer
    old: bool  # before v2.5
    structured: bool  # MSH-9.3 came with v2.3.1
    to_time: str
    type: str
    rest: str


# Asked for with each message; it holds nothing of a patient's.
@lru_cache(maxsize=256)
def _head(
    delimiters: er7.Delimiters, encoding: str, conversation: Sequence[str], is_enhanced: bool
) -> _Head:
    application, facility, to_application, to_facility, kind, processing, version, charset = (
        conversation
    )
    # Without MSH-18 the sender has promised to read ASCII only.
    writer = _Writer(delimiters, encoding if charset else "ascii")
    separator = delimiters.field
    # 2.9.2.2: the sender's application and facility (3, 4) become the receiver's (5, 6).
    receiver = (to_application, to_facility, application, facility)
    said = er7.Segment(["", kind, version], delimiters, encoding).get
    release = _release(said(2))
    wants = ("NE", "NE") if is_enhanced else ("", "")  # MSH-15, MSH-16
    return _Head(
        writer,
        release < (2, 5),
        release >= (2, 3, 1),
        separator.join(("MSH", delimiters.msh_2, *receiver, "")),
        separator.join(("", "", _message_type(writer, kind, said(1, 1, 2), release), "")),
        writer.join(
            "", processing or "P", version or _DEFAULT_VERSION, "", "", *wants, "", charset
        ),
    )


def _order_type(head: _Head, orders: OrderAnswer) -> str:
    name = [orders.type, orders.event]
    kind = head.writer.components(*name, *(["_".join(name)] if head.structured else []))
    separator = head.writer.delimiters.field
    return separator.join(("", "", kind, ""))


# Formatting a time takes as long as all the rest of an AA.
@lru_cache(maxsize=64)
def _time(second: int, zone: tzinfo | None) -> str:
    return datetime.fromtimestamp(second, zone).strftime("%Y%m%d%H%M%S%z")


def _release(version: er7.Value) -> tuple[int, ...]:
    """Read MSH-12; a version that can't be read counts as today's."""
    numbers = version.split(".") if isinstance(version, str) else [""]
    readable = all(number.isdecimal() and len(number) < 4 for number in numbers)
    return tuple(map(int, numbers)) if readable else (9,)


def _message_type(writer: _Writer, kind: str, event: er7.Value, release: tuple[int, ...]) -> str:
    # MSH-9: before v2.3.1, which brought the message structure, an ACK names no event.
    if not kind or release < (2, 3, 1):
        return "ACK"
    return writer.components("ACK", writer.text(event, 3) if isinstance(event, str) else "", "ACK")


def _err(writer: _Writer, faults: Sequence[Fault], severity: str) -> list[str]:
    segments = []
    for fault in faults[:MAX_FAULTS]:
        number, meaning = _CONDITIONS[fault.reason]
        segments.append(
            writer.join(
                "ERR",
                "",
                writer.components(*_location(fault)),
                writer.components(number, meaning, "HL70357"),
                severity,
                "",
                "",
                "",
                writer.text(fault.text, MAX_TEXT),
            )
        )
    return segments


def _eld(writer: _Writer, faults: Sequence[Fault]) -> list[str]:
    # Before v2.5 ERR had one field, which repeats: segment, sequence, field, code (a CE).
    delimiters = writer.delimiters
    if UNDECLARED in (delimiters.repetition, delimiters.subcomponent):
        return []  # it can't be written; MSA-3 says it
    errors = []
    for fault in faults[:MAX_FAULTS]:
        segment, sequence, field = (*_location(fault)[:3], "", "", "")[:3]
        code = delimiters.subcomponent.join((*_CONDITIONS[fault.reason], "HL70357"))
        errors.append(writer.components(segment, sequence, field, code))
    return [writer.join("ERR", delimiters.repetition.join(errors))]


def _location(fault: Fault) -> list[str]:
    """Write ERR-2 (ERL): segment, its occurrence, field, repetition, component, subcomponent.

    Empty when the fault names no place in a message.
    """
    if _SEGMENT.fullmatch(fault.where):
        return [fault.where, str(fault.occurrence)]
    try:
        place = er7.path(fault.where)
    except ValueError:
        return []
    below = [str(number) for number in (place.component, place.subcomponent) if number]
    occurrence = max(fault.occurrence, place.occurrence)
    return [place.segment, str(occurrence), str(place.field), str(place.repetition), *below]
