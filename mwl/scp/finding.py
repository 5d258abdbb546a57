"""C-FIND as SCP, whatever the information model: from an identifier to its last response.

Whatever goes wrong has its status (PS3.4 tables C.4-1 and K.4-1), and none of them reads as
an empty list:

- A700 where the database is in trouble, and after `max_answers` answers;
- A900, with the attribute where one is to blame, for an identifier that the SOP class
  doesn't know;
- C001, with the attribute, where a key can't be read; without one where the identifier
  can't, or a defect of ours comes to light.

FF01 instead of FF00 says that a key, to be returned or matched, is not supported; such a
key excludes nothing.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from typing import Final as Constant

import structlog

from mwl import charsets, dataset
from mwl.dataset import DataSet
from mwl.errors import Outage, ProtocolError, Rejected
from mwl.net import status
from mwl.net.association import Association
from mwl.net.dimse import CommandField, Message
from mwl.net.pdu import EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN
from mwl.scp.answers import Plan
from mwl.scp.attributes import vr_of
from mwl.scp.final import DEFECT, Final, Mismatch, mismatched, unreadable

log = structlog.get_logger(__name__)

# No deflated one: 29 KB of it inflate to 30 MB.
TRANSFER_SYNTAXES: Constant = (EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN)
OPERATIONS: Constant = frozenset({CommandField.C_FIND})


@dataclass(frozen=True, slots=True)
class Question:
    """What an identifier asks: how rows become answers, and the rows, page after page.

    `is_whole`: every key that it has is supported.
    """

    plan: Plan
    pages: Iterable[Sequence[Any]]
    is_whole: bool


class Search(ABC):
    """One C-FIND, from its identifier to its last response; `name` is that of its log lines.

    `answers` counts them, up to `max_answers`, which `question` may lower.
    """

    name = "query"

    def __init__(self, association: Association, message: Message, max_answers: int) -> None:
        self.association, self.message = association, message
        self.max_answers = max_answers
        self._is_full = False
        self._texts = charsets.Texts(())
        self.answers = 0

    @property
    def explicit(self) -> bool:
        return self.message.context.transfer_syntax == EXPLICIT_VR_LITTLE_ENDIAN

    def perform(self) -> None:
        """Answer the request."""
        final = self._run()
        log.info(
            f"{self.name}.find",
            calling=self.association.calling_title,
            **self.told(),
            answers=self.answers,
            **({"characters": sorted(self._texts.flags)} if self._texts.flags else {}),
            status=f"{final.status:04X}",
            comment=final.comment,
        )
        self.association.send_response(self.message, final.status, elements=final.elements())

    @abstractmethod
    def question(self, keys: DataSet) -> Question:
        """Read the identifier. Mismatch, Rejected, Outage."""

    def read(self, data: bytes) -> DataSet:
        """Read the bytes of the identifier. Rejected."""
        return dataset.read(data, explicit=self.explicit, vr_of=vr_of)

    def texts(self, keys: DataSet, assumed: str = "") -> charsets.Texts:
        """Give how those of the identifier are read; `assumed` is what is set of who asks."""
        self._texts = charsets.Texts(dataset.character_sets(keys), assumed)
        return self._texts

    def full(self) -> Final:
        """Say how it ends after as many answers as there may be, where there would be more."""
        return Final(status.REFUSED_OUT_OF_RESOURCES, f"more than {self.answers} match")

    def told(self) -> dict[str, str]:
        """Tell more for the log."""
        return {}

    def answered(self, plan: Plan, rows: Sequence[Any]) -> None:  # noqa: B027 - who cares, says
        """Hear which rows were answered, page by page."""

    def _run(self) -> Final:
        try:
            return self._answered()
        except Mismatch as error:
            return mismatched(error)
        except Rejected as error:
            return unreadable(error)
        except Outage as error:
            log.warning(f"{self.name}.outage", error=str(error))
            return Final(status.REFUSED_OUT_OF_RESOURCES, "the database is not available now")
        except (ProtocolError, OSError):
            raise  # the peer's end of it, or the network's
        except Exception:
            log.exception(f"{self.name}.defect")
            return DEFECT

    def _answered(self) -> Final:
        data = self.message.data_set or b""
        question = self.question(self.read(data))
        pending = status.PENDING if question.is_whole else status.PENDING_UNSUPPORTED_KEYS
        went = self.association.send_responses(self.message, self._stream(question), pending)
        for kind in ("transliterated", "identifiers_in_utf_8"):
            if count := getattr(question.plan, kind):
                calling = self.association.calling_title
                log.warning(f"{self.name}.{kind}", calling=calling, answers=count)
        if not went:
            return Final(status.CANCEL)
        if self._is_full:
            return self.full()
        return Final(status.SUCCESS)

    def _stream(self, question: Question) -> Iterator[bytes]:
        plan, message_id = question.plan, self.message.command.message_id
        for rows in question.pages:
            if not rows and self.association.cancelled(message_id):
                return  # nothing was found so far: nobody else looks meanwhile
            before = self.answers
            try:
                for row in rows:
                    if self.answers >= self.max_answers:
                        self._is_full = True
                        return
                    self.answers += 1
                    yield plan.encode(row)
            finally:  # a C-CANCEL ends it here as well
                self.answered(plan, rows[: self.answers - before])
