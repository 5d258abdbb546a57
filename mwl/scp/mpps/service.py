"""The MPPS operations: N-CREATE and N-SET, and N-GET of its retrieve class.

Nothing is answered 0000 before it is on disk. What goes wrong has its status:

- 0106, 0120, 0121 for attributes (`requirements`), 0117 for a UID that is none;
- 0111 for an N-CREATE of a known UID, 0112 for an unknown one in N-SET or N-GET;
- 0110 with Error ID A710 for an N-SET after the end (PS3.4 table F.7.2-2);
- 0213 where the database is out or the data set is over its bounds: asking again may help;
- 0110 for a data set that can't be read, and where a defect of ours comes to light.
"""

import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

import structlog

from mwl import procedures
from mwl.config.devices import DeviceCharacters
from mwl.dataset import DataSet
from mwl.db import Database
from mwl.errors import Outage, ProtocolError, Reason, Rejected
from mwl.net import dimse, status
from mwl.net.association import Association
from mwl.net.dimse import Command, CommandField, Context, Message
from mwl.net.pdu import EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN
from mwl.net.sinks import Sink
from mwl.procedures import Effects
from mwl.scp.answers import any_characters
from mwl.scp.gathering import Gathered, Gathering
from mwl.scp.mpps import reading, retrieval, tags
from mwl.scp.mpps.refusal import Elements, Refused

log = structlog.get_logger(__name__)

MODALITY_PERFORMED_PROCEDURE_STEP = "1.2.840.10008.3.1.2.3.3"
MODALITY_PERFORMED_PROCEDURE_STEP_RETRIEVE = "1.2.840.10008.3.1.2.3.4"

# No deflated one: 29 KB of it inflate to 30 MB.
_TRANSFER_SYNTAXES = (EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN)

# PS3.4 table F.7.2-2
_NO_LONGER = "Performed Procedure Step Object may no longer be updated"
_NO_LONGER_ID = 0xA710

_CODES = {
    Reason.DUPLICATE_KEY: status.DUPLICATE_SOP_INSTANCE,
    Reason.UNKNOWN_KEY: status.NO_SUCH_OBJECT_INSTANCE,
    Reason.TOO_LONG: status.RESOURCE_LIMITATION,
}


def _utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class _Answer:
    code: int = status.SUCCESS
    elements: Elements = field(default_factory=dict)
    data_set: bytes | None = None


@dataclass(frozen=True, slots=True)
class MppsService:
    """Modality Performed Procedure Step SOP Class; `effects` is what follows from it.

    `characters` tells which sets are those of who calls itself so.
    """

    database: Database
    effects: Effects
    clock: Callable[[], datetime] = _utc_now
    characters: Callable[[str], DeviceCharacters] = any_characters
    _lists: Gathering = field(default_factory=lambda: Gathering(reading.BOUNDS.max_bytes))

    @property
    def abstract_syntaxes(self) -> tuple[str, ...]:
        return (MODALITY_PERFORMED_PROCEDURE_STEP,)

    @property
    def transfer_syntaxes(self) -> tuple[str, ...]:
        return _TRANSFER_SYNTAXES

    @property
    def operations(self) -> frozenset[CommandField]:
        return frozenset({CommandField.N_CREATE, CommandField.N_SET})

    def receive(self, _association: Association, _context: Context, _command: Command) -> Sink:
        """Take a data set that may list very many instances."""
        return self._lists.sink()

    def handle(self, association: Association, message: Message) -> None:
        """Answer one N-CREATE-RQ or N-SET-RQ."""
        creates = message.command.field == CommandField.N_CREATE
        _answer(association, message, self._create if creates else self._set)

    def _create(self, calling: str, message: Message) -> _Answer:
        uid = message.command.sop_instance
        # PS3.7 10.1.5.1.4: it may leave the UID to us.
        given = _checked(uid) if uid else f"2.25.{uuid.uuid4().int}"
        syntax = message.context.transfer_syntax
        assumed = self.characters(calling).assumed
        created = reading.created(_data_set(message), syntax, given, calling, assumed)
        effects, now = self.effects, self.clock()
        flags = self.database.write(
            lambda session: procedures.start(session, created, effects=effects, now=now)
        )
        log.info("mpps.created", calling=calling, sop_instance_uid=given, flags=flags)
        return _Answer(elements={dimse.Element.AFFECTED_SOP_INSTANCE_UID: given})

    def _set(self, calling: str, message: Message) -> _Answer:
        uid = _checked(message.command.sop_instance)
        syntax = message.context.transfer_syntax

        def earlier() -> DataSet:
            with self.database.read() as session:
                received = procedures.get(session, uid)
            return {} if received is None else retrieval.merged(received)

        assumed = self.characters(calling).assumed
        modified = reading.modified(_data_set(message), syntax, uid, calling, earlier, assumed)
        effects, now = self.effects, self.clock()
        flags = self.database.write(
            lambda session: procedures.update(session, modified, effects=effects, now=now)
        )
        state = modified.state or ""
        log.info("mpps.set", calling=calling, sop_instance_uid=uid, state=state, flags=flags)
        return _Answer()


@dataclass(frozen=True, slots=True)
class MppsRetrieveService:
    """Modality Performed Procedure Step Retrieve SOP Class."""

    database: Database

    @property
    def abstract_syntaxes(self) -> tuple[str, ...]:
        return (MODALITY_PERFORMED_PROCEDURE_STEP_RETRIEVE,)

    @property
    def transfer_syntaxes(self) -> tuple[str, ...]:
        return _TRANSFER_SYNTAXES

    @property
    def operations(self) -> frozenset[CommandField]:
        return frozenset({CommandField.N_GET})

    def handle(self, association: Association, message: Message) -> None:
        """Answer one N-GET-RQ."""
        _answer(association, message, self._get)

    def _get(self, calling: str, message: Message) -> _Answer:
        uid = _checked(message.command.sop_instance)
        with self.database.read() as session:
            received = procedures.get(session, uid)
        if received is None:
            raise Refused(status.NO_SUCH_OBJECT_INSTANCE, "no such performed procedure step")
        held = retrieval.identified(retrieval.merged(received), uid)
        value = message.command.elements.get(dimse.Element.ATTRIBUTE_IDENTIFIER_LIST, b"")
        wanted = retrieval.requested(value)
        found = retrieval.chosen(held, wanted)
        explicit = message.context.transfer_syntax == EXPLICIT_VR_LITTLE_ENDIAN
        lacks = set(wanted) - found.keys() - {tags.SPECIFIC_CHARACTER_SET}
        code = status.OPTIONAL_ATTRIBUTES_NOT_SUPPORTED if lacks else status.SUCCESS
        log.info("mpps.get", calling=calling, sop_instance_uid=uid, status=f"{code:04X}")
        return _Answer(code, data_set=retrieval.encode(found, explicit=explicit))


def _data_set(message: Message) -> bytes | None:
    sink = message.sink
    if not isinstance(sink, Gathered):
        return message.data_set
    if sink.data is None:
        raise Refused(status.RESOURCE_LIMITATION, "the data set is too long")
    return bytes(sink.data)


def _answer(
    association: Association, message: Message, perform: Callable[[str, Message], _Answer]
) -> None:
    calling = association.calling_title
    explicit = message.context.transfer_syntax == EXPLICIT_VR_LITTLE_ENDIAN
    try:
        answer = _performed(calling, message, perform)
    except Refused as refused:
        log.warning(
            "mpps.refused",
            calling=calling,
            sop_instance_uid=message.command.sop_instance[:64],
            status=f"{refused.code:04X}",
            comment=refused.comment,
        )
        offending = refused.offending
        data_set = retrieval.encode(offending, explicit=explicit) if offending else None
        answer = _Answer(refused.code, refused.elements(), data_set)
    association.send_response(
        message, answer.code, data_set=answer.data_set, elements=answer.elements
    )


def _performed(
    calling: str, message: Message, perform: Callable[[str, Message], _Answer]
) -> _Answer:
    """Perform an operation; whatever goes wrong on our side of the wire is a Refused."""
    try:
        return perform(calling, message)
    except Rejected as error:
        fault = error.faults[0]
        if fault.reason is Reason.FINAL:
            raise Refused(status.PROCESSING_FAILURE, _NO_LONGER, error_id=_NO_LONGER_ID) from error
        raise Refused(_CODES.get(fault.reason, status.PROCESSING_FAILURE), str(fault)) from error
    except Outage as error:
        log.warning("mpps.outage", error=str(error))
        raise Refused(status.RESOURCE_LIMITATION, "not possible just now: ask again") from error
    except (Refused, ProtocolError, OSError):
        raise  # the last two: the peer's end of it, or the network's
    except Exception as error:
        log.exception("mpps.defect")
        raise Refused(
            status.PROCESSING_FAILURE, "failed here; the operator's log tells more"
        ) from error


def _checked(uid: str) -> str:
    if not reading.is_uid(uid):
        raise Refused(status.INVALID_OBJECT_INSTANCE, "the SOP Instance UID is no UID")
    return uid
