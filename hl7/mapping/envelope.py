"""Read MSH: who sent which message, and whether it is one that we take."""

import re
from collections.abc import Mapping
from datetime import datetime, timedelta, tzinfo
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import NamedTuple

from hl7.er7 import Message, Segment
from hl7.escapes import STANDARD, Delimiters
from hl7.mapping.grid import first
from hl7.mapping.report import Report
from hl7.mapping.times import REPEATED_HOUR, NotATime, read_instant
from hl7.profile import Profile
from mwl.errors import Reason

# v2.7 made MSH-10 an ST of 199; the others are kept for people and as keys of an index.
LONGEST_CONTROL_ID = 199
_LONGEST_NAME = 199
_LONGEST_TYPE = 32
_TO_THE_MINUTE = re.compile("[0-9]{12}")
_SECONDS = 14  # digits of a time to the second, which it is if it can be read
_TO_THE_SECOND = re.compile("[0-9]{14}")
_FURTHEST_AHEAD = timedelta(days=1)


class Envelope(NamedTuple):
    """What MSH says; texts are safe to store and bounded, whatever came."""

    source: str = ""  # MSH-3^MSH-4
    type: str = ""  # MSH-9.1^MSH-9.2
    control_id: str = ""


def envelope(message: Message) -> Envelope:
    """Read the envelope of a message, which may be its header alone."""
    msh = message.header
    fields = msh.fields if len(msh.fields) > 10 else [*msh.fields, *[""] * 10]
    others = None if msh.delimiters is STANDARD else msh.delimiters
    source, kind = _names(fields[3], fields[4], fields[9], others)
    control_id = fields[10]
    if not control_id.isalnum() or len(control_id) > LONGEST_CONTROL_ID:
        value = msh.whole(10)
        control_id = _safe(value)[:LONGEST_CONTROL_ID] if isinstance(value, str) else ""
    return Envelope(source, kind, control_id)


# A sender's names come with each of its messages, and never hold a patient's.
@lru_cache(maxsize=256)
def _names(
    application: str, facility: str, kind: str, delimiters: Delimiters | None
) -> tuple[str, str]:
    fields = ["MSH", "", "", application, facility, "", "", "", "", kind]
    msh = Segment(fields, delimiters or STANDARD)
    source = f"{_designator(msh, 3)}^{_designator(msh, 4)}".rstrip("^")
    return source, f"{_text(msh, 9, 1)}^{_text(msh, 9, 2)}".rstrip("^")[:_LONGEST_TYPE]


def check(message: Message, sent: Envelope, profile: Profile, report: Report) -> str:
    """Give the profile's event for a message that is taken; faults are in `report`."""
    msh = message.header
    if not sent.control_id:
        report.fault(Reason.MISSING, "MSH-10", "no message control ID")
    elif len(sent.control_id) == LONGEST_CONTROL_ID < len(msh.fields[10]):
        report.fault(Reason.TOO_LONG, "MSH-10", f"more than {LONGEST_CONTROL_ID} characters")
    if first(msh, 11) not in profile.message.processing_ids:
        report.fault(Reason.UNSUPPORTED_PROCESSING, "MSH-11", "no production data: not taken here")
    event = profile.events.get(sent.type) or _by_type_alone(message, sent, profile)
    if profile.events_by_condition:
        event = _by_condition(message, sent, profile) or event
    if event is None:
        _unsupported(sent.type, profile.events, report)
        return ""
    return event


def _by_condition(message: Message, sent: Envelope, profile: Profile) -> str | None:
    """Give the event of the first `[[event]]` that the message fits."""
    for each in profile.events_by_condition:
        if fnmatchcase(sent.type, each.message) and all(
            condition.holds(message.text(condition.place)) for condition in each.when
        ):
            return each.event
    return None


def _by_type_alone(message: Message, sent: Envelope, profile: Profile) -> str | None:
    """Give the event of a message that names no trigger in MSH-9, as v2.1 allows: EVN-1 does.

    Where there is none either, all triggers of the type must come to the same.
    """
    if "^" in sent.type:
        return None
    trigger = message.text("EVN-1")
    if trigger:
        return profile.events.get(f"{sent.type}^{trigger}")
    of_type = {e for kind, e in profile.events.items() if kind.partition("^")[0] == sent.type}
    return of_type.pop() if len(of_type) == 1 else None


def _unsupported(kind: str, events: Mapping[str, str], report: Report) -> None:
    name = kind.partition("^")[0]
    if any(known.partition("^")[0] == name for known in events):
        report.fault(Reason.UNSUPPORTED_EVENT, "MSH-9.2", "this trigger event is not taken here")
    else:
        report.fault(Reason.UNSUPPORTED_TYPE, "MSH-9.1", "this message type is not taken here")


def sent_at(message: Message, zone: tzinfo, now: datetime, report: Report) -> datetime | None:
    """Read MSH-7; None, flagged, for what can't be compared or has not come yet.

    A minute counts from its end: what was sent in it is no older than what came with seconds.
    """
    value = first(message.header, 7)
    if not isinstance(value, str):
        return None
    text = value.strip()
    try:
        at, note = read_instant(text, zone)
    except NotATime as error:
        report.flag(f"MSH-7: {error}: taken in order of arrival")
        return None
    # Clocks differ, and zones are mistaken; but after a message from next year everything
    # that its sender says until then would count as stale.
    if at - now > _FURTHEST_AHEAD:
        report.flag("MSH-7: more than a day ahead of the clock here: taken in order of arrival")
        return None
    if not note and (len(text) == _SECONDS or _TO_THE_SECOND.match(text)):
        return at
    return _imprecise(text, at, note, report)


def _imprecise(text: str, at: datetime, note: str, report: Report) -> datetime | None:
    """Decide when a message was sent whose time says less than a second, or is read with doubt."""
    if not _TO_THE_MINUTE.match(text):
        report.flag("MSH-7: no hour and minute: taken in order of arrival")
        return None
    if note == REPEATED_HOUR:
        # What is sent in the second of the two hours would count as older than the first's.
        report.flag("MSH-7: the clock was put back over this time: taken in order of arrival")
        return None
    return at if _TO_THE_SECOND.match(text) else at.replace(second=59)


def _text(msh: Segment, field: int, component: int) -> str:
    value = msh.get(field, 1, component)
    return _safe(value)[:_LONGEST_NAME] if isinstance(value, str) else ""


def _designator(msh: Segment, field: int) -> str:
    """Read HD: the namespace, else the universal ID."""
    return _text(msh, field, 1) or _text(msh, field, 2)


def _safe(text: str) -> str:
    # A caret of the sender's own would blur where MSH-3 ends and MSH-4 begins.
    text = text.strip().replace("^", " ")
    return text if text.isprintable() else "".join(c if c.isprintable() else "?" for c in text)
