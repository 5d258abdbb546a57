"""The thread that tells, for a process, which associations it serves.

It writes the difference to what it wrote last, every two seconds, in a transaction of its
own; where nothing has changed it writes nothing but a beat every quarter of a minute, and
where nothing is open not even that. So it looks as often whether somebody wants an
association ended. Nobody waits for it: what can't be written is written later, or never.
"""

import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from itertools import islice
from threading import Event, Thread
from typing import Final

import structlog

from mwl.associations import rows
from mwl.associations.rows import BEAT, Served
from mwl.db import Database

log = structlog.get_logger(__name__)

_LOOK_S: Final = 2.0
_PAUSE_S: Final = 10.0  # after the database was out
_AT_ONCE: Final = 500  # rows of one transaction: orders come in meanwhile
_LAST_S: Final = 2.0  # what is told last isn't worth more
_PATIENCE: Final = timedelta(seconds=5)  # then who was asked to end is asked again


def _utc_now() -> datetime:
    return datetime.now(UTC)


class Publisher:
    """Tell what `served` gives, from `place`; create it after the fork.

    `place` is what no other process has, but the one that follows this one when it has died.
    `abort` is given the number of a connection that somebody wants ended; again, if it is
    still there after five seconds.
    """

    def __init__(
        self,
        database: Database,
        place: str,
        served: Callable[[], Iterable[Served]],
        abort: Callable[[int], None],
        *,
        clock: Callable[[], datetime] = _utc_now,
    ) -> None:
        self._database = database
        self._place = place
        self._served = served
        self._abort = abort
        self._clock = clock
        self._began = False
        self._server: int | None = None  # our row, while something is open
        self._beat_at = datetime.min.replace(tzinfo=UTC)
        self._written: dict[int, Served] = {}  # by number
        self._asked = 0
        self._ending: dict[int, datetime] = {}  # when each was asked to end, by number
        self._is_out = False
        self._stopping = Event()
        self._thread = Thread(target=self._run, name="associations", daemon=True)

    def start(self) -> None:
        """Begin to tell, in a thread."""
        self._thread.start()

    def stop(self) -> None:
        """Tell once more, which is that nothing is open, and end the thread."""
        self._stopping.set()
        self._thread.join(_LAST_S)

    def _run(self) -> None:
        while not self._stopping.wait(_PAUSE_S if self._is_out else _LOOK_S):
            self.look()
        self.look()

    def look(self) -> None:
        """Write what has changed since the last look, and end what somebody wants ended."""
        try:
            self._tell({each.number: each for each in self._served()})
            self._end_what_is_asked()
        except Exception as error:
            # It is for people who look, not for peers.
            if not self._is_out:
                log.warning("associations.not_told", exc_info=error)
            self._is_out = True
            self._forget()
        else:
            self._is_out = False

    def _forget(self) -> None:
        """Tell everything anew, at the next look."""
        self._server, self._written, self._asked = None, {}, 0

    # --- telling

    def _tell(self, served: Mapping[int, Served]) -> None:
        now = self._clock()
        if not self._began:
            # Whoever told from here before has died, if it had anything open.
            self._database.write(lambda session: rows.clear(session, self._place))
            self._began = True
        if not served:
            self._leave()
            return
        self._beat(now)
        if self._server is None:
            self._server = self._database.write(lambda s: rows.enter(s, self._place, now=now))
            self._beat_at = now
        for part in _parts(_changes(self._written, served)):
            self._write(self._server, part, now)
        self._written = dict(served)

    def _leave(self) -> None:
        if (server := self._server) is not None:
            self._database.write(lambda session: rows.leave(session, server))
            self._forget()

    def _beat(self, now: datetime) -> None:
        server = self._server
        if server is None or now - self._beat_at < BEAT:
            return
        if not self._database.write(lambda session: rows.beat(session, server, now=now)):
            self._move()
        self._beat_at = now

    def _move(self) -> None:
        """Go on from another place: ours was taken, or we were taken for dead."""
        self._place = f"{self._place.partition('~')[0]}~{secrets.token_hex(4)}"
        self._forget()

    def _write(self, server: int, told: Mapping[int, Served | None], now: datetime) -> None:
        before = self._written
        served = [each for each in told.values() if each is not None]
        known = [each for each in served if each.number in before]
        changes = rows.Changes(
            new=[each for each in served if each.number not in before],
            agreed=[each for each in known if each.agreed != before[each.number].agreed],
            busy=[each for each in known if each.agreed == before[each.number].agreed],
            gone=[number for number, each in told.items() if each is None],
        )
        self._database.write(lambda session: rows.write(session, server, changes, now=now))

    # --- ending

    def _end_what_is_asked(self) -> None:
        server, now = self._server, self._clock()
        if server is None:
            self._ending = {}
            return
        with self._database.read() as session:
            asked = rows.asked(session, server)
            if asked is None:
                self._move()
                return
            new = rows.ending(session, server) if asked != self._asked else ()
        self._asked = asked
        self._ending = {n: since for n, since in self._ending.items() if n in self._written}
        deaf = [number for number, since in self._ending.items() if now - since >= _PATIENCE]
        for number in [*(n for n in new if n not in self._ending), *deaf]:
            self._ending[number] = now
            self._abort(number)


def _changes(
    before: Mapping[int, Served], now: Mapping[int, Served]
) -> Iterator[tuple[int, Served | None]]:
    """Give what is new or differs, by number, and None for what is gone."""
    for number, each in now.items():
        if before.get(number) != each:
            yield number, each
    for number in before.keys() - now.keys():
        yield number, None


def _parts(
    changes: Iterator[tuple[int, Served | None]],
) -> Iterator[Mapping[int, Served | None]]:
    while part := dict(islice(changes, _AT_ONCE)):
        yield part
