"""A scanner's association, with pydicom's data sets: one operation at a time.

They are written in Explicit VR Little Endian, the only syntax that is proposed.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from io import BytesIO
from types import TracebackType
from typing import NamedTuple, Self

from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filereader import read_dataset
from pydicom.filewriter import write_dataset

from mwl.errors import MwlError, Outage, ProtocolError
from mwl.net.dimse import Command, CommandField, Element, Message
from mwl.net.framing import ReadTimeout
from mwl.net.limits import DEFAULTS
from mwl.net.negotiation import CALLING_TITLE_NOT_RECOGNIZED
from mwl.net.pdu import EXPLICIT_VR_LITTLE_ENDIAN, ProposedContext
from mwl.net.requestor import Refused, associate
from mwl.net.status import SUCCESS
from mwl.sockets import dial

ANSWER_S = 30.0

_LIMITS = replace(
    DEFAULTS, associate_timeout_s=ANSWER_S, response_timeout_s=ANSWER_S, idle_timeout_s=ANSWER_S
)
_MEDIUM = 0
_WITH_PRIORITY = frozenset({CommandField.C_STORE, CommandField.C_FIND})

Elements = dict[int, int | str | bytes]
"""Of a command set, by element number."""


class Failed(MwlError):
    """The server did not do what the demo needs; the text says what, and what to type."""


class Strange(Failed):
    """The server does not know this AE title."""


class Answer(NamedTuple):
    """A message of the server's: its command, and its data set if it has one."""

    command: Command
    data_set: Dataset | None

    @property
    def status(self) -> int:
        return self.command.number(Element.STATUS) or 0


class Association:
    """An open association; leaving the block releases it. Raises Failed."""

    def __init__(
        self, address: tuple[str, int], called: str, calling: str, sop_classes: tuple[str, ...]
    ) -> None:
        self._where = f"{address[0]}:{address[1]}"
        self._contexts = {uid: 2 * number + 1 for number, uid in enumerate(sop_classes)}
        proposed = tuple(
            ProposedContext(number, uid, (EXPLICIT_VR_LITTLE_ENDIAN,))
            for uid, number in self._contexts.items()
        )
        try:
            connection = dial(*address, ANSWER_S)
        except Outage:
            raise Failed(f"nobody serves DICOM at {self._where}: `mwl serve` does") from None
        with self._in_words(calling):
            self._open = associate(
                connection, called=called, calling=calling, contexts=proposed, limits=_LIMITS
            )
        if len(self._open.contexts) < len(proposed):
            self._open.abort()
            raise Failed(f"{self._where} does not take all that {calling} does")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._open.__exit__(kind, error, trace)

    def ask(
        self,
        field: CommandField,
        sop_class: str,
        elements: Elements,
        data_set: Dataset | None = None,
    ) -> Iterator[Answer]:
        """Send a request, and give its answers, the final one last."""
        command: Elements = {Element.COMMAND_FIELD: field, **elements}
        if field in _WITH_PRIORITY:
            command[Element.PRIORITY] = _MEDIUM
        data = None if data_set is None else _written(data_set)
        with self._in_words():
            for message in self._open.responses(self._contexts[sop_class], command, data):
                yield Answer(message.command, _read(message))

    def take_report(self) -> Dataset:
        """Wait for an N-EVENT-REPORT of the server's, and answer that it has arrived."""
        with self._in_words():
            report = self._open.next_request()
            information = _read(report) if report is not None else None
            if report is None or information is None:
                raise Failed(f"{self._where} sent something else than a report of commitment")
            self._open.send_response(report, SUCCESS)
        return information

    @contextmanager
    def _in_words(self, calling: str = "") -> Iterator[None]:
        """Say what is wrong to a person."""
        try:
            yield
        except Refused as refused:
            if refused.answer == CALLING_TITLE_NOT_RECOGNIZED:
                raise Strange(
                    f"the server at {self._where} admits known devices only: "
                    f"`mwl device add {calling}` makes this one known"
                ) from None
            raise Failed(f"{self._where}: {refused}") from None
        except ReadTimeout:
            raise Failed(f"{self._where} gave no answer within {ANSWER_S:.0f} s") from None
        except ProtocolError as error:
            raise Failed(f"{self._where} gave no answer: {error}") from None


def _written(data_set: Dataset) -> bytes:
    written = DicomBytesIO()
    written.is_little_endian, written.is_implicit_VR = True, False
    write_dataset(written, data_set)
    return written.getvalue()


def _read(message: Message) -> Dataset | None:
    if message.data_set is None:
        return None
    encoded = BytesIO(message.data_set)
    return read_dataset(encoded, is_implicit_VR=False, is_little_endian=True)
