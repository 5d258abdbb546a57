"""Modality Worklist as SCP (PS3.4 annex K): a C-FIND identifier becomes a query and answers.

Whatever goes wrong has its status (table K.4-1), and none of them reads as an empty list:

- A700 where the database is in trouble, and after `max_answers` answers;
- A900 where no key belongs to the worklist's information model;
- C001, with the offending element, where a key can't be read; without one where the
  identifier can't, or a defect of ours comes to light.

FF01 instead of FF00 says that a key, to be returned or matched, is not supported; such a
key excludes nothing.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import structlog

from mwl import dataset
from mwl.db import Database
from mwl.errors import Outage, ProtocolError, Rejected
from mwl.matching import UNIVERSAL, Matcher
from mwl.net import status
from mwl.net.association import Association
from mwl.net.dimse import CommandField, Message
from mwl.net.pdu import EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN
from mwl.scp.answers import Asker, Plan
from mwl.scp.attributes import vr_of
from mwl.scp.final import DEFECT, Final, unreadable
from mwl.scp.keys import Matching
from mwl.worklist.asking import caller
from mwl.worklist.find import Caller, Query, Row, pages

log = structlog.get_logger(__name__)

MODALITY_WORKLIST_FIND = "1.2.840.10008.5.1.4.31"
MAX_ANSWERS = 10_000


def _utc_now() -> datetime:
    return datetime.now(UTC)


# Of rows that an AE title at an address was answered with: title, address, their columns.
Note = Callable[[str, str, tuple[str, ...], Sequence[Row]], None]


def _unnoted(_title: str, _address: str, _columns: tuple[str, ...], _rows: Sequence[Row]) -> None:
    pass


@dataclass(frozen=True, slots=True)
class WorklistService:
    """Modality Worklist Information Model – FIND.

    `zone` is the site's. After `max_answers` a query ends with A700: nobody meant a list
    that long. `note` hears of what was answered.
    """

    database: Database
    zone: ZoneInfo
    note: Note = _unnoted
    max_answers: int = MAX_ANSWERS
    clock: Callable[[], datetime] = _utc_now

    @property
    def abstract_syntaxes(self) -> tuple[str, ...]:
        return (MODALITY_WORKLIST_FIND,)

    @property
    def transfer_syntaxes(self) -> tuple[str, ...]:
        # No deflated one: 29 KB of it inflate to 30 MB.
        return (EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN)

    @property
    def operations(self) -> frozenset[CommandField]:
        return frozenset({CommandField.C_FIND})

    def handle(self, association: Association, message: Message) -> None:
        """Answer one C-FIND-RQ."""
        search = _Search(self, association, message)
        final = search.run()
        log.info(
            "worklist.find",
            calling=association.calling_title,
            answers=search.answers,
            status=f"{final.status:04X}",
            comment=final.comment,
        )
        association.send_response(message, final.status, elements=final.elements())


class _Search:
    """One C-FIND, from its identifier to its last pending response."""

    def __init__(self, service: WorklistService, association: Association, message: Message):
        self._service, self._association, self._message = service, association, message
        self._is_full = False
        self.answers = 0

    def run(self) -> Final:
        try:
            return self._answered()
        except Rejected as error:
            return unreadable(error)
        except Outage as error:
            log.warning("worklist.outage", error=str(error))
            return Final(status.REFUSED_OUT_OF_RESOURCES, "the worklist is not available now")
        except (ProtocolError, OSError):
            raise  # the peer's end of it, or the network's
        except Exception:
            log.exception("worklist.defect")
            return DEFECT

    def _answered(self) -> Final:
        context = self._message.context
        explicit = context.transfer_syntax == EXPLICIT_VR_LITTLE_ENDIAN
        keys = dataset.read(self._message.data_set or b"", explicit=explicit, vr_of=vr_of)
        calling = self._association.calling_title
        plan = Plan(
            keys, Asker(calling, explicit, dataset.character_sets(keys), self._service.zone)
        )
        if not plan.is_known:
            return Final(status.IDENTIFIER_DOES_NOT_MATCH, "no key of the Modality Worklist")
        asked = Matching(keys)
        query = Query(plan.columns, asked.keys, self._caller(calling, asked.keys))
        pending = status.PENDING
        if plan.unsupported or asked.unsupported:
            pending = status.PENDING_UNSUPPORTED_KEYS
        stream = self._stream(plan, query)
        if not self._association.send_responses(self._message, stream, pending):
            return Final(status.CANCEL)
        if self._is_full:
            return Final(status.REFUSED_OUT_OF_RESOURCES, f"more than {self.answers} items match")
        return Final(status.SUCCESS)

    def _stream(self, plan: Plan, query: Query) -> Iterator[bytes]:
        service = self._service
        for rows in pages(service.database, query, now=service.clock()):
            before = self.answers
            try:
                for row in rows:
                    if self.answers >= service.max_answers:
                        self._is_full = True
                        return
                    self.answers += 1
                    yield plan.encode(row)
            finally:  # a C-CANCEL ends it here as well
                self._note(plan, rows[: self.answers - before])

    def _note(self, plan: Plan, rows: Sequence[Row]) -> None:
        title, address = self._association.calling_title, self._association.address
        self._service.note(title, address, plan.columns, rows)

    def _caller(self, calling: str, keys: dict[str, Matcher]) -> Caller:
        if keys.get("station_ae_titles", UNIVERSAL) == UNIVERSAL:
            return Caller(calling)
        with self._service.database.read() as session:
            return caller(session, calling)
