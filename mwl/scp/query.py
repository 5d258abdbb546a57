"""Study Root Query as SCP (PS3.4 annex C.4.1): a C-FIND identifier becomes rows and answers.

Whatever goes wrong has its status (table C.4-1), and none of them reads as an empty list:

- A700 where the database is in trouble, and after `max_answers` answers;
- A900, with the attribute, where the identifier names no level, or not what lies above it;
- C001, with the attribute, where a key can't be read; without one where the identifier
  can't, or a defect of ours comes to light.

FF01 instead of FF00 says that a key, to be returned or matched, is not supported; such a
key excludes nothing.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from zoneinfo import ZoneInfo

import structlog

from mwl import dataset
from mwl.archive.query import Query, pages
from mwl.db import Database
from mwl.errors import Outage, ProtocolError, Rejected
from mwl.net import status
from mwl.net.association import Association
from mwl.net.dimse import CommandField, Message
from mwl.net.pdu import EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN
from mwl.scp import levels
from mwl.scp.answers import Asker, Plan
from mwl.scp.attributes import vr_of
from mwl.scp.final import DEFECT, Final, unreadable

log = structlog.get_logger(__name__)

STUDY_ROOT_FIND = "1.2.840.10008.5.1.4.1.2.2.1"
MAX_ANSWERS = 50_000


@dataclass(frozen=True, slots=True)
class QueryService:
    """Study Root Query/Retrieve Information Model – FIND.

    After `max_answers` a query ends with A700: nobody meant a list that long.
    """

    database: Database
    zone: ZoneInfo
    max_answers: int = MAX_ANSWERS

    @property
    def abstract_syntaxes(self) -> tuple[str, ...]:
        return (STUDY_ROOT_FIND,)

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
            "query.find",
            calling=association.calling_title,
            level=search.level,
            answers=search.answers,
            status=f"{final.status:04X}",
            comment=final.comment,
        )
        association.send_response(message, final.status, elements=final.elements())


class _Search:
    """One C-FIND, from its identifier to its last pending response."""

    def __init__(self, service: QueryService, association: Association, message: Message):
        self._service, self._association, self._message = service, association, message
        self._is_full = False
        self.level = ""
        self.answers = 0

    def run(self) -> Final:
        try:
            return self._answered()
        except levels.Mismatch as error:
            return Final(status.IDENTIFIER_DOES_NOT_MATCH, str(error), error.tag)
        except Rejected as error:
            return unreadable(error)
        except Outage as error:
            log.warning("query.outage", error=str(error))
            return Final(status.REFUSED_OUT_OF_RESOURCES, "the archive is not available now")
        except (ProtocolError, OSError):
            raise  # the peer's end of it, or the network's
        except Exception:
            log.exception("query.defect")
            return DEFECT

    def _answered(self) -> Final:
        association, context = self._association, self._message.context
        explicit = context.transfer_syntax == EXPLICIT_VR_LITTLE_ENDIAN
        keys = dataset.read(self._message.data_set or b"", explicit=explicit, vr_of=vr_of)
        asked = levels.identify(keys)
        self.level = str(asked.level)
        asker = Asker(
            association.calling_title, explicit, dataset.character_sets(keys), self._service.zone
        )
        plan = Plan(keys, asker, levels.compiled(asked.level, association.called_title))
        pending = status.PENDING
        if plan.unsupported or asked.unsupported:
            pending = status.PENDING_UNSUPPORTED_KEYS
        stream = self._stream(plan, Query(asked.level, plan.columns, asked.keys))
        if not association.send_responses(self._message, stream, pending):
            return Final(status.CANCEL)
        if self._is_full:
            return Final(status.REFUSED_OUT_OF_RESOURCES, f"more than {self.answers} match")
        return Final(status.SUCCESS)

    def _stream(self, plan: Plan, query: Query) -> Iterator[bytes]:
        service = self._service
        for rows in pages(service.database, query):
            for row in rows:
                if self.answers >= service.max_answers:
                    self._is_full = True
                    return
                self.answers += 1
                yield plan.encode(row)
