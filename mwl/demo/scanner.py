"""A scanner: pynetdicom as SCU over real sockets, an association for each thing it does.

That is how scanners behave: one to ask for the worklist, one for each word of MPPS, one to
send a series, one to have it committed. Whatever is not answered as it should be raises
Failed, whose text is a line for a person.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime
from queue import Empty, SimpleQueue
from typing import Any

from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom import AE, evt
from pynetdicom.association import Association

from mwl.demo import datasets
from mwl.demo.datasets import Code
from mwl.demo.entries import Entry, new_uid
from mwl.errors import MwlError

VERIFICATION = "1.2.840.10008.1.1"
WORKLIST = "1.2.840.10008.5.1.4.31"
MPPS = "1.2.840.10008.3.1.2.3.3"
COMMITMENT = "1.2.840.10008.1.20.1"
WELL_KNOWN_INSTANCE = "1.2.840.10008.1.20.1.1"

_ANSWER_S = 30.0
_REPORT_S = 30.0
_PENDING = (0xFF00, 0xFF01)
_UNKNOWN_CALLER = 3  # PS3.8 table 9-21: calling AE title not recognized


class Failed(MwlError):
    """The server did not do what the demo needs; the text says what, and what to type."""


class Strange(Failed):
    """The server does not know this scanner's AE title."""


@dataclass(frozen=True, slots=True)
class Report:
    """What the server told of instances whose commitment was asked for."""

    kept: int
    failed: int


@dataclass(frozen=True, slots=True)
class Scanner:
    """One scanner, and the server that it talks to."""

    ae_title: str
    host: str
    port: int
    called: str

    def echo(self) -> None:
        """Knock: C-ECHO."""
        with self._associated(VERIFICATION) as association:
            _check("C-ECHO", association.send_c_echo())

    def worklist(self, modality: str, day: date, accession: str = "") -> list[Entry]:
        """Ask for the entries of a day (C-FIND)."""
        keys = datasets.worklist_keys(modality, day, accession)
        found = []
        with self._associated(WORKLIST) as association:
            for status, answer in association.send_c_find(keys, WORKLIST):
                if "Status" in status and status.Status in _PENDING:
                    found.append(Entry.of(answer))
                else:
                    _check("C-FIND", status)
        return found

    def begin(self, entry: Entry, now: datetime) -> str:
        """Tell that the work has begun (MPPS N-CREATE); give the UID of what was begun."""
        uid = new_uid()
        with self._associated(MPPS) as association:
            said = datasets.begun(entry, self.ae_title, now)
            _check("N-CREATE", association.send_n_create(said, MPPS, uid)[0])
        return uid

    def end(
        self, uid: str, images: Sequence[Dataset], now: datetime, reason: Code | None = None
    ) -> None:
        """Tell that the work is done, or given up for a reason (MPPS N-SET)."""
        with self._associated(MPPS) as association:
            said = datasets.ended(images, now, reason)
            _check("N-SET", association.send_n_set(said, MPPS, uid)[0])

    def store(self, images: Sequence[Dataset]) -> None:
        """Send a series (C-STORE)."""
        classes = dict.fromkeys(str(image.SOPClassUID) for image in images)
        with self._associated(*classes) as association:
            for image in images:
                _check("C-STORE", association.send_c_store(image))

    def commit(self, images: Sequence[Dataset]) -> Report:
        """Have images committed (N-ACTION), and wait for the report on the same association."""
        told: SimpleQueue[Report] = SimpleQueue()
        with self._associated(COMMITMENT, reports=told) as association:
            self._ask(association, images)
            try:
                return told.get(timeout=_REPORT_S)
            except Empty:
                raise Failed(
                    f"storage commitment was not reported within {_REPORT_S:.0f} s on the same "
                    f"association: is {self.ae_title} registered to be told by a new one?"
                ) from None

    def ask_commitment(self, images: Sequence[Dataset]) -> None:
        """Have images committed, and leave: the report comes by an association to us."""
        with self._associated(COMMITMENT) as association:
            self._ask(association, images)

    def _ask(self, association: Association, images: Sequence[Dataset]) -> None:
        asked = datasets.commitment(images, new_uid())
        answer = association.send_n_action(asked, 1, COMMITMENT, WELL_KNOWN_INSTANCE)
        _check("N-ACTION", answer[0])

    @contextmanager
    def _associated(
        self, *sop_classes: str, reports: "SimpleQueue[Report] | None" = None
    ) -> Iterator[Association]:
        entity = AE(ae_title=self.ae_title)
        entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = _ANSWER_S
        entity.connection_timeout = _ANSWER_S
        for sop_class in sop_classes:
            entity.add_requested_context(sop_class, ExplicitVRLittleEndian)
        handlers: list[Any] = []
        if reports is not None:
            handlers = [(evt.EVT_N_EVENT_REPORT, _taker(reports))]
        association = entity.associate(
            self.host, self.port, ae_title=self.called, evt_handlers=handlers
        )
        if not association.is_established:
            raise self._refusal(association)
        try:
            yield association
        finally:
            if association.is_established:
                association.release()

    def _refusal(self, association: Association) -> Failed:
        where = f"{self.host}:{self.port}"
        if not association.is_rejected:
            return Failed(f"no DICOM peer answers at {where}: `mwl serve` starts ours")
        answer: Any = association.acceptor.primitive
        if answer.diagnostic == _UNKNOWN_CALLER:
            return Strange(f"the server at {where} admits known devices only: {self.introduction}")
        return Failed(f"{where} refused the association: {answer.reason_str}")

    @property
    def introduction(self) -> str:
        """Say what makes the server know this scanner."""
        return f"`mwl device add {self.ae_title}` registers this one"


def report_of(information: Dataset) -> Report:
    """Read what an N-EVENT-REPORT says (PS3.4 table J.3-2)."""
    kept = information.get("ReferencedSOPSequence") or []
    failed = information.get("FailedSOPSequence") or []
    return Report(len(kept), len(failed))


def _taker(reports: "SimpleQueue[Report]") -> Any:
    def take(event: Any) -> tuple[int, None]:
        reports.put(report_of(event.event_information))
        return 0x0000, None

    return take


def _check(operation: str, status: Dataset) -> None:
    if "Status" not in status:
        raise Failed(f"{operation} got no answer")
    if status.Status != 0x0000:
        comment = str(status.get("ErrorComment") or "")
        told = f"{operation} was answered {status.Status:04X}"
        raise Failed(f"{told}: {comment}" if comment else told)
