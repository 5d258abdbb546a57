"""A raw C-GET requestor for tests: it proposes what a test says, and takes what is sent.

retriever = Retriever(client, [(CT, EXPLICIT)], roles=True)
retriever.get("STUDY", StudyInstanceUID="1.2.3")
retriever.received        # data sets by SOP Instance UID, as bytes
retriever.responses       # commands of the C-GET responses, the final one last
"""

import tracemalloc
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from pydicom.dataset import Dataset

from mwl.net.codec import COMMAND, encode
from mwl.net.dimse import (
    NO_DATA_SET,
    RESPONSE,
    Command,
    CommandField,
    Element,
    encode_command,
    fragments,
)
from mwl.net.pdu import (
    EXPLICIT_VR_LITTLE_ENDIAN,
    AssociateAccept,
    AssociateRequest,
    ExtendedItem,
    PduType,
    ProposedContext,
    Role,
    UserInformation,
    title_bytes,
)
from mwl.net.status import PENDING, SUCCESS
from mwl.scp.retrieve import STUDY_ROOT_GET
from tests.dicom_client import DicomClient, Refused, status
from tests.identifiers import encoded

CT = "1.2.840.10008.5.1.4.1.1.2"


@dataclass
class Retriever:
    """An association that retrieves; `answer` gives the status of each C-STORE."""

    client: DicomClient
    storage: Sequence[tuple[str, ...]]  # SOP class, transfer syntaxes
    roles: bool = True
    answer: Callable[[Command], int] = lambda _: SUCCESS
    max_pdu_bytes: int = 16384
    root: str = STUDY_ROOT_GET
    relational: bool = False
    received: dict[str, bytes] = field(default_factory=dict)
    contexts: dict[str, int] = field(default_factory=dict)
    responses: list[Command] = field(default_factory=list)
    failed: bytes | None = None  # the final response's data set

    def __post_init__(self) -> None:
        contexts = [ProposedContext(1, self.root, (EXPLICIT_VR_LITTLE_ENDIAN,))]
        for number, (sop_class, *syntaxes) in enumerate(self.storage, 1):
            contexts.append(ProposedContext(2 * number + 1, sop_class, tuple(syntaxes)))
        classes = dict.fromkeys(sop_class for sop_class, *_ in self.storage)
        user = UserInformation(
            max_pdu_bytes=self.max_pdu_bytes,
            implementation_uid="2.25.1",
            roles=tuple(Role(uid, scu=False, scp=True) for uid in classes) if self.roles else (),
            extended=(ExtendedItem(self.root, b"\1"),) if self.relational else (),
        )
        proposal = AssociateRequest(
            title_bytes("MWL"), title_bytes("VIEWER"), tuple(contexts), user
        )
        self.client.send(encode(proposal))
        accept = self.client.read_pdu()
        if not isinstance(accept, AssociateAccept):
            raise Refused(accept)
        self.client.accept = accept

    def ask(self, level: str | None, **keys: object) -> None:
        """Send the C-GET-RQ alone."""
        identifier = Dataset()
        if level is not None:
            identifier.QueryRetrieveLevel = level
        for keyword, value in keys.items():
            setattr(identifier, keyword, value)
        self.send(identifier)

    def send(self, identifier: Dataset) -> None:
        command = {
            Element.AFFECTED_SOP_CLASS_UID: self.root,
            Element.COMMAND_FIELD: int(CommandField.C_GET),
            Element.MESSAGE_ID: 1,
            Element.PRIORITY: 0,
            Element.DATA_SET_TYPE: 1,
        }
        self.client.send(
            b"".join(fragments(1, COMMAND, encode_command(command), 16384))
            + b"".join(fragments(1, 0, encoded(identifier, explicit=True), 16384))
        )

    def get(self, level: str | None, **keys: object) -> int:
        """Retrieve; return the final status."""
        self.ask(level, **keys)
        while self.step() is None:
            pass
        return status(self.responses[-1])

    def step(self) -> Command | None:
        """Take one message; return the final response once it has come."""
        command, data_set = self.client.read_message()
        if command.field == CommandField.C_STORE:
            assert data_set is not None
            self.received[command.sop_instance] = data_set
            self.client.send(self.stored(command))
            return None
        assert command.field == CommandField.C_GET | RESPONSE, command
        self.responses.append(command)
        if status(command) == PENDING:
            return None
        self.failed = data_set
        return command

    def stored(self, command: Command) -> bytes:
        """Encode the response to a C-STORE-RQ."""
        response: dict[int, int | str | bytes] = {
            Element.AFFECTED_SOP_CLASS_UID: command.sop_class,
            Element.COMMAND_FIELD: CommandField.C_STORE | RESPONSE,
            Element.MESSAGE_ID_BEING_RESPONDED_TO: command.message_id,
            Element.DATA_SET_TYPE: NO_DATA_SET,
            Element.STATUS: self.answer(command),
            Element.AFFECTED_SOP_INSTANCE_UID: command.sop_instance,
        }
        context_id = self.context_of(command.sop_class)
        return b"".join(fragments(context_id, COMMAND, encode_command(response), 16384))

    def context_of(self, sop_class: str) -> int:
        """Name an accepted context of a SOP class."""
        assert self.client.accept is not None
        accepted = {each.id for each in self.client.accept.contexts if each.result == 0}
        for number, (proposed, *_) in enumerate(self.storage, 1):
            if proposed == sop_class and 2 * number + 1 in accepted:
                return 2 * number + 1
        raise AssertionError(f"{sop_class} was not accepted")

    def counts(self) -> tuple[int | None, ...]:
        """Read what the last response counts: remaining, completed, failed, warning."""
        last = self.responses[-1]
        return tuple(last.number(number) for number in range(0x1020, 0x1024))


def most_held(retriever: Retriever, size: int) -> int:
    """Read P-DATA until `size` bytes have come; tell how many this process held at once."""
    came = 0
    tracemalloc.start()
    try:
        while came < size:
            kind, body = retriever.client.read_frame()
            assert kind == PduType.DATA_TF
            came += len(body)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
