"""The thread that judges, in each process of the role `jobs`."""

import os
import secrets
import socket
import threading
from collections.abc import Callable
from datetime import UTC, datetime

import structlog

from mwl.commitment import judging, outcome
from mwl.db import Database
from mwl.errors import Outage
from mwl.objects import ObjectStore

log = structlog.get_logger(__name__)

_LOOK_S = 0.5
_PAUSE_S = 5.0  # after the database was out


def _utc_now() -> datetime:
    return datetime.now(UTC)


class Worker:
    """Judges what is due, and hands on what its association left behind.

    It looks every half second. `takes` tells whether we store a SOP class. Create it after
    the fork.
    """

    def __init__(
        self,
        database: Database,
        store: ObjectStore,
        takes: Callable[[str], bool],
        *,
        clock: Callable[[], datetime] = _utc_now,
    ) -> None:
        self._database = database
        self._clock = clock
        self._stopping = threading.Event()
        self._judge = judging.Judge(
            database,
            store,
            takes,
            node=f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}",
            clock=clock,
            stopping=self._stopping.is_set,
        )
        self._thread = threading.Thread(target=self._run, name="commitment", daemon=True)

    def start(self) -> None:
        """Begin to judge."""
        self._thread.start()

    def stop(self, drain_s: float) -> None:
        """Leave the rest to others; wait at most so long for what is under way."""
        self._stopping.set()
        self._thread.join(drain_s)

    def _run(self) -> None:
        pause_s = 0.0
        while not self._stopping.wait(pause_s):
            try:
                self._look()
                pause_s = _LOOK_S
            except Outage as error:
                log.warning("commitment.outage", error=str(error))
                pause_s = _PAUSE_S
            except Exception:
                log.exception("commitment.defect")
                pause_s = _PAUSE_S

    def _look(self) -> None:
        now = self._clock()
        with self._database.read() as session:
            due = judging.is_due(session, now)
            abandoned = outcome.has_abandoned(session, now)
        if abandoned:
            self._database.write(lambda session: outcome.hand_on_abandoned(session, now))
        while due and not self._stopping.is_set():
            due = self._judge.one()
