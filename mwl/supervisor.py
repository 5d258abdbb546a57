"""Keep one process per role alive.

The supervisor forks; the roles serve. It stays single-threaded and opens no database, so
that a fork is always safe: whatever has a thread or a connection is made in the role.

- A role that dies is started again, each time a little later. One that dies before it could
  serve even once, `_MOST_FAILED_STARTS` times, ends the supervisor: a person must look. A
  wrong setting does so at once, but only before the role has served.
- Listening sockets are the supervisor's, open before the fork. The processes of one role
  share theirs; while a role restarts, peers wait in the backlog instead of being refused.
- SIGTERM or SIGINT ends the roles by SIGTERM, after `_STOP_S` by SIGKILL. A second such
  signal, `_IMPATIENCE_S` later or more, doesn't wait.
- SIGHUP is handed on to the roles that can read their certificates anew. Started from a
  terminal it ends them: it says that the terminal was closed.
"""

import mmap
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import FrameType

import structlog

from mwl.errors import ConfigError, MwlError
from mwl.lifeline import Lifeline, name_process
from mwl.logs import Forgiving

log = structlog.get_logger(__name__)

FAILED = 1
MISCONFIGURED = 2

# Less than the ten seconds that container engines grant.
DRAIN_S = 5.0  # what roles give their peers
_STOP_S = 8.0
_IMPATIENCE_S = 1.0  # some who stop us send their signal twice at once
_FIRST_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 30.0
_STEADY_S = 60.0  # who has lived so long starts with a clean record
_MOST_FAILED_STARTS = 5

# Windows, which has no fork either, knows neither SIGHUP nor SIGCHLD.
_ENDINGS = (signal.SIGTERM, signal.SIGINT)
_HANGUP = tuple(each for each in signal.Signals if each.name == "SIGHUP")
_HANDLED = (*_ENDINGS, *_HANGUP, *(each for each in signal.Signals if each.name == "SIGCHLD"))


def pause_s(failures: int) -> float:
    """Tell how long to wait before a role is started again that failed so often in a row."""
    return float(min(_FIRST_PAUSE_S * 2 ** min(failures - 1, 16), _LONGEST_PAUSE_S))


class Board:
    """Which processes are serving: a byte for each, in memory that all of them share."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = tuple(names)
        self._bytes = mmap.mmap(-1, max(1, len(self._names)))

    def set(self, index: int, *, serving: bool) -> None:
        self._bytes[index] = int(serving)

    def serving(self) -> dict[str, bool]:
        """Map each role's name to whether one of its processes serves."""
        up = {name for i, name in enumerate(self._names) if self._bytes[i]}
        return {name: name in up for name in self._names}


@dataclass(frozen=True, slots=True)
class Child:
    """What a role is given in its own process; SIGTERM is blocked there at first."""

    ready: Callable[[], None]  # to be called once it serves
    slot: int = 0  # which of the supervisor's processes it is; who follows it is the same

    def wait(self, renew: Callable[[], None] = lambda: None) -> None:
        """Wait until the role is asked to end; `renew` meanwhile whenever it is asked to."""
        # All threads inherit the mask, so the signal can't get lost in one of them.
        while signal.sigwait({*_ENDINGS, *_HANGUP}) in _HANGUP:
            renew()

    def unblock(self) -> None:
        """Let signals come, for servers with handlers of their own."""
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _HANDLED)


@dataclass(frozen=True, slots=True)
class Role:
    """A name, and what serves until SIGTERM in a process of its own; `renews`: by SIGHUP."""

    name: str
    run: Callable[[Child], None]
    renews: bool = False


@dataclass(slots=True)
class _Slot:
    role: Role
    pid: int | None = None
    started_at: float = 0.0
    due_at: float = 0.0
    failures: int = 0
    has_served: bool = False  # ever


class _GiveUpError(Exception):
    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class Supervisor:
    """Run `roles` until a signal comes; `on_ready` is called when all serve."""

    def __init__(self, roles: Sequence[Role], board: Board, on_ready: Callable[[], None]) -> None:
        self._slots = [_Slot(role) for role in roles]
        self._board = board
        self._on_ready = on_ready
        self._all_served = False
        self._endings: tuple[signal.Signals, ...] = _ENDINGS
        self._lifeline = Lifeline()
        self._ready_read, self._ready_write = os.pipe()
        self._wake, self._waker = socket.socketpair()
        for end in (self._wake, self._waker):
            end.setblocking(False)

    def run(self, prepare: Callable[[], None], close: Callable[[], None]) -> int:
        """Run `prepare` in a process of its own, then the roles; give the exit code.

        `close` gives up the listening sockets, so that nobody waits in vain while the
        roles end. The process is ours: it ignores those signals afterwards.
        """
        self._take_signals()
        try:
            if self._prepared(prepare):
                self._keep_alive()
        except _GiveUpError as error:
            return error.code
        else:
            return 0
        finally:
            close()
            self._stop()
            # Python puts the default action back as it ends; a late signal would be our death.
            for each in (*_ENDINGS, *_HANGUP):
                signal.signal(each, signal.SIG_IGN)

    # --- signals

    def _take_signals(self) -> None:
        for each in _HANGUP:
            # Whoever started us under nohup means to close the terminal.
            if signal.getsignal(each) is not signal.SIG_IGN and _at_terminal():
                self._endings = (*_ENDINGS, each)
            signal.signal(each, _note)
        for each in _HANDLED:
            if signal.getsignal(each) is not signal.SIG_IGN:
                signal.signal(each, _note)
        signal.set_wakeup_fd(self._waker.fileno(), warn_on_full_buffer=False)

    def _wait(self, until: float | None) -> bool:
        """Wait for something to happen; tell whether we are asked to end."""
        timeout = None if until is None else max(0.0, until - time.monotonic())
        wake = self._wake.fileno()
        readable, _, _ = select.select([wake, self._ready_read], [], [], timeout)
        if self._ready_read in readable:
            for index in os.read(self._ready_read, 256):
                self._note_ready(index)
        signals = self._wake.recv(256) if wake in readable else b""
        if any(number in signals for number in self._endings):
            return True
        for number in _HANGUP:
            if number in signals:
                self._hand_on(number)
        return False

    def _hand_on(self, number: signal.Signals) -> None:
        for slot in self._alive():
            if slot.role.renews:
                assert slot.pid is not None
                os.kill(slot.pid, number)

    # --- one process before the others

    def _prepared(self, prepare: Callable[[], None]) -> bool:
        """Run `prepare` to its end; False: we were asked to end before."""

        def run(child: Child) -> None:
            child.unblock()
            prepare()

        pid = self._fork("prepare", run, None)
        asked = False
        while (status := _status(pid)) is None:
            if self._wait(None):
                asked = True
                os.kill(pid, signal.SIGTERM)
        if asked:
            return False
        if status:
            raise _GiveUpError(status if status > 0 else FAILED)
        return True

    # --- keeping alive

    def _keep_alive(self) -> None:
        while True:
            now = time.monotonic()
            for index, slot in enumerate(self._slots):
                if slot.pid is None and slot.due_at <= now:
                    slot.started_at = now
                    slot.pid = self._fork(slot.role.name, slot.role.run, index)
            due = [slot.due_at for slot in self._slots if slot.pid is None]
            if self._wait(min(due, default=None)):
                return
            self._reap()

    def _reap(self) -> None:
        for index, slot in enumerate(self._slots):
            if slot.pid is not None and (status := _status(slot.pid)) is not None:
                slot.pid = None
                self._board.set(index, serving=False)
                self._plan_restart(slot, status)

    def _plan_restart(self, slot: _Slot, status: int) -> None:
        now = time.monotonic()
        slot.failures = 1 if now - slot.started_at >= _STEADY_S else slot.failures + 1
        name, ending = slot.role.name, _ending(status)
        # It has said what is wrong. Once it has served, a person is at work on that, and
        # the other roles serve on.
        if status == MISCONFIGURED and not slot.has_served:
            raise _GiveUpError(MISCONFIGURED)
        if not slot.has_served and slot.failures >= _MOST_FAILED_STARTS:
            _say(
                f"{name} ended {slot.failures} times before it could serve, "
                f"at last by {ending}; the log above says why"
            )
            raise _GiveUpError(FAILED)
        slot.due_at = now + pause_s(slot.failures)
        log.error("role.died", role=name, ending=ending, restart_in_s=pause_s(slot.failures))

    def _note_ready(self, index: int) -> None:
        self._slots[index].has_served = True
        self._board.set(index, serving=True)
        log.info("role.serving", role=self._slots[index].role.name, pid=self._slots[index].pid)
        if not self._all_served and all(slot.has_served for slot in self._slots):
            self._all_served = True
            self._on_ready()

    # --- ending

    def _stop(self) -> None:
        self._kill(signal.SIGTERM)
        begun = time.monotonic()
        while self._alive():
            asked_again = self._wait(begun + _STOP_S)
            self._bury()
            waited = time.monotonic() - begun
            if waited >= _STOP_S or (asked_again and waited >= _IMPATIENCE_S):
                break
        if self._alive():
            log.warning("roles.killed", roles=",".join(slot.role.name for slot in self._alive()))
        self._kill(signal.SIGKILL)
        self._bury(block=True)

    def _bury(self, *, block: bool = False) -> None:
        for slot in self._alive():
            assert slot.pid is not None
            if _status(slot.pid, block=block) is not None:
                slot.pid = None

    def _alive(self) -> list[_Slot]:
        return [slot for slot in self._slots if slot.pid is not None]

    def _kill(self, number: signal.Signals) -> None:
        for slot in self._alive():
            assert slot.pid is not None
            os.kill(slot.pid, number)  # not reaped yet, so the number is still its own

    # --- forking

    def _fork(self, name: str, work: Callable[[Child], None], index: int | None) -> int:
        # Until a child has put the handlers away, a signal would write to our socket.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _HANDLED)
        try:
            pid = os.fork()
            if pid == 0:
                self._become(name, work, index)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        return pid

    def _become(self, name: str, work: Callable[[Child], None], index: int | None) -> None:
        """Be a child, from here to its end."""
        code = FAILED
        try:
            signal.set_wakeup_fd(-1)
            for each in _HANDLED:
                signal.signal(each, signal.SIG_DFL)
            # A terminal's Ctrl-C goes to the supervisor alone, who ends us in good order.
            os.setpgid(0, 0)
            self._lifeline.hold()
            name_process(f"mwl-{name}")
            structlog.contextvars.bind_contextvars(role=name)
            code = _run(work, Child(lambda: self._tell_ready(index), index or 0))
        finally:
            for stream in (sys.stdout, sys.stderr):
                Forgiving(stream).flush()
            os._exit(code)

    def _tell_ready(self, index: int | None) -> None:
        if index is not None:
            os.write(self._ready_write, bytes([index]))


def _run(work: Callable[[Child], None], child: Child) -> int:
    try:
        work(child)
    except SystemExit as error:
        return error.code if isinstance(error.code, int) else FAILED
    except ConfigError as error:
        _say(str(error))
        return MISCONFIGURED
    except MwlError as error:
        _say(str(error))
        return FAILED
    except Exception:
        log.exception("role.failed")
        return FAILED
    return 0


def _say(line: str) -> None:
    Forgiving(sys.stderr).write(f"mwl: {line}\n")


def _at_terminal() -> bool:
    try:
        return os.isatty(0)
    except OSError:
        return False


def _note(_number: int, _frame: FrameType | None) -> None:
    """Let the wake-up descriptor tell; a handler must only be there."""


def _status(pid: int, *, block: bool = False) -> int | None:
    """Reap a child: its exit code, or minus the signal that ended it; None: it lives."""
    done, status = os.waitpid(pid, 0 if block else os.WNOHANG)
    return os.waitstatus_to_exitcode(status) if done else None


def _ending(status: int) -> str:
    return f"exit code {status}" if status >= 0 else signal.Signals(-status).name
