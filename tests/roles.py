"""A supervisor with roles of a test's own, to be killed: python -m tests.roles PLAN…

A plan names how a role behaves: "steady", "dies-at-start", "misconfigured", "deaf" (it
ignores SIGTERM), "dies-later" (it serves, then ends), "misconfigured-later" (so too, and
from its second start on is misconfigured), "threads" (says how many there were at its
birth), "renewing" (says when it is asked to renew). Standard output tells a line for each event.
"""

import mmap
import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from mwl import logs
from mwl.errors import ConfigError
from mwl.supervisor import Board, Child, Role, Supervisor

_SERVED = mmap.mmap(-1, 1)  # what is forked shares it


def say(*words: object) -> None:
    os.write(1, (" ".join(map(str, words)) + "\n").encode())


def steady(child: Child) -> None:
    say("pid", "steady", os.getpid())
    child.ready()
    child.wait()
    say("drained")


def dies_at_start(child: Child) -> None:
    raise ValueError("DOE^JANE")


def misconfigured(child: Child) -> None:
    raise ConfigError("hl7.profile: no such profile")


def misconfigured_later(child: Child) -> None:
    if _SERVED[0]:
        say("again")
        misconfigured(child)
    _SERVED[0] = 1
    child.ready()


def dies_later(child: Child) -> None:
    say("pid", "dies-later", os.getpid())
    child.ready()


def renewing(child: Child) -> None:
    say("pid", "renewing", os.getpid())
    child.ready()
    child.wait(lambda: say("renewed"))
    say("drained")


def deaf(child: Child) -> None:
    say("pid", "deaf", os.getpid())
    signal.signal(signal.SIGTERM, lambda *_: say("heard"))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    child.ready()
    threading.Event().wait()


def threads(child: Child) -> None:
    say("threads", len(list(Path("/proc/self/task").iterdir())))
    steady(child)


PLANS: dict[str, Callable[[Child], None]] = {
    "steady": steady,
    "dies-at-start": dies_at_start,
    "misconfigured": misconfigured,
    "dies-later": dies_later,
    "misconfigured-later": misconfigured_later,
    "renewing": renewing,
    "deaf": deaf,
    "threads": threads,
}


def main(plans: list[str]) -> int:
    logs.configure("info")
    roles = [Role(name, PLANS[name], renews=name == "renewing") for name in plans]
    board = Board(plans)
    supervisor = Supervisor(roles, board, lambda: say("all", board.serving()))
    return supervisor.run(lambda: say("prepared", os.getpid()), lambda: say("closed"))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
