"""Storage Commitment Push Model as SCP (PS3.4 annex J).

N-ACTION: what is asked is kept durably, then answered 0000; instances are judged by the
role `jobs`. The report, N-EVENT-REPORT, goes to this association if the requester is
registered so or we have no address to call; else, or once the association is over, a new
one is opened to it from the outbox.

Statuses of N-ACTION (PS3.7 10.1.4.1.10): 0112 another instance than the well-known one,
0123 another action, 0120 without transaction or instances, 0115 what can't be read, 0213
too many instances at once, or our own trouble.
"""

import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from time import monotonic

import structlog

from mwl import commitment, dataset
from mwl.commitment import Reference
from mwl.db import Database
from mwl.errors import Outage, ProtocolError, Reason, Rejected
from mwl.net import status
from mwl.net.association import Association
from mwl.net.dimse import Command, CommandField, Context, Element, Message
from mwl.net.pdu import EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN
from mwl.net.sinks import Sink
from mwl.scp.attributes import vr_of
from mwl.scp.gathering import Gathered, Gathering

log = structlog.get_logger(__name__)

_TRANSACTION_UID = 0x00081195
_REFERENCED_SOP_SEQUENCE = 0x00081199
_REFERENCED_SOP_CLASS_UID = 0x00081150
_REFERENCED_SOP_INSTANCE_UID = 0x00081155
_RETRIEVE = 4  # further elements of an item: Retrieve AE Title, storage media

_MOST_BYTES = commitment.MOST_ITEMS * 256  # an item holds two UIDs: 152 bytes at most
_BOUNDS = dataset.Bounds(
    max_bytes=_MOST_BYTES, max_elements=commitment.MOST_ITEMS * (2 + _RETRIEVE) + 16
)
# Whatever a peer calls a UID: it is a value to be compared, and told to the peer again.
_UID = re.compile(r"[!-\[\]-~]{1,64}")

_MAX_COMMENT = 64  # PS3.7 E.1: (0000,0902) is an LO
_FIRST_LOOK_S, _LONGEST_LOOK_S = 0.25, 2.0
_RENEW_S = commitment.HOLD.total_seconds() / 3


def _utc_now() -> datetime:
    return datetime.now(UTC)


class _Refused(Exception):
    """An N-ACTION that can't be accepted."""

    def __init__(self, code: int, comment: str) -> None:
        super().__init__(comment)
        self.code, self.comment = code, comment


@dataclass(frozen=True, slots=True)
class CommitmentService:
    """Storage Commitment Push Model. `wait` is how long missing instances are waited for."""

    database: Database
    wait: timedelta
    clock: Callable[[], datetime] = _utc_now
    _reporters: dict[Association, "_Reporter"] = field(default_factory=dict)
    _lists: Gathering = field(default_factory=lambda: Gathering(_BOUNDS.max_bytes))

    @property
    def abstract_syntaxes(self) -> tuple[str, ...]:
        return (commitment.STORAGE_COMMITMENT_PUSH_MODEL,)

    @property
    def transfer_syntaxes(self) -> tuple[str, ...]:
        return (EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN)

    @property
    def operations(self) -> frozenset[CommandField]:
        return frozenset({CommandField.N_ACTION})

    def receive(self, _association: Association, _context: Context, _command: Command) -> Sink:
        """Take a list that may be longer than other data sets."""
        return self._lists.sink()

    def handle(self, association: Association, message: Message) -> None:
        """Answer one N-ACTION-RQ."""
        # What it shall report is known before the answer goes, and reported after it.
        reporter = self._reporters.get(association) or _Reporter(self, association)
        try:
            accepted = self._accept(association, message, reporter.name)
        except _Refused as refused:
            comment = refused.comment[:_MAX_COMMENT]
            log.warning(
                "commitment.refused",
                calling=association.calling_title,
                status=f"{refused.code:04X}",
                comment=comment,
            )
            association.send_response(
                message, refused.code, elements={Element.ERROR_COMMENT: comment}
            )
            return
        association.send_response(
            message,
            status.SUCCESS,
            elements={Element.ACTION_TYPE_ID: commitment.REQUEST_COMMITMENT},
        )
        if accepted.held:
            self._reporters[association] = reporter
            reporter.expect(accepted.id, message.context.id)

    def forget(self, association: Association) -> None:
        """Forget who reports on an association: there is nothing left to report."""
        self._reporters.pop(association, None)

    def _accept(self, association: Association, message: Message, name: str) -> commitment.Accepted:
        _check_command(message.command)
        transaction_uid, references = _read(message)
        calling = association.calling_title
        request = commitment.Request(transaction_uid, calling, association.called_title, references)
        now = self.clock()
        try:
            accepted = self.database.write(
                lambda session: commitment.accept(
                    session, request, association=name, wait=self.wait, now=now
                )
            )
        except Outage as error:
            log.warning("commitment.outage", error=str(error))
            raise _Refused(status.RESOURCE_LIMITATION, "not available now: ask again") from None
        log.info(
            "commitment.requested",
            commitment=accepted.id,
            calling=calling,
            transaction=transaction_uid,
            instances=len(references),
        )
        return accepted


class _Reporter:
    """Reports on the association that requests came on, as an errand of it."""

    def __init__(self, service: CommitmentService, association: Association) -> None:
        self.name = secrets.token_hex(16)
        self._service, self._association = service, association
        self._pending: dict[int, int] = {}  # request → presentation context
        self._taken: set[int] = set()  # told, and not yet written down as such
        self._renew_at = 0.0
        self._pause_s = _FIRST_LOOK_S

    def expect(self, request: int, context_id: int) -> None:
        """Await what becomes of a request, to report it."""
        self._pending[request] = context_id
        self._renew_at = monotonic() + _RENEW_S
        self._pause_s = _FIRST_LOOK_S
        self._association.attend(self, self._pause_s)

    def look(self) -> float | None:
        """Report what was judged. Raises what ends the association."""
        try:
            self._write_down()
            self._hold()
            for request in self._judged():
                self._report(request)
        except Outage as error:
            log.warning("commitment.outage", error=str(error))
            return _LONGEST_LOOK_S
        if not self._pending:
            self._service.forget(self._association)
            return None
        self._pause_s = min(self._pause_s * 1.5, _LONGEST_LOOK_S)
        return self._pause_s

    def end(self) -> None:
        """Leave the rest to the outbox."""
        self._service.forget(self._association)
        try:
            self._write_down()
            self._let_go(list(self._pending))
        except Outage as error:
            # Nobody holds them any longer then, and they are handed on a little later.
            log.warning("commitment.outage", error=str(error))

    def _hold(self) -> None:
        if monotonic() >= self._renew_at:
            service, requests = self._service, list(self._pending)
            now = service.clock()
            service.database.write(
                lambda session: commitment.hold(session, requests, self.name, now)
            )
            self._renew_at = monotonic() + _RENEW_S

    def _judged(self) -> list[int]:
        with self._service.database.read() as session:
            return commitment.judged(session, list(self._pending), self.name)

    def _report(self, request: int) -> None:
        with self._service.database.read() as session:
            judged = commitment.read(session, request)
        if judged is None:
            return
        context_id = self._pending[request]
        context = self._association.contexts[context_id]
        explicit = context.transfer_syntax == EXPLICIT_VR_LITTLE_ENDIAN
        answer = self._association.request(
            context_id,
            {
                Element.COMMAND_FIELD: CommandField.N_EVENT_REPORT,
                Element.AFFECTED_SOP_CLASS_UID: commitment.STORAGE_COMMITMENT_PUSH_MODEL,
                Element.AFFECTED_SOP_INSTANCE_UID: commitment.WELL_KNOWN_INSTANCE,
                Element.EVENT_TYPE_ID: judged.report.event_type,
            },
            commitment.encode(judged.report, explicit=explicit),
        )
        code = answer.number(Element.STATUS)
        about = {"commitment": request, "calling": self._association.calling_title}
        if code is not None and commitment.is_taken(code):
            log.info("commitment.reported", **about)
            self._taken.add(request)
            self._write_down()
        else:
            told = "none" if code is None else f"{code:04X}"
            log.warning("commitment.report_refused", status=told, **about)
            self._let_go([request])

    def _write_down(self) -> None:
        service, now = self._service, self._service.clock()
        for request in sorted(self._taken):
            service.database.write(
                lambda session, request=request: commitment.reported(session, request, now)  # type: ignore[misc]
            )
            self._taken.discard(request)
            self._pending.pop(request, None)

    def _let_go(self, requests: list[int]) -> None:
        service, now = self._service, self._service.clock()
        if requests:
            service.database.write(
                lambda session: commitment.let_go(session, requests, self.name, now)
            )
            for request in requests:
                self._pending.pop(request, None)


def _check_command(command: Command) -> None:
    if command.sop_instance != commitment.WELL_KNOWN_INSTANCE:
        raise _Refused(status.NO_SUCH_OBJECT_INSTANCE, "not the well-known SOP instance")
    try:
        action = command.number(Element.ACTION_TYPE_ID)
    except ProtocolError:
        action = None
    if action != commitment.REQUEST_COMMITMENT:
        raise _Refused(status.NO_SUCH_ACTION, "action type 1 requests storage commitment")


def _read(message: Message) -> tuple[str, list[Reference]]:
    """Read the action information (PS3.4 table J.3-1). Raises _Refused."""
    sink = message.sink
    if not isinstance(sink, Gathered):
        raise _Refused(status.MISSING_ATTRIBUTE, "without action information")
    if sink.data is None:
        raise _Refused(status.RESOURCE_LIMITATION, "too long: ask for fewer instances at once")
    explicit = message.context.transfer_syntax == EXPLICIT_VR_LITTLE_ENDIAN
    try:
        found = dataset.read(bytes(sink.data), explicit=explicit, vr_of=vr_of, bounds=_BOUNDS)
    except Rejected as error:
        too_long = error.faults[0].reason is Reason.TOO_LONG
        code = status.RESOURCE_LIMITATION if too_long else status.INVALID_ARGUMENT_VALUE
        raise _Refused(code, str(error)) from None
    transaction_uid = _uid(found, _TRANSACTION_UID, "Transaction UID")
    sequence = found.get(_REFERENCED_SOP_SEQUENCE)
    items = sequence.items if sequence is not None else ()
    if not items:
        raise _Refused(status.MISSING_ATTRIBUTE, "no item in Referenced SOP Sequence")
    if len(items) > commitment.MOST_ITEMS:
        raise _Refused(status.RESOURCE_LIMITATION, f"over {commitment.MOST_ITEMS} instances")
    return transaction_uid, [_reference(item) for item in items]


def _reference(item: dataset.DataSet) -> Reference:
    return Reference(
        _uid(item, _REFERENCED_SOP_CLASS_UID, "Referenced SOP Class UID"),
        _uid(item, _REFERENCED_SOP_INSTANCE_UID, "Referenced SOP Instance UID"),
    )


def _uid(found: dataset.DataSet, tag: int, name: str) -> str:
    element = found.get(tag)
    if element is None or not element.value:
        raise _Refused(status.MISSING_ATTRIBUTE, f"without {name}")
    text = element.value.decode("latin-1").strip(" \0")
    if not _UID.fullmatch(text):
        raise _Refused(status.INVALID_ARGUMENT_VALUE, f"{name} is no UID")
    return text
