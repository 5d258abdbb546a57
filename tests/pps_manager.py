"""Other PPS managers for tests: one that does as it is told, and real ones.

with Scripted() as manager:                 # on our upper layer; takes everything
    manager.answers(0x0213, SILENCE)        # to the first two messages; then 0000 again
    manager.received                        # Received(operation, uid, calling, …), in order

with by_pynetdicom() as manager: …          # pynetdicom as SCP, likewise without a script
with by_dcmjs() as (port, lines): …         # dcmjs-dimse, a line of JSON a message
"""

import json
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from types import TracebackType
from typing import Any, Self

from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset

from mwl.errors import ProtocolError
from mwl.net.admission import Admission, Applicant
from mwl.net.association import Association
from mwl.net.dimse import CommandField, Message
from mwl.net.messages import Elements
from mwl.net.pdu import EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN
from mwl.net.server import AssociationServer, TlsListener, listen
from mwl.scp.echo import EchoService
from mwl.tls import Keys
from tests.modality import _FOLDER
from tests.peers import missing, require
from tests.serving import PATIENCE_S

MPPS = "1.2.840.10008.3.1.2.3.3"
_SILENCE_S = 0.5  # longer than whoever asks waits
ABORT, SILENCE = "abort", "silence"
Answer = int | str | tuple[int, Elements]  # a status, with more of the command set


@dataclass(frozen=True)
class Received:
    """An N-CREATE or N-SET as it came."""

    operation: str
    uid: str
    calling: str
    transfer_syntax: str
    raw: bytes

    @property
    def data_set(self) -> Dataset:
        is_implicit = self.transfer_syntax == IMPLICIT_VR_LITTLE_ENDIAN
        return read_dataset(BytesIO(self.raw), is_implicit, True)


@dataclass
class Scripted:
    """A manager called `title` that takes these transfer syntaxes and answers by its script.

    `says` is what it says to who asks for an association.
    """

    title: str = "DOSE"
    transfer_syntaxes: tuple[str, ...] = (EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN)
    abstract_syntaxes: tuple[str, ...] = (MPPS,)
    operations: frozenset[CommandField] = frozenset({CommandField.N_CREATE, CommandField.N_SET})
    says: Admission = Admission.ACCEPTED
    port: int = 0
    keys: Keys | None = None  # its own: then `port` speaks TLS
    received: list[Received] = field(default_factory=list)
    callers: list[str] = field(default_factory=list)  # of every association
    _script: list[Answer] = field(default_factory=list)
    _over: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Self:
        listener = listen("127.0.0.1", self.port)
        tls = None if self.keys is None else TlsListener(listener, self.keys)
        plain = listener if tls is None else listen("127.0.0.1", 0)
        self._server = AssociationServer(plain, [EchoService(), self], admit=self._admit, tls=tls)
        self.port = listener.getsockname()[1]
        self._server.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over.set()
        self._server.stop(0)

    def answers(self, *script: Answer) -> None:
        """Answer the next messages so, one each."""
        self._script += script

    @property
    def told(self) -> list[tuple[str, str]]:
        """What came: operation and UID."""
        return [(each.operation, each.uid) for each in self.received]

    def handle(self, association: Association, message: Message) -> None:
        """Take a message, and do as the script says."""
        command = message.command
        name = CommandField(command.field).name.replace("_", "-")
        syntax = message.context.transfer_syntax
        self.received.append(
            Received(
                name,
                command.sop_instance,
                association.calling_title,
                syntax,
                message.data_set or b"",
            )
        )
        answer = self._script.pop(0) if self._script else 0x0000
        if answer == ABORT:
            raise ProtocolError("as the script says")
        if answer == SILENCE:
            self._over.wait(_SILENCE_S)
            return
        code, elements = answer if isinstance(answer, tuple) else (answer, {})
        assert isinstance(code, int)
        association.send_response(message, code, elements=elements)

    def _admit(self, applicant: Applicant) -> Admission:
        self.callers.append(applicant.calling)
        return self.says if applicant.called == self.title else Admission.CALLED_UNKNOWN


@contextmanager
def by_pynetdicom(*syntaxes: str) -> Iterator[Any]:
    """Take MPPS by pynetdicom; its `port`, and what it `received`."""
    from pynetdicom import AE, evt

    manager = Scripted()

    def take(event: Any) -> tuple[int, None]:
        is_new = event.event == evt.EVT_N_CREATE
        asked = event.request
        uid = asked.AffectedSOPInstanceUID if is_new else asked.RequestedSOPInstanceUID
        given = asked.AttributeList if is_new else asked.ModificationList
        manager.received.append(
            Received(
                "N-CREATE" if is_new else "N-SET",
                str(uid),
                event.assoc.requestor.ae_title,
                str(event.context.transfer_syntax),
                given.getvalue(),
            )
        )
        return 0x0000, None

    entity = AE(ae_title="DOSE")
    entity.require_called_aet = True
    entity.add_supported_context(MPPS, list(syntaxes) or list(manager.transfer_syntaxes))
    handlers: Any = [(evt.EVT_N_CREATE, take), (evt.EVT_N_SET, take)]
    server: Any = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
    manager.port = server.socket.getsockname()[1]
    try:
        yield manager
    finally:
        server.shutdown()


@contextmanager
def by_dcmjs() -> Iterator[tuple[int, Callable[[], dict[str, Any]]]]:
    """Take MPPS by dcmjs-dimse; its port, and what waits for the next message that it took."""
    node = require("node")
    if not (_FOLDER / "node_modules").is_dir():
        missing("dcmjs-dimse is not installed: npm ci --prefix tests/dcmjs")
    with closing(socket.create_server(("127.0.0.1", 0))) as probe:
        port = probe.getsockname()[1]
    command = [node, str(_FOLDER / "manager.js"), str(port)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        lines = process.stdout
        try:
            _wait_for(port)
            yield port, lambda: json.loads(lines.readline())
        finally:
            process.kill()


def _wait_for(port: int) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            return socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            assert time.monotonic() < deadline, "dcmjs-dimse does not listen"
            time.sleep(0.02)
