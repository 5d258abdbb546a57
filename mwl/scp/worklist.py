"""Modality Worklist as SCP (PS3.4 annex K): a C-FIND identifier becomes a query and answers.

finding.py says how a C-FIND ends.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timezone
from zoneinfo import ZoneInfo

from mwl import dataset
from mwl.dataset import DataSet
from mwl.db import Database
from mwl.matching import UNIVERSAL, Matcher
from mwl.net.association import Association
from mwl.net.dimse import CommandField, Message
from mwl.net.options import Options
from mwl.scp import zones
from mwl.scp.answers import Asker, Plan
from mwl.scp.attributes import TIMEZONE_OFFSET
from mwl.scp.final import Mismatch
from mwl.scp.finding import OPERATIONS, TRANSFER_SYNTAXES, Question, Search
from mwl.scp.keys import Matching
from mwl.worklist.asking import caller
from mwl.worklist.find import Query, Row, pages
from mwl.worklist.scope import Caller

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
        return TRANSFER_SYNTAXES

    @property
    def operations(self) -> frozenset[CommandField]:
        return OPERATIONS

    @property
    def options(self) -> Options:
        return Options(fuzzy=True, timezone=True)

    def handle(self, association: Association, message: Message) -> None:
        """Answer one C-FIND-RQ."""
        _Search(self, association, message).perform()


class _Search(Search):
    name = "worklist"

    def __init__(
        self, service: WorklistService, association: Association, message: Message
    ) -> None:
        super().__init__(association, message, service.max_answers)
        self._service = service

    def question(self, keys: DataSet) -> Question:
        service, calling = self._service, self.association.calling_title
        options, terms = self.message.context.options, dataset.character_sets(keys)
        offset = zones.offset_of(keys.get(TIMEZONE_OFFSET)) if options.timezone else None
        plan = Plan(keys, Asker(calling, self.explicit, terms, service.zone, offset))
        if not plan.is_known:
            raise Mismatch("no key of the Modality Worklist")
        asked = Matching(keys, fuzzy=options.fuzzy)
        time: Matcher = UNIVERSAL
        if offset is not None:
            time = zones.shift_start(asked.keys, offset, service.zone)
        query = Query(plan.columns, asked.keys, self._caller(calling, asked.keys))
        rows = pages(service.database, query, now=service.clock())
        if offset is not None and time != UNIVERSAL:
            rows = self._at(time, offset, rows)
        return Question(plan, rows, is_whole=not (plan.unsupported or asked.unsupported))

    def _at(
        self, time: Matcher, offset: timezone, rows: Iterator[Sequence[Row]]
    ) -> Iterator[Sequence[Row]]:
        """Keep the items that start at such a time of the day in the asker's zone."""
        zone = self._service.zone
        for page in rows:
            yield [row for row in page if time.matches(zones.time_of_day(row[-2], offset, zone))]

    def answered(self, plan: Plan, rows: Sequence[Row]) -> None:
        title, address = self.association.calling_title, self.association.address
        self._service.note(title, address, plan.columns, rows)

    def _caller(self, calling: str, keys: dict[str, Matcher]) -> Caller:
        if keys.get("station_ae_titles", UNIVERSAL) == UNIVERSAL:
            return Caller(calling)
        with self._service.database.read() as session:
            return caller(session, calling)
