"""Modality Worklist as SCP (PS3.4 annex K): a C-FIND identifier becomes a query and answers.

finding.py says how a C-FIND ends.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, tzinfo
from zoneinfo import ZoneInfo

import structlog

from mwl import dataset
from mwl.config import DeviceTable, DeviceWorklist
from mwl.dataset import DataSet
from mwl.db import Database
from mwl.net import status
from mwl.net.association import Association
from mwl.net.dimse import CommandField, Message
from mwl.net.options import Options
from mwl.scp import tolerance, zones
from mwl.scp.answers import Asker, Plan
from mwl.scp.attributes import TIMEZONE_OFFSET, tag_of, vr_of
from mwl.scp.final import Final, Mismatch
from mwl.scp.finding import OPERATIONS, TRANSFER_SYNTAXES, Question, Search
from mwl.scp.keys import Matching
from mwl.worklist import asking
from mwl.worklist.find import Check, Query, Row, pages

log = structlog.get_logger(__name__)

MODALITY_WORKLIST_FIND = "1.2.840.10008.5.1.4.31"
MAX_ANSWERS = 10_000
_PLAIN = DeviceWorklist()


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
    that long; of a device, fewer may be set. `note` hears of what was answered. `device` tells
    what is set of who calls itself so, None of a stranger; without it that is read for each
    query.
    """

    database: Database
    zone: ZoneInfo
    note: Note = _unnoted
    max_answers: int = MAX_ANSWERS
    clock: Callable[[], datetime] = _utc_now
    device: Callable[[str], DeviceTable | None] | None = None

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

    def known(self, calling: str) -> DeviceTable | None:
        """Tell what is set of a device, by what it calls itself. Outage."""
        if self.device is not None:
            return self.device(calling)
        with self.database.read() as session:
            return asking.known(session, calling)


class _Search(Search):
    name = "worklist"

    def __init__(
        self, service: WorklistService, association: Association, message: Message
    ) -> None:
        super().__init__(association, message, service.max_answers)
        self._service = service
        self._device: DeviceTable | None = None
        self._shown = _PLAIN

    def read(self, data: bytes) -> DataSet:
        device = self._device = self._service.known(self.association.calling_title)
        if device is None:
            return super().read(data)
        self._shown = device.worklist
        self.max_answers = min(self.max_answers, self._shown.max_answers or MAX_ANSWERS)
        unended = "open-sequences" in self._shown.tolerates
        keys = dataset.read(data, explicit=self.explicit, vr_of=vr_of, unended=unended)
        return tolerance.put_right(keys, self._shown)

    def question(self, keys: DataSet) -> Question:
        service, device, shown = self._service, self._device, self._shown
        calling, options = self.association.calling_title, self.message.context.options
        there = self._zone(keys)
        assumed = device.characters.assumed if device else ""
        asked = Matching(
            keys,
            self.texts(keys, assumed),
            fuzzy=options.fuzzy,
            wildcards="wildcards" in shown.tolerates,
            there={} if there is None else zones.worklist_in(there, service.zone),
        )
        plan = tolerance.plan_for(keys, self._asker(keys, asked.keys, there), shown.tolerates)
        if not plan.is_known:
            raise Mismatch("no key of the Modality Worklist")
        if there is not None:
            is_then = zones.shift_start(asked.keys, there, service.zone)
            asked.checks += [Check("start_local", is_then)] if is_then else []
        now = service.clock()
        caller = asking.caller(device, calling, now=now, zone=service.zone)
        meant = asking.meant(asked.keys, device)
        query = Query(plan.columns, meant, caller, tuple(asked.checks))
        rows = pages(service.database, query, now=now)
        is_whole = not (plan.unsupported or asked.unsupported)
        return Question(plan, rows, is_whole=is_whole or "ff01" in shown.tolerates)

    def _zone(self, keys: DataSet) -> tzinfo | None:
        """Tell the asker's zone: the one agreed on, else its own; None: it has the site's."""
        if self.message.context.options.timezone:
            offset = zones.offset_of(keys.get(TIMEZONE_OFFSET))
            if offset is not None:
                return offset
        its = self._device.zone_info if self._device else None
        return its if its != self._service.zone else None

    def _asker(self, keys: DataSet, asked: asking.Keys, there: tzinfo | None) -> Asker:
        device, calling = self._device, self.association.calling_title
        instead = asking.instead(asked, device, calling)
        asker = Asker(
            calling,
            self.explicit,
            dataset.character_sets(keys),
            self._service.zone,
            there,
            instead=instead,
        )
        if device is None:
            return asker
        return replace(
            asker,
            ae_title=instead[asking.STATION].get("", calling),
            characters=device.characters,
            defaults={
                tag: value
                for keyword, value in self._shown.defaults.items()
                if (tag := tag_of(keyword)) is not None
            },
        )

    def full(self) -> Final:
        most = self._shown.max_answers
        if most is None or self.answers < most:
            return super().full()
        if self._shown.beyond == "cut":
            calling = self.association.calling_title
            log.warning("worklist.cut", calling=calling, answers=self.answers)
            return Final(status.SUCCESS)
        text = f"more than {self.answers} match, and it may get no more"
        return Final(status.REFUSED_OUT_OF_RESOURCES, text)

    def answered(self, plan: Plan, rows: Sequence[Row]) -> None:
        # Who it is, however it called itself: what a scanner was shown is one list.
        title = self._device.ae_title if self._device else self.association.calling_title
        self._service.note(title, self.association.address, plan.columns, rows)
