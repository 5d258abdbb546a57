"""Who may associate, decided without a transaction for each association.

A scanner that polls its worklist asks for an association every few seconds, and strangers
are counted in a table. So each process keeps the devices for a second, and writes together,
every two, which devices spoke to us and which strangers knocked. A kill loses two seconds of
that, nothing else.
"""

from collections import Counter
from collections.abc import Set as AbstractSet
from contextlib import suppress
from datetime import UTC, datetime
from enum import Enum
from threading import Event, Lock, Thread
from time import monotonic
from typing import Literal, get_args

import structlog
from sqlmodel import Session

from mwl.config import DeviceCharacters, DeviceTable, May, is_loopback
from mwl.db import Database
from mwl.devices.catalog import Catalog, Known
from mwl.devices.rows import Visit, found_odd, knocked, seen
from mwl.devices.titles import fold
from mwl.errors import Outage
from mwl.tls import Shown

log = structlog.get_logger(__name__)

_SCANNERS_DO = frozenset({"worklist", "mpps", "store", "commit"})
_ANY_CHARACTERS = DeviceCharacters()
_FRESH_S = 1.0  # how long what was read of the devices holds
_DOUBTED_S = 0.1  # and that somebody is none of them
_PAUSE_S = 5.0  # after the database was out
_WRITE_S = 2.0
_MOST_VISITS = 500  # kept between two writes


class Verdict(Enum):
    """What the application says to an association request (PS3.8 table 9-21)."""

    ADMITTED = "admitted"
    CALLED_UNKNOWN = "called AE title unknown"
    CALLING_UNKNOWN = "calling AE title unknown"
    NOT_PROVEN = "calling AE title is bound to a certificate that was not shown"


def admits(mode: Literal["auto", "any", "known"], host: str, *, known: bool) -> bool:
    """Decide whether a calling AE title may associate.

    `auto` lets strangers in while `host`, what we listen on, can be reached from this
    machine alone.
    """
    if known:
        return True
    return is_loopback(host) if mode == "auto" else mode == "any"


def strangers_may(host: str) -> frozenset[str]:
    """Tell what strangers may do, where they are let in, on a server that listens on `host`."""
    return frozenset(get_args(May)) if is_loopback(host) else _SCANNERS_DO


class Doorkeeper:
    """Decide on association requests; create it after the fork. Threads may share it."""

    def __init__(
        self,
        database: Database,
        *,
        ae_title: str,
        mode: Literal["auto", "any", "known"],
        host: str,
    ) -> None:
        self._database = database
        self._ours = fold(ae_title)
        self._open_door = admits(mode, host, known=False)
        # Who was known when it came and isn't any more is a stranger too.
        self._strangers = strangers_may(host) if self._open_door else frozenset()
        self._lock = Lock()  # guards the six below
        self._known: Catalog | None = None
        self._stale_at = self._doubted_at = 0.0
        self._visits: Counter[Visit] = Counter()
        self._seen: dict[int, str] = {}  # from where devices spoke, by row; "": as before
        self._odd: dict[int, set[str]] = {}  # what is new of what is odd about devices, by row
        self._stopping = Event()
        self._writer = Thread(target=self._write_all, name="knocks", daemon=True)

    def start(self) -> None:
        """Begin to write down who came, in a thread.

        The devices are read before: of thousands that takes a second, which no scanner shall wait.
        """
        with self._lock, suppress(Outage):
            self._refresh()
        self._writer.start()

    def stop(self) -> None:
        """Write what is left and end the thread."""
        self._stopping.set()
        self._writer.join()

    def admit(
        self,
        called: str,
        calling: str,
        address: str,
        oddities: AbstractSet[str] = frozenset(),
        certificate: Shown | None = None,
    ) -> Verdict:
        """Decide on a request, and note it: as a knock unless a known device called us rightly.

        `oddities` are the faults of its request that were overlooked, `certificate` is what it
        showed over TLS.

        Outage: only known devices may come in, and we can't tell who is one.
        """
        known = self._lookup(fold(calling))
        verdict = Verdict.ADMITTED
        if fold(called) != self._ours:
            verdict = Verdict.CALLED_UNKNOWN
        elif known is None and not self._open_door:
            verdict = Verdict.CALLING_UNKNOWN
        elif known is not None and not known.proven(certificate):
            verdict = Verdict.NOT_PROVEN
            about = {"calling": calling, "address": address, "bound_to": known.certificate}
            log.warning("device.not_proven", shown=str(certificate or "none"), **about)
        with self._lock:
            if known is not None and verdict is Verdict.ADMITTED:
                self._seen[known.row] = address
                if not oddities <= known.oddities:
                    self._odd.setdefault(known.row, set()).update(oddities)
            else:
                self._note(Visit(calling, called, address, verdict is Verdict.ADMITTED))
        return verdict

    def allows(self, calling: str, what: May, certificate: Shown | None = None) -> bool:
        """Tell whether a peer that was let in, and has shown `certificate`, may do `what`.

        A device may have been bound to one since it, or somebody else, came by its title.
        A stranger may do all on loopback. Elsewhere, where strangers are let in, it may do
        what a scanner does, but takes no images away.
        """
        known = self._lookup(fold(calling))
        if known is None:
            return what in self._strangers
        if not known.proven(certificate):
            return False
        with self._lock:  # an association may last for hours
            self._seen.setdefault(known.row, "")
        return what in known.may

    def device(self, calling: str) -> Known | None:
        """Give the device that calls itself so; None: a stranger."""
        return self._lookup(fold(calling))

    def settings(self, calling: str) -> DeviceTable | None:
        """Tell what is set of the device that calls itself so; None: a stranger."""
        known = self._lookup(fold(calling))
        return known.table if known else None

    def characters(self, calling: str) -> DeviceCharacters:
        """Tell which sets the device that calls itself so reads; of a stranger's none is known."""
        known = self._lookup(fold(calling))
        return known.table.characters if known else _ANY_CHARACTERS

    def _lookup(self, title: str) -> Known | None:
        """Find a device; None: we know none of this title."""
        with self._lock:
            now, known = monotonic(), self._known.get(title) if self._known else None
            # Who is new is there a moment after it was registered.
            if now < (self._stale_at if known else self._doubted_at):
                return known
            self._refresh()
            return self._known.get(title) if self._known else None

    def _refresh(self) -> None:
        try:
            known = self._known or Catalog()
            with self._database.read() as session:
                known.refresh(session)
            self._known = known
            now = monotonic()
            self._stale_at, self._doubted_at = now + _FRESH_S, now + _DOUBTED_S
        except Outage:
            # What we knew is still likely to be true, and a scanner that asks for its list
            # is told there that the database is out.
            if self._known is None and not self._open_door:
                raise
            self._stale_at = self._doubted_at = monotonic() + _PAUSE_S

    def _note(self, visit: Visit) -> None:
        if visit in self._visits or len(self._visits) < _MOST_VISITS:
            self._visits[visit] += 1

    def _write_all(self) -> None:
        while not self._stopping.wait(_WRITE_S):
            self._write()
        self._write()

    def _write(self) -> None:
        with self._lock:
            visits, self._visits = self._visits, Counter()
            contacts, self._seen = self._seen, {}
            odd, self._odd = self._odd, {}
        if not visits and not contacts:
            return
        now = datetime.now(UTC)

        def write(session: Session) -> None:
            seen(session, contacts, now=now)
            found_odd(session, odd)
            if visits:
                knocked(session, visits, now=now)

        try:
            self._database.write(write)
        except Exception as error:
            # Who came is worth a look, not an outage.
            log.warning("visits.lost", count=visits.total() + len(contacts), exc_info=error)
