"""Deliver what waits: a thread for each channel with something due.

The courier looks every half second. A destination that hangs holds up nobody but itself.
Where several processes have a courier, claims decide who delivers what.
"""

import os
import random
import secrets
import socket
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import structlog

from mwl.db import Database
from mwl.errors import MwlError, Outage
from mwl.outbox import claims
from mwl.outbox.claims import Channel, Claimed, Settled
from mwl.outbox.rows import Kind, State

log = structlog.get_logger(__name__)

_LOOK_S = 0.5
# Longer than an outage of the database that is no accident: a claim that runs out while its
# message is on its way lets it be sent twice.
_LEASE_S = 15.0
_MOST_THREADS = 128
_UNBLOCK_EVERY_S = 30.0
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 1.0, 300.0
_SETTLE_PAUSE_S = 0.5


class Lost(MwlError):
    """The claim ran out, and another process has the delivery now."""


@dataclass(frozen=True, slots=True)
class Done:
    """It was taken; `answer` as it came."""

    answer: bytes = b""


@dataclass(frozen=True, slots=True)
class Retry:
    """It may be taken later: in `after_s` seconds, else when backing off says so."""

    error: str
    after_s: float | None = None
    answer: bytes = b""


@dataclass(frozen=True, slots=True)
class Park:
    """It was refused, and a person must look. `error` holds no patient data."""

    error: str
    answer: bytes = b""


Outcome = Done | Retry | Park


@dataclass(frozen=True, slots=True)
class Delivery:
    """A claimed delivery, as its deliverer gets it."""

    claimed: Claimed
    keep: Callable[[str, bytes], None]
    """Keep the control ID and bytes that were rendered, durably, before they are sent.

    Raises Lost where the claim has run out, Outage.
    """


Deliver = Callable[[Delivery], Outcome]


class Courier:
    """Claims, delivers, settles. `deliver` says who delivers which kind.

    A deliverer is called in one thread a channel. What it raises is told apart: Outage is
    tried again, anything else is parked.
    """

    def __init__(
        self,
        database: Database,
        deliver: Mapping[Kind, Deliver],
        *,
        look_s: float = _LOOK_S,
        lease_s: float = _LEASE_S,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.worker = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
        self._database = database
        self._deliver = {kind.value: each for kind, each in deliver.items()}
        self._look_s = look_s
        self._lease_s = lease_s
        self._clock = clock
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._ended = threading.Event()
        self._mutex = threading.Lock()
        self._threads: dict[Channel, threading.Thread] = {}
        self._claims: dict[int, float] = {}  # delivery → when to renew, monotonic
        self._unblock_at = 0.0
        self._is_out = False
        self._main = threading.Thread(target=self._run, name="outbox", daemon=True)

    def start(self) -> None:
        """Begin to deliver."""
        self._main.start()

    def wake(self) -> None:
        """Look at once: something was queued in this process."""
        self._wake.set()

    def stop(self, drain_s: float) -> None:
        """Claim no more; wait for what is on its way, at most `drain_s`, and give up the rest."""
        deadline = time.monotonic() + drain_s
        self._stopping.set()
        with self._mutex:
            threads = list(self._threads.values())
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        self._ended.set()
        self._wake.set()
        self._main.join(max(1.0, self._database.wait_s))
        with self._mutex:
            left = list(self._claims)
        for row in left:
            self._try(lambda row=row: self._release(row))  # type: ignore[misc]

    # ---- the main thread: looks, and holds on to what is on its way

    def _run(self) -> None:
        while not self._ended.is_set():
            self._wake.clear()
            self._try(self._renew)
            if not self._stopping.is_set():
                self._try(self._look)
            self._wake.wait(self._look_s)

    def _try(self, work: Callable[[], None]) -> None:
        try:
            work()
        except Outage as error:
            if not self._is_out:
                log.warning("outbox.outage", error=str(error))
            self._is_out = True
        except Exception:
            log.exception("outbox.defect")
        else:
            self._is_out = False

    def _look(self) -> None:
        now = self._clock()
        if time.monotonic() >= self._unblock_at:
            self._database.write(claims.unblock)
            self._unblock_at = time.monotonic() + _UNBLOCK_EVERY_S
        with self._database.read() as session:
            found = claims.due(session, now)
        with self._mutex:
            for channel in found:
                if channel.kind in self._deliver and channel not in self._threads:
                    self._begin(channel)

    def _begin(self, channel: Channel) -> None:
        if len(self._threads) >= _MOST_THREADS:
            return
        name = f"outbox-{channel.destination}"
        thread = threading.Thread(target=self._work, args=(channel,), name=name, daemon=True)
        self._threads[channel] = thread
        thread.start()

    def _renew(self) -> None:
        now = time.monotonic()
        with self._mutex:
            rows = [row for row, at in self._claims.items() if at <= now]
        if not rows:
            return
        until = self._until()
        self._database.write(
            lambda session: [claims.renew(session, row, self.worker, until) for row in rows]
        )
        with self._mutex:
            for row in rows:
                if row in self._claims:
                    self._claims[row] = now + self._lease_s / 3

    def _release(self, row: int) -> None:
        self._database.write(lambda session: claims.release(session, row, self.worker))

    # ---- a channel's thread

    def _work(self, channel: Channel) -> None:
        try:
            while not self._stopping.is_set():
                claimed = self._claim(channel)
                if claimed is None:
                    return
                self._carry(claimed)
        except Outage as error:
            log.warning("outbox.outage", destination=channel.destination, error=str(error))
        except Exception:
            log.exception("outbox.defect", destination=channel.destination)
        finally:
            with self._mutex:
                del self._threads[channel]

    def _claim(self, channel: Channel) -> Claimed | None:
        now = self._clock()
        claimed = self._database.write(
            lambda session: claims.claim(
                session, channel, self.worker, now=now, until=self._until()
            )
        )
        if claimed is not None:
            with self._mutex:
                self._claims[claimed.id] = time.monotonic() + self._lease_s / 3
        return claimed

    def _carry(self, claimed: Claimed) -> None:
        try:
            outcome = self._attempt(claimed)
            if outcome is not None:
                self._settle(claimed, self._settled(claimed, outcome))
        finally:
            with self._mutex:
                if not self._ended.is_set():  # else stop() gives it back
                    self._claims.pop(claimed.id, None)

    def _attempt(self, claimed: Claimed) -> Outcome | None:
        """Deliver; None where the claim is lost, and another process sees to it."""
        deliver = self._deliver[claimed.channel.kind]
        try:
            return deliver(Delivery(claimed, lambda *kept: self._keep(claimed, *kept)))
        except Lost:
            return None
        except Outage as error:
            return Retry(str(error))
        except MwlError as error:
            return Park(str(error))
        except Exception as error:
            # Not its text, which may quote what should be told.
            log.exception("outbox.defect", delivery=claimed.id)
            return Park(f"could not be told, a defect here: {type(error).__name__}")

    def _keep(self, claimed: Claimed, control_id: str, body: bytes) -> None:
        if not self._database.write(
            lambda session: claims.keep(session, claimed.id, self.worker, control_id, body)
        ):
            raise Lost("the claim ran out")

    def _settled(self, claimed: Claimed, outcome: Outcome) -> Settled:
        where = {
            "delivery": claimed.id,
            "destination": claimed.channel.destination,
            "subject": claimed.subject,
        }
        match outcome:
            case Done(answer):
                log.debug("outbox.delivered", **where)
                return Settled(State.DONE, "", answer)
            case Park(error, answer):
                log.warning("outbox.parked", **where, error=error)
                return Settled(State.PARKED, error, answer)
            case Retry(error, after_s, answer):
                pause_s = backoff_s(claimed.attempts) if after_s is None else after_s
                log.info("outbox.again", **where, error=error, in_s=round(pause_s, 1))
                next_at = self._clock() + timedelta(seconds=pause_s)
                return Settled(State.WAITING, error, answer, next_at)

    def _settle(self, claimed: Claimed, settled: Settled) -> None:
        """Write down what became of it, as soon as the database is there to take it."""
        while not self._ended.is_set():
            try:
                self._database.write(
                    lambda session: claims.settle(
                        session, claimed, self.worker, settled, self._clock()
                    )
                )
            except Outage as error:
                log.warning("outbox.outage", delivery=claimed.id, error=str(error))
                self._ended.wait(_SETTLE_PAUSE_S)
            else:
                return

    def _until(self) -> datetime:
        return self._clock() + timedelta(seconds=self._lease_s)


def backoff_s(attempts: int) -> float:
    """Choose how long to wait after so many attempts: twice as long each time, with jitter."""
    longest = min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * (1 << min(attempts - 1, 16)))
    return longest * random.uniform(0.75, 1.0)  # noqa: S311 - so that peers don't come in step
