"""C-GET (PS3.4 annex C.4.3): each instance is a C-STORE on the association that asks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from mwl.archive import query
from mwl.db import Database
from mwl.net.association import Association
from mwl.net.dimse import CommandField, Message
from mwl.net.options import Options
from mwl.net.pdu import EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN
from mwl.objects import ObjectStore
from mwl.pictures import Decoder
from mwl.scp.levels import Root
from mwl.scp.retrieve.outgoing import Sender
from mwl.scp.retrieve.retrieval import OPTIONS, Retrieval
from mwl.scp.retrieve.shelf import Shelf
from mwl.scp.retrieve.tally import Sent

STUDY_ROOT_GET = "1.2.840.10008.5.1.4.1.2.2.3"
_ROOTS: Mapping[str, Root] = {
    STUDY_ROOT_GET: Root.STUDY,
    "1.2.840.10008.5.1.4.1.2.1.3": Root.PATIENT,
    "1.2.840.10008.5.1.4.1.2.3.3": Root.PATIENT_STUDY_ONLY,
}


@dataclass(frozen=True, slots=True)
class RetrieveService:
    """Query/Retrieve Information Models – GET.

    `storage` is what may be sent: by SOP class, the transfer syntaxes it may be kept in.
    `decoder` makes native pixels for who takes no others.
    """

    database: Database
    objects: ObjectStore
    storage: Mapping[str, tuple[str, ...]]
    decoder: Decoder
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
        return frozenset({CommandField.C_GET})

    @property
    def invokes(self) -> Mapping[str, tuple[str, ...]]:
        return self.storage

    def handle(self, association: Association, message: Message) -> None:
        """Answer one C-GET-RQ, sub-operations and all."""
        root = _ROOTS[message.context.abstract_syntax]
        shelf = Shelf(self.objects)
        sender = Sender(association, shelf, self.decoder)
        Retrieval(self.database, association, message, root).perform(_Here(sender, shelf))


@dataclass(frozen=True, slots=True)
class _Here:
    """The association that asks as the one that instances go out on."""

    sender: Sender
    shelf: Shelf

    def begin(self, kinds: Sequence[query.Kind]) -> None:
        """Do nothing: what the peer takes was agreed on before."""

    def expect(self, row: query.Stored) -> None:
        self.shelf.expect(row)

    def send(self, row: query.Stored) -> Sent:
        try:
            return self.sender.send(row)
        finally:
            self.shelf.forget(row)

    def end(self) -> None:
        self.shelf.close()
