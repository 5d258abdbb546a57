"""A viewer that retrieves a study and throws it away, at next to no cost of its own."""

from collections.abc import Iterator
from contextlib import closing

from mwl.net.codec import COMMAND, LAST
from mwl.net.dimse import Command, CommandField, Element, decode_command
from mwl.net.status import PENDING
from tests.dicom_client import DicomClient, status
from tests.mover import Mover
from tests.receiver import frames, stored
from tests.retriever import CT, Retriever

_EXPLICIT = "1.2.840.10008.1.2.1"
_MOST_PDU_BYTES = 131_072
_PDV_HEADER = 6


def get(port: int, study: str) -> int:
    """Retrieve by C-GET; tell how many instances came."""
    with closing(DicomClient(("127.0.0.1", port), 60)) as client:
        retriever = Retriever(client, [(CT, _EXPLICIT)], max_pdu_bytes=_MOST_PDU_BYTES)
        retriever.ask("STUDY", StudyInstanceUID=study)
        count = 0
        for context_id, command in _messages(client):
            if command.field == CommandField.C_STORE:
                count += 1
                client.socket.sendall(stored(context_id, command))
            elif status(command) != PENDING:
                assert status(command) == 0, command
                break
        client.release()
        return count


def move(port: int, study: str) -> int:
    """Have a study sent to STORE by C-MOVE; tell how many instances went."""
    with closing(DicomClient(("127.0.0.1", port), 60)) as client:
        mover = Mover(client)
        mover.ask("STORE", "STUDY", StudyInstanceUID=study)
        for _, command in _messages(client):
            if status(command) != PENDING:
                assert status(command) == 0, command
                break
        client.release()
        return command.number(Element.NUMBER_OF_COMPLETED_SUB_OPERATIONS) or 0


def _messages(client: DicomClient) -> Iterator[tuple[int, Command]]:
    """Read commands; of one with a data set, once that has come too."""
    command: Command | None = None
    for _, body in frames(client.socket, whole=False):
        control = body[5]
        if control & COMMAND:
            command = decode_command(bytes(body[_PDV_HEADER:]))
        assert command is not None
        if control & LAST and bool(control & COMMAND) != command.has_data_set:
            yield body[4], command
