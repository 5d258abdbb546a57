"""Bring in another server's worklist: what is on it is on ours, what has left it leaves ours.

- An item becomes the change that a file of it would be, from a source of its own, "import:" and
  the worklist's name. What is known already, to the byte, changes nothing again; so what a
  person has changed here stays until there is news.
- What is on the list no more is cancelled here, as vanishing.py says: only steps that were never
  begun, of the days that were asked for, and only once the whole list has come, to its final
  success. A list that breaks off proves nothing.
- What was cancelled for that and is on the list again is here again. What a person cancelled
  stays so.
- An order that its RIS has sent meanwhile is the RIS's: nothing here touches it.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from functools import partial
from hashlib import sha256
from threading import Event
from typing import Final
from zoneinfo import ZoneInfo

import structlog

from mwl.config import WorklistSource
from mwl.dataset import Element
from mwl.db import Database
from mwl.errors import Outage, Reason, Rejected
from mwl.orders import OrderChange
from mwl.procedures import Effects
from mwl.scp.attributes import (
    SCHEDULED_PROCEDURE_STEP_SEQUENCE,
    SPECIFIC_CHARACTER_SET,
    START_DATE,
)
from mwl.scp.elements import Writer
from mwl.scu.peers import Peer
from mwl.scu.worklist import Answered, Bounds, Unfinished, ask
from mwl.tls import Keys
from mwl.wlfiles.items import Item, parse
from mwl.wlfiles.mapping import change
from mwl.wlfiles.vanishing import Vanishing, step_key
from mwl.wlfiles.writing import all_keys, encoded
from mwl.worklist import sources
from mwl.worklist.groups import apply_each
from mwl.worklist.sources import Listed

log = structlog.get_logger(__name__)

_MODALITY: Final = 0x00080060
_WAIT_S: Final = 30.0
_MOST_PROBLEMS: Final = 100  # told one by one
_NO_EFFECTS: Final = Effects()
_UNKNOWN: Final = Listed("")
_GRACE: Final = timedelta(minutes=2)  # for what is done when the list has come


@dataclass(slots=True)
class Fetched:
    """What came of asking a worklist; `error` says why its list did not come whole.

    new: applied, and not known as such before. unchanged: known. unasked: not what was asked
    for, and left out. doubled: the same again, and left out. elsewhere: of an order that somebody
    else sent. refused: could not be read or applied; `problems` says why, of the first ones.
    vanished, missing, losses: as `Vanished` has them.
    """

    answers: int = 0
    new: int = 0
    unchanged: int = 0
    returned: int = 0
    vanished: int = 0
    missing: int = 0
    losses: int = 0
    unasked: int = 0
    doubled: int = 0
    elsewhere: int = 0
    refused: int = 0
    problems: list[str] = field(default_factory=list)
    error: str = ""

    @property
    def counts(self) -> dict[str, int]:
        """Give the numbers by their names."""
        return {name: value for name, value in asdict(self).items() if isinstance(value, int)}


@dataclass(frozen=True, slots=True)
class Fetcher:
    """Asks one worklist; `calling` is our AE title, `keys` are ours for TLS, `zone` the site's.

    Once it is `stopping`, it waits for no answer any more.
    """

    database: Database
    source: WorklistSource
    calling: str
    zone: ZoneInfo
    effects: Effects = _NO_EFFECTS
    keys: Keys | None = None
    stopping: Event = field(default_factory=Event)

    def stop(self) -> None:
        """Let go of the peer, within a second."""
        self.stopping.set()

    def sweep(self, now: datetime) -> None:
        """Ask, if it is time, and nobody else does. Raises Outage."""
        if sources.is_due(self.database, self.source.name, now):
            self.fetch(now)

    def fetch(
        self, now: datetime, *, at_once: bool = False, accept_losses: bool = False
    ) -> Fetched | None:
        """Ask, and note how it went; None: it is not our turn. Raises Outage.

        `at_once`: also before its time. `accept_losses`: a whole list is right, whatever it has
        lost, and what is missing from it is cancelled now.
        """
        name, every = self.source.name, timedelta(seconds=self.source.every_s)
        until = now + timedelta(seconds=self.source.timeout_s) + _GRACE
        claim = partial(sources.claim, name=name, now=now, until=until, at_once=at_once)
        if not self.database.write(claim):
            return None
        run = _Run(self, now)
        try:
            run.perform(accept_losses=accept_losses)
        except Outage:
            raise
        except Exception as error:
            run.fetched.error = f"an error of ours ({type(error).__name__})"
            log.exception("worklist.fetch_defect", source=name)
        fetched = run.fetched
        if self.stopping.is_set() and fetched.error:
            note = partial(sources.put_off, name=name, until=now)  # another may ask at once
        elif fetched.error:
            note = partial(sources.failed, name=name, error=fetched.error, now=now, every=every)
            log.warning("worklist.not_fetched", source=name, error=fetched.error, **fetched.counts)
        else:
            note = partial(
                sources.succeeded, name=name, counts=fetched.counts, now=now, every=every
            )
            log.info("worklist.fetched", source=name, **fetched.counts)
            if fetched.losses:
                log.warning("worklist.losses_kept", source=name, losses=fetched.losses)
        self.database.write(note)
        return fetched


class _Run:
    """One list, from the question to what follows from the answer."""

    def __init__(self, fetcher: Fetcher, now: datetime) -> None:
        self.fetched = Fetched()
        self._fetcher, self._now = fetcher, now
        self._source, self._database = fetcher.source, fetcher.database
        today = now.astimezone(fetcher.zone)
        back, ahead = self._source.days_back, self._source.days_ahead
        first, last = today - timedelta(days=back), today + timedelta(days=ahead)
        self._span = f"{first:%Y%m%d}", f"{last:%Y%m%d}"
        self._vanishing = Vanishing(self._database, self._source, fetcher.effects, self._span, now)
        self._known: dict[str, Listed] = {}
        self._cancelled: dict[str, int] = {}  # what vanished once, by item: its step
        self._seen: set[str] = set()
        self._news: dict[str, Listed | None] = {}

    def perform(self, *, accept_losses: bool) -> None:
        """Ask, and apply what comes; when all has come, see what does no more."""
        with self._database.read() as session:
            self._known = sources.known_items(session, self._source.name)
            self._cancelled = self._vanishing.gone(session, self._known)
        zone = self._fetcher.zone
        for (item, digest), outcome in apply_each(
            self._database, self._changes(), now=self._now, zone=zone
        ):
            if self._is_settled(outcome):
                self._news[item] = Listed(digest)
        if not self.fetched.error:
            self._see_what_vanished(accepted=accept_losses)
        sources.remember(self._database, self._source.name, self._news)

    def _see_what_vanished(self, *, accepted: bool) -> None:
        found = self._vanishing.settle(self._known, self._seen, accepted=accepted)
        self._news |= found.remembered
        told = self.fetched
        told.vanished, told.missing, told.losses = found.cancelled, found.missing, found.losses

    def _changes(self) -> Iterator[tuple[tuple[str, str], OrderChange | Rejected]]:
        """Ask, and give what is news: what identifies it, a digest, and the change."""
        source = self._source
        peer = Peer(source.ae_title, source.host, source.port, source.tls, source.certificate)
        bounds = Bounds(source.max_answers, whole_s=source.timeout_s, wait_s=_wait_s(source))
        calling = source.calling or self._fetcher.calling
        query = partial(_identifier, source=source, span=self._span)
        try:
            keys = self._fetcher.keys
            for answer in ask(peer, calling, query, bounds, keys, self._see_whether_to_go_on):
                self.fetched.answers += 1
                yield from self._change(answer)
        except Unfinished as error:  # what came before counts
            self.fetched.error = str(error)

    def _see_whether_to_go_on(self) -> None:
        if self._fetcher.stopping.is_set():
            raise Unfinished("we are stopping")

    def _change(self, answer: Answered) -> Iterator[tuple[tuple[str, str], OrderChange | Rejected]]:
        item, digest = self._item(answer), sha256(answer.data).hexdigest()[:32]
        key = _key(item) or digest
        if not self._is_asked_for(item):
            self.fetched.unasked += 1
            return
        if key in self._seen:
            self.fetched.doubled += 1
            return
        self._seen.add(key)
        known = self._known.get(key, _UNKNOWN)
        if known.digest == digest and not known.vanished:
            self.fetched.unchanged += 1
            if known.missing_since:
                self._news[key] = Listed(digest)
            return
        if known.vanished and key in self._cancelled:
            self.fetched.returned += self._vanishing.bring_back(key, self._cancelled[key])
        try:
            source = sources.order_source(self._source.name)
            yield (key, digest), change(item, self._fetcher.zone, source)
        except Rejected as error:
            yield (key, digest), error

    def _item(self, answer: Answered) -> Item:
        try:
            return parse(answer.data, explicit=answer.explicit, assumed=self._source.charset)
        except Rejected as error:
            # Whose it is can't be told, so what has vanished can't be either.
            raise Unfinished(f"an answer can't be read: {error}") from None

    def _is_asked_for(self, item: Item) -> bool:
        """See that the peer did not answer with all it has; what it doesn't tell may be right."""
        step, wanted = item.first("ScheduledProcedureStepSequence"), self._source.modality
        day = step.text("ScheduledProcedureStepStartDate")
        if day and not self._span[0] <= day <= self._span[1]:
            return False
        modality = step.text("Modality")
        return not (wanted and modality) or modality == wanted

    def _is_settled(self, outcome: object) -> bool:
        """Count what came of a change; tell whether it needs no second try."""
        if not isinstance(outcome, Rejected):
            self.fetched.new += 1
            return True
        if all(fault.reason is Reason.DUPLICATE_KEY for fault in outcome.faults):
            self.fetched.elsewhere += 1
            return True
        self.fetched.refused += 1
        if len(self.fetched.problems) < _MOST_PROBLEMS:
            self.fetched.problems.append(str(outcome))
        return False


def _wait_s(source: WorklistSource) -> float:
    return min(_WAIT_S, source.timeout_s)


def _key(item: Item) -> str:
    """Tell what identifies an item, "" if nothing does: both are of type 1 (PS3.4 K.6.1.2.2)."""
    step = item.first("ScheduledProcedureStepSequence")
    uid, sps_id = item.text("StudyInstanceUID"), step.text("ScheduledProcedureStepID")
    return step_key(uid, sps_id) if uid and sps_id else ""


def _identifier(explicit: bool, source: WorklistSource, span: tuple[str, str]) -> bytes:
    """Ask for every attribute of the steps of some days, of one modality perhaps."""
    keys = dict(all_keys())
    (step,) = keys[SCHEDULED_PROCEDURE_STEP_SEQUENCE].items
    days = Element(START_DATE, "DA", f"{span[0]}-{span[1]}".encode())
    modality = Element(_MODALITY, "CS", source.modality.encode())
    narrowed = {**step, START_DATE: days, _MODALITY: modality}
    sequence = SCHEDULED_PROCEDURE_STEP_SEQUENCE
    keys[sequence] = Element(sequence, "SQ", items=(narrowed,))
    if source.charset:
        term = source.charset.encode()
        keys[SPECIFIC_CHARACTER_SET] = Element(SPECIFIC_CHARACTER_SET, "CS", term)
    return encoded(dict(sorted(keys.items())), Writer(explicit))
