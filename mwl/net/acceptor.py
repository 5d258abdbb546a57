"""A connection from its first byte to its last: PS3.8 states 2, 3 and 13 of an acceptor.

State 2 awaits A-ASSOCIATE-RQ under the ARTIM timer; anything else is answered with an
A-ABORT of the service user (AA-1). State 3 decides. State 6 is `serving.serve`. In state
13 the peer has been told the end, by release, rejection or abort, and is given
`close_timeout_s` to close.
"""

import traceback
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime

import structlog

from mwl.errors import Outage, ProtocolError
from mwl.net import negotiation
from mwl.net.admission import REFUSALS, Admission, Admit, Applicant
from mwl.net.association import Association
from mwl.net.codec import decode, encode
from mwl.net.ending import PeerAborted, end, let_close
from mwl.net.framing import ConnectionLost, HandshakeFailed, Transport
from mwl.net.limits import Limits
from mwl.net.negotiation import Agreement, Supported, negotiate
from mwl.net.pdu import (
    Abort,
    AbortReason,
    AssociateReject,
    AssociateRequest,
    PduError,
)
from mwl.net.service import Service
from mwl.net.serving import serve, sink_chooser

log = structlog.get_logger(__name__)


@dataclass(slots=True, eq=False)
class Connection:
    """One peer's connection and what has become of it.

    `over_limit`: it is heard only to be refused. `heard`: its A-ASSOCIATE-RQ has come, to the
    last byte. `association` is there once accepted.
    """

    transport: Transport
    address: str
    since: datetime
    over_limit: bool = False
    heard: bool = False
    association: Association | None = None
    stopped: bool = False

    @property
    def rests(self) -> bool:
        """Whether nothing is under way on it."""
        return self.association is None or not self.association.operation

    def stop(self) -> None:
        """Make its thread abort the association as soon as it listens to the peer again."""
        self.stopped = True
        self.transport.interrupt()


@dataclass(frozen=True, slots=True)
class Acceptor:
    """Take connections through their life, each in the thread that calls."""

    services: Mapping[str, Service]  # by abstract syntax
    supported: Mapping[str, Supported]
    admit: Admit
    limits: Limits

    def serve(self, connection: Connection) -> None:
        """Serve one connection until it is closed. Raises nothing, whatever happens."""
        transport = connection.transport
        try:
            self._converse(connection)
        except Exception as error:
            _report(connection, error)
            end(
                transport,
                error,
                is_requested=connection.heard,
                is_stopped=connection.stopped,
            )
        else:
            let_close(transport)

    def _converse(self, connection: Connection) -> None:
        transport, limits = connection.transport, self.limits
        transport.secure(limits.tls_handshake_timeout_s)
        request = _read_request(transport, limits.associate_timeout_s)
        connection.heard = True
        applicant = Applicant.of(request, connection.address, transport.certificate)
        about = {
            "address": applicant.address,
            "called": applicant.called,
            "calling": applicant.calling,
        }
        if applicant.oddities:
            log.info("association.odd", oddities=sorted(applicant.oddities), **about)
        if connection.over_limit:
            agreed: Agreement | AssociateReject = negotiation.LOCAL_LIMIT_EXCEEDED
        else:
            agreed = self._agreed(request, applicant)
        if isinstance(agreed, AssociateReject):
            log.warning("association.rejected", **asdict(agreed), **about)
            transport.send(encode(agreed))
            return
        association = Association(
            transport, agreed, connection.address, limits, sink_chooser(self.services)
        )
        connection.association = association
        transport.send(encode(agreed.accept))
        serve(association, self.services)
        log.info("association.released", operations=association.operations_done, **about)

    def _agreed(
        self, request: AssociateRequest, applicant: Applicant
    ) -> Agreement | AssociateReject:
        try:
            admission = self.admit(applicant)
        except Outage as error:
            # Our own trouble: the peer may come back.
            log.warning("association.admission_failed", error=type(error).__name__)
            return negotiation.TEMPORARY_CONGESTION
        if admission in REFUSALS:
            return REFUSALS[admission]
        identified = admission is Admission.IDENTIFIED
        return negotiate(request, self.supported, self.limits, identified=identified)


def _read_request(transport: Transport, timeout_s: float) -> AssociateRequest:
    kind, body = transport.read(timeout_s)
    pdu = decode(kind, body)
    if isinstance(pdu, AssociateRequest):
        return pdu
    if isinstance(pdu, Abort):
        raise PeerAborted("the peer aborted")
    raise PduError(f"PDU of type {kind} before A-ASSOCIATE-RQ", AbortReason.UNEXPECTED_PDU)


def _report(connection: Connection, error: Exception) -> None:
    about = {"address": connection.address}
    if connection.association is not None:
        about["called"] = connection.association.called_title
        about["calling"] = connection.association.calling_title
    if connection.stopped:
        log.warning("association.stopped", **about)
    elif isinstance(error, HandshakeFailed):
        log.warning("association.no_tls", error=str(error), **about)
    elif isinstance(error, PeerAborted | ConnectionLost):
        log.info("association.lost", error=str(error), **about)
    elif isinstance(error, ProtocolError):
        log.warning("association.aborted", error=str(error), **about)
    else:
        # Without the exception's text, which may hold a patient: what a driver complains of.
        log.error("association.failed", error=type(error).__name__, at=_where(error), **about)


def _where(error: Exception) -> str:
    """Name the last places that an exception came through."""
    frames = traceback.extract_tb(error.__traceback__)[-3:]
    return " > ".join(f"{frame.name}:{frame.lineno}" for frame in frames)
