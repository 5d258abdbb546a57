"""The release of an association: PS3.8 states 7, 9 and 11, of the requestor."""

from time import monotonic

from mwl.net.codec import decode, encode
from mwl.net.ending import PeerAborted, unexpected
from mwl.net.framing import Transport
from mwl.net.pdu import PduType, ReleaseRequest, ReleaseResponse


def answer_release(transport: Transport) -> None:
    """Answer the peer's release (AR-4): it is to close the connection."""
    transport.send(encode(ReleaseResponse()))


def release(transport: Transport) -> None:
    """Ask for the release, wait until the peer has answered, and close.

    Messages that it still sends are passed over. PeerAborted, ReadTimeout, ConnectionLost,
    PduError: it is still to be closed.
    """
    transport.send(encode(ReleaseRequest()))  # AR-1
    deadline = monotonic() + transport.limits.release_timeout_s
    collided = False
    while True:
        kind, body = transport.read(deadline - monotonic())
        if kind == PduType.ABORT:
            raise PeerAborted("the peer aborted")
        if kind == PduType.RELEASE_RP:
            transport.close()  # AR-3
            return
        if collided or kind not in {PduType.DATA_TF, PduType.RELEASE_RQ}:
            raise unexpected(kind)
        decode(kind, body)  # AR-6, after a look whether it is sound
        if kind == PduType.RELEASE_RQ:
            # AR-8, AR-9: both ask at once. The requestor answers first, and waits (state 11).
            collided = True
            answer_release(transport)
