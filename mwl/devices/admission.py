"""Who may associate, decided without a transaction for each association.

A scanner that polls its worklist asks for an association every few seconds, and strangers
are counted in a table. So each process keeps the devices for a second, and writes the
visits of strangers together, every two. A kill loses two seconds of counts, nothing else.
"""

from collections import Counter
from datetime import UTC, datetime
from enum import Enum
from threading import Event, Lock, Thread
from time import monotonic
from typing import Literal, get_args

import structlog

from mwl.config import May, is_loopback
from mwl.db import Database
from mwl.devices.rows import Visit, fold, knocked, listing
from mwl.errors import Outage

log = structlog.get_logger(__name__)

_SCANNERS_DO = frozenset({"worklist", "mpps", "store", "commit"})
_FRESH_S = 1.0  # how long what was read of the devices holds
_PAUSE_S = 5.0  # after the database was out
_WRITE_S = 2.0
_MOST_VISITS = 500  # kept between two writes


class Verdict(Enum):
    """What the application says to an association request (PS3.8 table 9-21)."""

    ADMITTED = "admitted"
    CALLED_UNKNOWN = "called AE title unknown"
    CALLING_UNKNOWN = "calling AE title unknown"


def admits(mode: Literal["auto", "any", "known"], host: str, *, known: bool) -> bool:
    """Decide whether a calling AE title may associate.

    `auto` lets strangers in while `host`, what we listen on, can be reached from this
    machine alone.
    """
    if known:
        return True
    return is_loopback(host) if mode == "auto" else mode == "any"


def _strangers_may(host: str) -> frozenset[str]:
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
        self._strangers = _strangers_may(host) if self._open_door else frozenset()
        self._lock = Lock()  # guards the three below
        self._known: dict[str, frozenset[str]] | None = None  # what each may do, by title
        self._stale_at = 0.0
        self._visits: Counter[Visit] = Counter()
        self._stopping = Event()
        self._writer = Thread(target=self._write_all, name="knocks", daemon=True)

    def start(self) -> None:
        """Begin to write down who knocked, in a thread."""
        self._writer.start()

    def stop(self) -> None:
        """Write what is left and end the thread."""
        self._stopping.set()
        self._writer.join()

    def admit(self, called: str, calling: str, address: str) -> Verdict:
        """Decide on a request; note it unless a known device called us by our name.

        Outage: only known devices may come in, and we can't tell who is one.
        """
        known = self._may(fold(calling)) is not None
        verdict = Verdict.ADMITTED
        if fold(called) != self._ours:
            verdict = Verdict.CALLED_UNKNOWN
        elif not (known or self._open_door):
            verdict = Verdict.CALLING_UNKNOWN
        if not known or verdict is not Verdict.ADMITTED:
            self._note(Visit(calling, called, address, verdict is Verdict.ADMITTED))
        return verdict

    def allows(self, calling: str, what: May) -> bool:
        """Tell whether a peer that was let in may do `what`.

        A stranger may do all on loopback. Elsewhere, where strangers are let in, it may do
        what a scanner does, but takes no images away.
        """
        may = self._may(fold(calling))
        return what in (self._strangers if may is None else may)

    def _may(self, title: str) -> frozenset[str] | None:
        """Tell what a device may do; None: we know none of this title."""
        with self._lock:
            if monotonic() >= self._stale_at:
                self._refresh()
            return (self._known or {}).get(title)

    def _refresh(self) -> None:
        try:
            with self._database.read() as session:
                self._known = {
                    fold(each.ae_title): frozenset(each.may) for each in listing(session)
                }
            self._stale_at = monotonic() + _FRESH_S
        except Outage:
            # What we knew is still likely to be true, and a scanner that asks for its list
            # is told there that the database is out.
            if self._known is None and not self._open_door:
                raise
            self._stale_at = monotonic() + _PAUSE_S

    def _note(self, visit: Visit) -> None:
        with self._lock:
            if visit in self._visits or len(self._visits) < _MOST_VISITS:
                self._visits[visit] += 1

    def _write_all(self) -> None:
        while not self._stopping.wait(_WRITE_S):
            self._write()
        self._write()

    def _write(self) -> None:
        with self._lock:
            visits, self._visits = self._visits, Counter()
        if not visits:
            return
        now = datetime.now(UTC)
        try:
            self._database.write(lambda session: knocked(session, visits, now=now))
        except Exception as error:
            # Strangers are worth a look, not an outage.
            log.warning("knocks.lost", count=visits.total(), exc_info=error)
