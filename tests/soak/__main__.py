"""Soak both databases: python -m tests.soak [-n MESSAGES] [-k SECONDS] [sqlite] [postgresql]

Ends with 1 if anything is wrong afterwards.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tests import postgres
from tests.soak.run import Outcome, serving, soak

_MESSAGES, _EVERY_S = 20_000, 4.0
_MOST_TOLD = 20


def main() -> int:
    parser = argparse.ArgumentParser(prog="tests.soak", description=__doc__.partition("\n")[0])
    parser.add_argument("databases", nargs="*", metavar="DATABASE", help="sqlite, postgresql")
    parser.add_argument("-n", "--messages", type=int, default=_MESSAGES)
    parser.add_argument("-k", "--kill-every", type=float, default=_EVERY_S, metavar="SECONDS")
    given = parser.parse_args()
    runs = {"sqlite": _sqlite, "postgresql": _postgresql}
    if unknown := [name for name in given.databases if name not in runs]:
        parser.error(f"no such database: {', '.join(unknown)}")
    failed = False
    for name in given.databases or runs:
        outcome = runs[name](given.messages, given.kill_every)
        print(f"{name}: {outcome}", flush=True)
        print("".join(f"  {each}\n" for each in outcome.wrong[:_MOST_TOLD]), end="")
        failed |= bool(outcome.wrong)
    return 1 if failed else 0


def _sqlite(messages: int, every_s: float) -> Outcome:
    with tempfile.TemporaryDirectory() as name, serving(Path(name), cold=True) as server:
        server.start()
        return soak(server, messages, _every(every_s))


def _postgresql(messages: int, every_s: float) -> Outcome:
    """Kill the database in turn with the server."""
    database = postgres.Server(durable=True)

    def restart() -> None:
        database.stop()
        database.start()

    try:
        with (
            tempfile.TemporaryDirectory() as name,
            serving(Path(name), cold=True, MWL_DATABASE__URL=database.url) as server,
        ):
            server.start()
            return soak(server, messages, _every(every_s), [restart])
    finally:
        database.remove()


def _every(seconds: float) -> Callable[[int], bool]:
    """Tell when it is time; the next wait begins when what was killed is back."""
    due: float | None = None

    def after(_answered: int) -> bool:
        nonlocal due
        now = time.monotonic()
        due = now + seconds if due is None else due
        if now < due:
            return False
        due = None
        return True

    return after


if __name__ == "__main__":
    sys.exit(main())
