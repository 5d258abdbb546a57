"""HL7 from the stream to what it asks for: framing, batches, segments, every shipped profile."""

import re
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from zoneinfo import ZoneInfo

from hl7 import batches, mllp, profile_files
from hl7.ack import Code
from hl7.er7 import Message, ParseError
from hl7.intake import Intake
from hl7.profiles import Profiles
from mwl.errors import Rejected
from mwl.orders import Fields, OrderChange
from tests import corpus

_FOLDER = Path(__file__).parents[2] / "config" / "hl7"
_NOW = datetime(2030, 1, 1, 12, 0, tzinfo=UTC)
_MOST = 16 * 1024  # bytes of a message
_LONGEST_SEED = 3_000
_UID = re.compile(r"[0-9]+(\.[0-9]+)+")
_PLAIN = re.compile(r"[^\x00-\x1f\x7f\\]*")


@lru_cache
def _intakes() -> list[Intake]:
    zone = ZoneInfo("Europe/Berlin")
    names = sorted(path.stem for path in _FOLDER.glob("*.toml"))
    read = {name: profile_files.load(name, [_FOLDER]) for name in names}
    return [Intake(Profiles.single(each, zone, name)) for name, each in read.items()]


def stream(data: bytes) -> None:
    """Take a stream: the same in whatever pieces; what is in it is answered, and fits DICOM."""
    framed = _framed(data, len(data) or 1)
    assert _framed(data, 7) == framed
    # What no frame holds is looked at as well; but no message holds the frame's own bytes.
    for message in framed or [data.replace(mllp.VT, b"").replace(mllp.FS, b"")]:
        for each in _messages(message):
            for intake in _intakes():
                _taken(intake, each)


def seeds() -> list[bytes]:
    """Give the corpus."""
    cases = map(corpus.load, corpus.names())
    return [case.stream for case in cases if len(case.stream) < _LONGEST_SEED]


def _framed(data: bytes, chunk: int) -> list[bytes]:
    framer = mllp.Framer(_MOST)
    found: list[bytes] = []
    try:
        for at in range(0, len(data), chunk):
            found += framer.feed(data[at : at + chunk])
    except mllp.FrameError as error:
        return found + error.complete
    return found + framer.close()


def _messages(message: bytes) -> list[bytes]:
    try:
        file = batches.split(message)
    except Rejected:
        return [message]
    if file is None:
        return [message]
    return [each for batch in file.batches for each in batch.messages]


def _taken(intake: Intake, raw: bytes) -> None:
    incoming = intake.open(raw, "fuzz", _NOW)
    try:
        changes = intake.read(incoming)
    except Rejected as error:
        _answered(intake.reject(incoming, error.faults).ack)
        return
    _answered(intake.acknowledge(incoming, Code.AA))
    for change in changes:
        assert all(map(str.isprintable, change.flags))
        if isinstance(change, OrderChange):
            _fits(change)


def _answered(answer: bytes) -> None:
    """See that the sender can read it: MSA, and a code that there is."""
    # Enhanced mode has none, one or two.
    for each in mllp.Framer(_MOST).feed(mllp.frame(answer)):
        try:
            read = Message.parse(each.decode("latin-1"))
        except ParseError as error:
            raise AssertionError("an answer that can't be read") from error
        assert read.text("MSA-1") in {"AA", "AE", "AR", "CA", "CE", "CR"}


def _fits(change: OrderChange) -> None:
    """See that what is stated can be stored, and that a scanner can read it."""
    _identifier(change.number.id, 64)
    _storable(change.fields)
    _storable(change.patient.fields)
    _identifier(change.patient.id.id, 64)
    for procedure in change.procedures:
        _identifier(procedure.requested_procedure_id or "", 16)
        _identifier(procedure.fields.get("accession_number") or "", 16)
        assert procedure.study_uid is None or _UID.fullmatch(procedure.study_uid)
        assert len(procedure.study_uid or "") <= 64
        _storable(procedure.fields)
        for step in procedure.steps:
            _identifier(step.sps_id or "", 16)
            for title in step.stations or ():
                _identifier(title, 16)
            assert len(step.fields.get("modality") or "") <= 16
            _storable(step.fields)


def _identifier(text: str, length: int) -> None:
    assert len(text) <= length
    assert _PLAIN.fullmatch(text)


def _storable(fields: Fields) -> None:
    for value in fields.values():
        assert value is None or "\0" not in value
        if value is not None:
            value.encode("utf-8")
