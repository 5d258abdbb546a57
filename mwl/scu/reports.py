"""Reports of storage commitment that can't go to the association that they were asked on.

(PS3.4 J.3.3.) pynetdicom is imported when there is one to send.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from io import BytesIO
from typing import TYPE_CHECKING, Any

import structlog

from mwl import commitment, devices, outbox
from mwl.commitment import Judged
from mwl.db import Database
from mwl.errors import MwlError
from mwl.scu.peers import Peer
from mwl.tls import Keys

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

log = structlog.get_logger(__name__)

# A report that nobody took for so long is a person's to send again.
_PATIENCE = timedelta(days=3)
_EXPLICIT, _IMPLICIT = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2"
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
    silence_s: float = 60.0


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
        peer = Peer(device.ae_title, device.host, device.port, device.tls, device.certificate)
        try:
            code = report(peer, judged, self.patience)
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


def report(peer: Peer, judged: Judged, patience: Patience) -> int:
    """Send N-EVENT-REPORT on an association of our own; return its status. Raises Unreached.

    We call by the title that we were called by. PS3.4 J.3.3: the requestor of this
    association is the SCP, and proposes that; a peer that accepts the context without a
    word about roles is reported to as well.
    """
    from pynetdicom import AE, build_role

    entity = AE(ae_title=judged.called_ae_title)
    entity.connection_timeout = patience.connect_s
    entity.acse_timeout = patience.associate_s
    entity.dimse_timeout = patience.response_s
    entity.network_timeout = patience.silence_s
    sop_class = commitment.STORAGE_COMMITMENT_PUSH_MODEL
    entity.add_requested_context(sop_class, [_EXPLICIT, _IMPLICIT])
    try:
        association = entity.associate(
            peer.host,
            peer.port,
            ae_title=peer.ae_title,
            ext_neg=[build_role(sop_class, scu_role=False, scp_role=True)],
        )
    except OSError as error:
        raise Unreached(f"{peer}: {error.strerror}") from None  # no such name
    if not association.is_established:
        raise Unreached(f"{peer}: {_why(association)}")
    try:
        status, _ = association.send_n_event_report(
            _data_set(judged),
            judged.report.event_type,
            sop_class,
            commitment.WELL_KNOWN_INSTANCE,
        )
    except (RuntimeError, ValueError) as error:
        # The association ended under it, or its context went wrong.
        association.abort()
        raise Unreached(f"{peer}: the report could not be sent: {type(error).__name__}") from None
    if "Status" not in status:
        raise Unreached(f"{peer}: no answer to N-EVENT-REPORT")
    association.release()
    return int(status.Status)


def _data_set(judged: Judged) -> "Dataset":
    from pydicom.filereader import read_dataset

    encoded = BytesIO(commitment.encode(judged.report, explicit=False))
    return read_dataset(encoded, is_implicit_VR=True, is_little_endian=True)


def _why(association: Any) -> str:
    """Say why there is no association."""
    if association.is_rejected:
        answer = association.acceptor.primitive
        return f"refused the association: {answer.reason_str}"
    if association.rejected_contexts:
        return "does not take storage commitment reports on this port"
    return "can't be reached: nobody listens there, or what listens is no DICOM peer"
