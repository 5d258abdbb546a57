"""Sends, kills, waits and looks."""

import os
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from mwl.db import Database
from tests.serving import Serving
from tests.soak.check import wrongs
from tests.soak.feed import Feed
from tests.soak.sender import Sender

CONNECTIONS = 6


@dataclass(frozen=True)
class Outcome:
    """What came of a run."""

    messages: int
    accepted: int
    lost: int  # tries that no answer came to
    kills: int
    seconds: float
    wrong: Sequence[str]

    def __str__(self) -> str:
        return (
            f"{self.messages} messages, {self.accepted} of them AA, {self.kills} kills, "
            f"{self.lost} tries failed, {self.seconds:.0f} s: {len(self.wrong)} wrong"
        )


def soak(
    server: Serving,
    messages: int,
    after: Callable[[int], bool],
    also: Sequence[Callable[[], None]] = (),
) -> Outcome:
    """Send so many messages to `server`, started, while it is killed.

    `after` is told how many messages have been answered and says whether it is time to kill.
    `also` are other things to be killed, and started again: they take turns with the server.
    """
    senders = [
        Sender(Feed(number), server.ports["hl7"], messages // CONNECTIONS)
        for number in range(1, CONNECTIONS + 1)
    ]
    began, kills = time.monotonic(), 0
    turns = [lambda: kill(server), *also]
    for sender in senders:
        sender.start()
    try:
        while any(sender.is_busy for sender in senders):
            time.sleep(0.005)
            if after(sum(sender.answered for sender in senders)):
                turns[kills % len(turns)]()
                kills += 1
    finally:
        for sender in senders:
            sender.give_up()
    seconds = time.monotonic() - began
    database = Database(
        server.environ.get("MWL_DATABASE__URL", f"sqlite:///{server.data_dir / 'mwl.db'}"),
        data_dir=server.data_dir,
    )
    try:
        wrong = wrongs(database, senders)
        wrong += [f"sender {each.feed.number} broke off" for each in senders if not each.is_done]
    finally:
        database.close()
    answers = [answer for sender in senders for answer in sender.answers.values()]
    return Outcome(
        sum(sum(sender.tries.values()) - sender.lost for sender in senders),
        sum(b"\rMSA|AA|" in answer for answer in answers),
        sum(sender.lost for sender in senders),
        kills,
        seconds,
        wrong,
    )


def kill(server: Serving) -> None:
    """End the supervisor and what it has started by kill -9, and start it again."""
    for pid in server.pids("hl7"):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    server.kill()
    server.start()


def serving(folder: Path, *, cold: bool = False, **environ: str) -> Serving:
    """Prepare a server that takes HL7."""
    settings = {**environ, "MWL_SITE__ZONE": "Europe/Berlin"}
    return Serving(folder, "hl7", "jobs", environ=settings, cold=cold)
