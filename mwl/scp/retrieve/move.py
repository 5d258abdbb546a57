"""C-MOVE (PS3.4 annex C.4.2): each instance is a C-STORE on an association with a third.

The destination is a device that is registered with its host and port, and that has to take
the association as from us, by the title that the mover called us by.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from mwl import devices
from mwl.db import Database
from mwl.db.tables import Device
from mwl.errors import Outage, ProtocolError
from mwl.net import status
from mwl.net.association import Association
from mwl.net.dimse import CommandField, Element, Message
from mwl.net.limits import DEFAULTS, Limits
from mwl.net.options import Options
from mwl.net.pdu import EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN
from mwl.net.requestor import associate
from mwl.objects import ObjectStore
from mwl.pictures import Decoder
from mwl.scp.final import Final
from mwl.scp.levels import Root
from mwl.scp.retrieve.destination import Destination, MoverGone, Proposal
from mwl.scp.retrieve.outgoing import Sender
from mwl.scp.retrieve.retrieval import OPTIONS, Retrieval
from mwl.scp.retrieve.shelf import Shelf
from mwl.sockets import Stream

STUDY_ROOT_MOVE = "1.2.840.10008.5.1.4.1.2.2.2"
_ROOTS: Mapping[str, Root] = {
    STUDY_ROOT_MOVE: Root.STUDY,
    "1.2.840.10008.5.1.4.1.2.1.2": Root.PATIENT,
    "1.2.840.10008.5.1.4.1.2.3.2": Root.PATIENT_STUDY_ONLY,
}
# A mover that waits minutes for its first word gives up.
LIMITS = replace(DEFAULTS, associate_timeout_s=15.0, response_timeout_s=60.0)


@dataclass(frozen=True, slots=True)
class MoveService:
    """Query/Retrieve Information Models – MOVE.

    `dial` connects to a device, or raises Outage; `decoder` makes native pixels for one that
    takes no others; `limits` are those of the associations with destinations.
    """

    database: Database
    objects: ObjectStore
    decoder: Decoder
    dial: Callable[[Device], Stream]
    limits: Limits = LIMITS
    options: Options = field(default=OPTIONS, init=False)

    @property
    def abstract_syntaxes(self) -> tuple[str, ...]:
        return tuple(_ROOTS)

    @property
    def transfer_syntaxes(self) -> tuple[str, ...]:
        # No deflated one: 29 KB of it inflate to 30 MB.
        return (EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN)

    @property
    def operations(self) -> frozenset[CommandField]:
        return frozenset({CommandField.C_MOVE})

    def handle(self, association: Association, message: Message) -> None:
        """Answer one C-MOVE-RQ, sub-operations and all."""
        root = _ROOTS[message.context.abstract_syntax]
        retrieval = Retrieval(self.database, association, message, root)
        title = message.command.text(Element.MOVE_DESTINATION).strip()
        try:
            with self.database.read() as session:
                device = devices.lookup(session, title)
        except Outage:
            text = "the database is not available now"
            retrieval.answer(Final(status.UNABLE_TO_CALCULATE_MATCHES, text))
            return
        if device is None or not (device.host and device.port):
            what = "has no host and port" if device else "is not registered"
            retrieval.answer(Final(status.MOVE_DESTINATION_UNKNOWN, f"{title} {what}"))
            return
        retrieval.perform(self._destination(device, devices.called(device, title), retrieval))

    def _destination(self, device: Device, title: str, retrieval: Retrieval) -> Destination:
        mover, message = retrieval.association, retrieval.message
        shelf = Shelf(self.objects)

        def open_(proposal: Proposal) -> Association:
            try:
                return associate(
                    self.dial(device),
                    called=title,
                    calling=mover.called_title,
                    contexts=proposal,
                    limits=self.limits,
                )
            except ValueError as error:
                raise ProtocolError(str(error)) from None

        def look() -> None:
            try:
                retrieval.look()
            except ProtocolError as error:
                raise MoverGone(error) from error

        def through(association: Association) -> Sender:
            more: dict[int, int | str | bytes] = {
                Element.MOVE_ORIGINATOR_AE_TITLE: mover.calling_title,
                Element.MOVE_ORIGINATOR_MESSAGE_ID: message.command.message_id,
            }
            return Sender(association, shelf, self.decoder, more, look)

        return Destination(open_, through, shelf)
