"""A raw C-MOVE requestor for tests.

mover = Mover(client)
mover.move("STORE", "STUDY", StudyInstanceUID="1.2.3")     # the final status
mover.responses           # commands of the C-MOVE responses, the final one last
"""

from pydicom.dataset import Dataset

from mwl.net.codec import COMMAND, encode
from mwl.net.dimse import Command, CommandField, Element, encode_command, fragments
from mwl.net.pdu import (
    EXPLICIT_VR_LITTLE_ENDIAN,
    AssociateAccept,
    AssociateRequest,
    ExtendedItem,
    ProposedContext,
    UserInformation,
    title_bytes,
)
from mwl.net.status import PENDING
from mwl.scp.retrieve.move import STUDY_ROOT_MOVE
from tests.dicom_client import DicomClient, Refused, status
from tests.identifiers import encoded


class Mover:
    """An association that moves, by one information model."""

    def __init__(
        self, client: DicomClient, sop_class: str = STUDY_ROOT_MOVE, *, relational: bool = False
    ) -> None:
        self.client, self.sop_class = client, sop_class
        self.responses: list[Command] = []
        self.failed: bytes | None = None  # the final response's data set
        extended = (ExtendedItem(sop_class, b"\1"),) if relational else ()
        user = UserInformation(max_pdu_bytes=16384, implementation_uid="2.25.1", extended=extended)
        context = ProposedContext(1, sop_class, (EXPLICIT_VR_LITTLE_ENDIAN,))
        client.send(
            encode(AssociateRequest(title_bytes("MWL"), title_bytes("PACS"), (context,), user))
        )
        accept = client.read_pdu()
        if not isinstance(accept, AssociateAccept):
            raise Refused(accept)
        client.accept = accept

    def ask(self, destination: str, level: str, message_id: int = 1, **keys: object) -> None:
        """Send the C-MOVE-RQ alone."""
        identifier = Dataset()
        identifier.QueryRetrieveLevel = level
        for keyword, value in keys.items():
            setattr(identifier, keyword, value)
        command: dict[int, int | str | bytes] = {
            Element.AFFECTED_SOP_CLASS_UID: self.sop_class,
            Element.COMMAND_FIELD: int(CommandField.C_MOVE),
            Element.MESSAGE_ID: message_id,
            Element.PRIORITY: 0,
            Element.DATA_SET_TYPE: 1,
            Element.MOVE_DESTINATION: destination,
        }
        self.client.send(
            b"".join(fragments(1, COMMAND, encode_command(command), 16384))
            + b"".join(fragments(1, 0, encoded(identifier, explicit=True), 16384))
        )

    def move(self, destination: str, level: str, **keys: object) -> int:
        """Move; return the final status."""
        self.ask(destination, level, **keys)
        return self.finish()

    def finish(self) -> int:
        """Read up to the final response."""
        while True:
            command, self.failed = self.client.read_message()
            assert command.field == CommandField.C_MOVE | 0x8000
            self.responses.append(command)
            if (code := status(command)) != PENDING:
                return code

    def counts(self) -> tuple[int | None, ...]:
        """Read what the last response counts: remaining, completed, failed, warning."""
        last = self.responses[-1]
        return tuple(last.number(number) for number in range(0x1020, 0x1024))

    @property
    def comment(self) -> str:
        return self.responses[-1].text(Element.ERROR_COMMENT)
