"""Queue a message that is accepted for the systems that it is forwarded to.

It leaves as it came, under its own MSH-10, by which its receiver's answer is matched; MSH-5
and MSH-6 alone may be written anew, for receivers that look whether they are meant.
"""

from hashlib import sha256
from typing import Final

import structlog
from sqlmodel import Session

from hl7 import er7
from hl7.escapes import Delimiters, escape
from mwl import outbox
from mwl.journal import Received, Settled, State
from mwl.outbox import Forward, Forwarded, Forwards

log = structlog.get_logger(__name__)

_CIRCLES = "it goes in circles: it was forwarded to {name} three times within ten minutes"
_RECEIVER: Final = (5, 6)  # MSH-5 and MSH-6: where `split` has them, MSH-1 being no piece


def forward(
    session: Session, forwards: Forwards, received: Received, settled: Settled
) -> list[str]:
    """Queue a message wherever it is wanted, in the caller's transaction; give its flags."""
    applied = settled.state is State.APPLIED
    came = (received.type, received.source, received.listener)
    flags = []
    for each in forwards.all:
        if not each.wants(*came, applied=applied):
            continue
        message = _message(each, received, settled)
        if not outbox.forward(session, each.name, message, received.received_at):
            log.warning("hl7.circle", forward=each.name, control_id=received.control_id)
            flags.append(_CIRCLES.format(name=each.name))
    return flags


def _message(to: Forward, received: Received, settled: Settled) -> Forwarded:
    header, rest = _cut(received.raw)
    digest = sha256(rest).hexdigest()
    return Forwarded(
        _addressed(header, to) + rest if to.application or to.facility else received.raw,
        received.control_id,
        received.type,
        received.source,
        _subject(settled, digest),
        digest,
    )


def subject(received: Received, settled: Settled) -> str:
    """Name what the delivery of a message is about."""
    return _subject(settled, sha256(_cut(received.raw)[1]).hexdigest())


def _subject(settled: Settled, digest: str) -> str:
    """Name what must not overtake itself: the order, else the patient, else what it says."""
    if settled.order is not None:
        return outbox.subject(settled.order)
    if settled.patient is not None:
        return f"patient:{settled.patient}"
    return f"content:{digest[:16]}"


def _cut(raw: bytes) -> tuple[bytes, bytes]:
    """Cut a message behind its first segment, before the end of that line."""
    start = len(raw) - len(raw.lstrip(b"\xef\xbb\xbf \t\r\n"))
    ends = [at for at in (raw.find(end, start) for end in (b"\r", b"\n")) if at >= 0]
    at = min(ends, default=len(raw))
    return raw[:at], raw[at:]


def _addressed(header: bytes, to: Forward) -> bytes:
    """Write MSH-5 and MSH-6, where they are given, into MSH."""
    before, name, line = header.partition(b"MSH")
    message = er7.header(name + line)
    if message is None:
        return header
    delimiters = message.delimiters
    separator = delimiters.field.encode("ascii")
    pieces = line.split(separator)  # pieces[1] is MSH-2
    pieces += [b""] * (_RECEIVER[1] - len(pieces))
    for field, value in zip(_RECEIVER, (to.application, to.facility), strict=True):
        if value:
            pieces[field - 1] = _designator(value, delimiters)
    return before + name + separator.join(pieces)


def _designator(value: str, delimiters: Delimiters) -> bytes:
    parts = [escape(part, delimiters) for part in value.split("^")]
    return delimiters.component.join(parts).encode("ascii", "replace")
