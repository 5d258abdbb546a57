"""Reports of storage commitment that can't go to the association that they were asked on.

PS3.4 J.3.3: the requestor of this association is the SCP, and proposes that. A peer that
accepts the context without a word about roles is reported to as well.
"""

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import structlog

from mwl import commitment, devices, outbox
from mwl.commitment import Judged
from mwl.db import Database
from mwl.errors import MwlError, Outage, ProtocolError
from mwl.net.association import Association
from mwl.net.dimse import CommandField, Element
from mwl.net.limits import DEFAULTS, Limits
from mwl.net.pdu import (
    EXPLICIT_VR_LITTLE_ENDIAN,
    IMPLICIT_VR_LITTLE_ENDIAN,
    ProposedContext,
    Role,
)
from mwl.net.requestor import associate
from mwl.scu.peers import Peer
from mwl.tls import Keys

log = structlog.get_logger(__name__)

# A report that nobody took for so long is a person's to send again.
_PATIENCE = timedelta(days=3)
_SOP_CLASS = commitment.STORAGE_COMMITMENT_PUSH_MODEL
_CONTEXT = ProposedContext(1, _SOP_CLASS, (EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN))
_ROLE = Role(_SOP_CLASS, scu=False, scp=True)
# PS3.7 10.1.1.1.8: of these the peer may think otherwise later; the others are final.
_PASSING = frozenset({0x0110, 0x0210, 0x0213})


class Unreached(MwlError):
    """The peer could not be spoken to; later perhaps."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long we wait for a peer, in seconds."""

    connect_s: float = 10.0
    associate_s: float = 30.0
    response_s: float = 60.0

    @property
    def limits(self) -> Limits:
        return replace(
            DEFAULTS, associate_timeout_s=self.associate_s, response_timeout_s=self.response_s
        )


@dataclass(frozen=True, slots=True)
class CommitmentReporter:
    """Delivers reports of storage commitment for the outbox."""

    database: Database
    patience: Patience = Patience()
    keys: Keys | None = None

    def __call__(self, delivery: outbox.Delivery) -> outbox.Outcome:
        """Report to the address that the requester is registered with now."""
        request = int(delivery.claimed.payload["commitment"])
        with self.database.read() as session:
            judged = commitment.read(session, request)
            device = devices.lookup(session, judged.ae_title) if judged else None
        if judged is None or judged.state == commitment.State.JUDGED:
            return outbox.Done()  # asked for anew meanwhile: it is judged and told again
        if device is None or not (device.host and device.port):
            return outbox.Park(f"{judged.ae_title} has no address: `mwl device add` gives it one")
        peer = Peer.of(device, judged.ae_title)  # PS3.4 J.3.3: to the one that asked
        try:
            code = report(peer, judged, self.patience, self.keys)
        except Unreached as error:
            too_old = datetime.now(UTC) - delivery.claimed.created_at > _PATIENCE
            return outbox.Park(str(error)) if too_old else outbox.Retry(str(error))
        if not commitment.is_taken(code):
            text = f"{peer}: answered N-EVENT-REPORT with status {code:04X}"
            return outbox.Retry(text) if code in _PASSING else outbox.Park(text)
        now = datetime.now(UTC)
        self.database.write(lambda session: commitment.reported(session, request, now))
        log.info("commitment.reported", commitment=request, peer=str(peer))
        return outbox.Done()


def report(peer: Peer, judged: Judged, patience: Patience, keys: Keys | None = None) -> int:
    """Send N-EVENT-REPORT on an association of our own; return its status. Raises Unreached.

    We call by the title that we were called by.
    """
    try:
        connection = peer.connect(patience.connect_s, keys)
    except Outage as error:
        raise Unreached(f"{peer}: can't be reached: {error}") from None
    try:
        with associate(
            connection,
            called=peer.ae_title,
            calling=judged.called_ae_title,
            contexts=(_CONTEXT,),
            roles=(_ROLE,),
            limits=patience.limits,
        ) as association:
            status = _told(association, judged) if association.contexts else None
    except ProtocolError as error:
        raise Unreached(f"{peer}: {error}") from None
    if status is None:
        raise Unreached(f"{peer}: does not take storage commitment reports on this port")
    return status


def _told(association: Association, judged: Judged) -> int:
    explicit = association.contexts[_CONTEXT.id].transfer_syntax == EXPLICIT_VR_LITTLE_ENDIAN
    answer = association.request(
        _CONTEXT.id,
        {
            Element.COMMAND_FIELD: CommandField.N_EVENT_REPORT,
            Element.AFFECTED_SOP_CLASS_UID: _SOP_CLASS,
            Element.AFFECTED_SOP_INSTANCE_UID: commitment.WELL_KNOWN_INSTANCE,
            Element.EVENT_TYPE_ID: judged.report.event_type,
        },
        commitment.encode(judged.report, explicit=explicit),
    )
    status = answer.number(Element.STATUS)
    if status is None:
        raise ProtocolError("no status in the answer to N-EVENT-REPORT")
    return status
