"""Conversations of a scanner with the bridge, recorded on the wire, to be played again.

sessions = record(server)          # what pynetdicom sends, by name
play(server, sessions["store"])    # the same bytes once more

A session is a list of PDUs, each with how many bytes of ours had come before it was sent.
"""

import select
import socket
import threading
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol

from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from mwl.commitment import STORAGE_COMMITMENT_PUSH_MODEL, WELL_KNOWN_INSTANCE, Reference
from mwl.net.codec import HEADER
from mwl.net.server import AssociationServer
from mwl.scp.mpps.service import MODALITY_PERFORMED_PROCEDURE_STEP as MPPS
from mwl.scp.query import STUDY_ROOT_FIND
from mwl.scp.retrieve import STUDY_ROOT_GET
from mwl.scp.retrieve.move import STUDY_ROOT_MOVE
from tests.committer import action
from tests.dicom_client import MODALITY_WORKLIST_FIND, VERIFICATION
from tests.hostile import Bridge
from tests.identifiers import asking
from tests.modality import BEGUN
from tests.storing import CT, image

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from pynetdicom import AE, build_role, evt

PATIENCE_S = 10.0  # a session that isn't over by then hangs
SYNTAXES = [ExplicitVRLittleEndian, ImplicitVRLittleEndian]
STUDY = "1.2.826.0.1.3680043.8.498.1"  # what the bridge has


@dataclass(frozen=True, slots=True)
class Sent:
    """One PDU of the peer's, sent once so many bytes of ours had come."""

    after: int
    data: bytes


Session = tuple[Sent, ...]


@dataclass(frozen=True, slots=True)
class Stage:
    """A served bridge, and the sessions that were recorded with it."""

    bridge: Bridge
    server: AssociationServer
    sessions: dict[str, Session]


class Served(Protocol):
    """What is listened on by somebody who speaks DICOM there."""

    @property
    def address(self) -> tuple[str, int]: ...


class Hang(AssertionError):
    """A server that neither answers nor closes."""


def play(
    server: Served,
    session: Sequence[Sent],
    *,
    waits_s: float = 0.0,
    stays: bool = False,
) -> bytes:
    """Send a session, and give all that is answered up to the end. Raises Hang.

    With `waits_s` each PDU waits as long for what came before it in the recording. The peer
    then closes its side, or `stays` and says no more.
    """
    answered = bytearray()
    with socket.create_connection(server.address, PATIENCE_S) as peer:
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with suppress(ConnectionError):
            for sent in session:
                if waits_s and not _await(peer, answered, sent.after, waits_s):
                    break
                peer.sendall(sent.data)
        if not stays:
            with suppress(OSError):  # the server was quicker
                peer.shutdown(socket.SHUT_WR)
        _drain(peer, answered)
    return bytes(answered)


def _await(peer: socket.socket, answered: bytearray, size: int, waits_s: float) -> bool:
    """Read until so much has come, or long enough; say whether the peer is still there."""
    peer.settimeout(waits_s)
    try:
        while len(answered) < size:
            data = peer.recv(65536)
            if not data:
                return False
            answered += data
    except TimeoutError:
        pass
    finally:
        peer.settimeout(PATIENCE_S)
    return True


def _drain(peer: socket.socket, answered: bytearray) -> None:
    try:
        while data := peer.recv(65536):
            answered += data
    except ConnectionError:
        pass
    except TimeoutError:
        raise Hang(f"neither an answer nor an end after {PATIENCE_S} s") from None


# --- recording


def record(server: Served, *names: str) -> dict[str, Session]:
    """Record one conversation of each kind, of those that are named if any are."""
    return {name: _taped(server, _CONVERSATIONS[name]) for name in names or _CONVERSATIONS}


def _taped(server: Served, perform: Callable[[int], None]) -> Session:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        tape: list[Sent] = []
        forwarding = threading.Thread(target=_forward, args=(listener, server.address, tape))
        forwarding.start()
        perform(listener.getsockname()[1])
        forwarding.join(PATIENCE_S)
        assert not forwarding.is_alive()
    return pdus(tape)


def _forward(listener: socket.socket, target: tuple[str, int], tape: list[Sent]) -> None:
    """Forward one connection both ways until both have ended."""
    ours = 0
    with listener.accept()[0] as peer, socket.create_connection(target) as bridge:
        other = {peer: bridge, bridge: peer}
        open_ = [peer, bridge]
        while open_:
            for source in select.select(open_, [], [], PATIENCE_S)[0]:
                data = source.recv(65536)
                if not data:
                    open_.remove(source)
                    with suppress(OSError):
                        other[source].shutdown(socket.SHUT_WR)
                elif source is peer:
                    tape.append(Sent(ours, data))
                    bridge.sendall(data)
                else:
                    ours += len(data)
                    peer.sendall(data)


def pdus(tape: Sequence[Sent]) -> Session:
    """Cut what was sent into PDUs."""
    cut: list[Sent] = []
    rest = b""
    for sent in tape:
        rest += sent.data
        while len(rest) >= HEADER.size:
            whole = HEADER.size + HEADER.unpack_from(rest)[1]
            if len(rest) < whole:
                break
            cut.append(Sent(sent.after, rest[:whole]))
            rest = rest[whole:]
    assert not rest
    return tuple(cut)


def _on(port: int, *sop_classes: str, **more: Any) -> Any:
    entity = AE(ae_title="CT1")
    entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = PATIENCE_S
    for sop_class in sop_classes:
        entity.add_requested_context(sop_class, SYNTAXES)
    opened = entity.associate("127.0.0.1", port, ae_title="MWL", **more)
    assert opened.is_established
    return opened


def _echo(port: int) -> None:
    opened = _on(port, VERIFICATION)
    assert opened.send_c_echo().Status == 0
    opened.release()


def _worklist(port: int) -> None:
    opened = _on(port, MODALITY_WORKLIST_FIND, VERIFICATION)
    keys = asking(
        "PatientName",
        "PatientID",
        "AccessionNumber",
        step=("ScheduledProcedureStepStartTime", "ScheduledStationAETitle"),
        charset="ISO_IR 100",
        step_Modality="CT",
        step_ScheduledProcedureStepStartDate="20300101-20300103",
    )
    answers = list(opened.send_c_find(keys, MODALITY_WORKLIST_FIND))
    assert answers[-1][0].Status == 0
    assert len(answers) > 1
    opened.release()


def _query(port: int) -> None:
    opened = _on(port, STUDY_ROOT_FIND)
    keys = Dataset()
    keys.QueryRetrieveLevel, keys.StudyInstanceUID = "STUDY", ""
    keys.PatientName, keys.StudyDate, keys.ModalitiesInStudy = "Doe*", "20300101-20300103", ""
    assert len(list(opened.send_c_find(keys, STUDY_ROOT_FIND))) > 1
    opened.release()


def _store(port: int) -> None:
    opened = _on(port, CT)
    for number in (1001, 1002):
        made = image(number, PixelData=bytes(range(256)) * 4, RequestAttributesSequence=[Dataset()])
        made.ensure_file_meta()
        made.file_meta.TransferSyntaxUID = opened.accepted_contexts[0].transfer_syntax[0]
        assert opened.send_c_store(made).Status == 0
    opened.release()


def _get(port: int) -> None:
    role = build_role(CT, scp_role=True)
    handlers = [(evt.EVT_C_STORE, lambda _: 0x0000)]
    opened = _on(port, STUDY_ROOT_GET, CT, ext_neg=[role], evt_handlers=handlers)
    keys = Dataset()
    keys.QueryRetrieveLevel, keys.StudyInstanceUID = "STUDY", STUDY
    answers = list(opened.send_c_get(keys, STUDY_ROOT_GET))
    assert answers[-1][0].Status == 0
    assert answers[-1][0].NumberOfCompletedSuboperations == 2
    opened.release()


def _move(port: int) -> None:
    opened = _on(port, STUDY_ROOT_MOVE)
    keys = Dataset()
    keys.QueryRetrieveLevel, keys.StudyInstanceUID = "STUDY", STUDY
    answers = list(opened.send_c_move(keys, "STORE", STUDY_ROOT_MOVE))
    assert answers[-1][0].Status == 0
    opened.release()


def _mpps(port: int) -> None:
    opened = _on(port, MPPS)
    begun, ended = performed()
    uid = "1.2.826.0.1.3680043.8.498.900"
    assert opened.send_n_create(begun, MPPS, uid)[0].Status == 0
    assert opened.send_n_set(ended, MPPS, uid)[0].Status == 0
    opened.release()


def _commitment(port: int) -> None:
    opened = _on(port, STORAGE_COMMITMENT_PUSH_MODEL)
    asked = action([Reference(CT, f"{STUDY}.1.{number}") for number in (1, 2, 3)])
    answer, _ = opened.send_n_action(asked, 1, STORAGE_COMMITMENT_PUSH_MODEL, WELL_KNOWN_INSTANCE)
    assert answer.Status == 0
    opened.release()


_CONVERSATIONS = {
    "echo": _echo,
    "worklist": _worklist,
    "query": _query,
    "store": _store,
    "get": _get,
    "move": _move,
    "mpps": _mpps,
    "commitment": _commitment,
}


def performed() -> tuple[Dataset, Dataset]:
    """Make the attributes of an N-CREATE and of the N-SET that ends it."""
    step, begun, ended, series, reference = (Dataset() for _ in range(5))
    step.StudyInstanceUID, step.AccessionNumber = STUDY, "ACC1"
    step.RequestedProcedureID = step.RequestedProcedureDescription = ""
    step.ScheduledProcedureStepID, step.ScheduledProcedureStepDescription = "SPS1", ""
    step.ScheduledProtocolCodeSequence = step.ReferencedStudySequence = []
    begun.ScheduledStepAttributesSequence = [step]
    for keyword, value in BEGUN.items():
        setattr(begun, keyword, value)
    reference.ReferencedSOPClassUID, reference.ReferencedSOPInstanceUID = CT, f"{STUDY}.1.1"
    series.PerformingPhysicianName = series.OperatorsName = series.SeriesDescription = ""
    series.ProtocolName, series.RetrieveAETitle = "HEAD", ""
    series.SeriesInstanceUID = f"{STUDY}.1"
    series.ReferencedImageSequence = [reference]
    series.ReferencedNonImageCompositeSOPInstanceSequence = []
    ended.PerformedProcedureStepStatus = "COMPLETED"
    ended.PerformedProcedureStepEndDate, ended.PerformedProcedureStepEndTime = "20300102", "0945"
    ended.PerformedSeriesSequence = [series]
    return begun, ended


def whole(session: Sequence[Sent]) -> bytes:
    """Join a session's bytes."""
    return b"".join(sent.data for sent in session)
