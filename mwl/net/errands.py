"""What is to be done on an association between the peer's messages, in its own thread.

Only that thread may write to the peer, so whoever waits for something to tell it, a storage
commitment say, attends the association: it is asked from time to time whether there is
something. An association that nobody attends isn't woken for it.
"""

from time import monotonic
from typing import Protocol

import structlog

log = structlog.get_logger(__name__)


class Errand(Protocol):
    """Something that waits for its time on an association."""

    def look(self) -> float | None:
        """Do what there is to do; say after how many seconds to look again, None: never."""

    def end(self) -> None:
        """Learn that the association is over: nothing can be sent on it any more."""


class Errands:
    """The errands of one association, each with its time."""

    def __init__(self) -> None:
        self._due: dict[Errand, float] = {}  # when, on the monotonic clock

    def add(self, errand: Errand, after_s: float) -> None:
        """Let `errand` look after so many seconds, and attend the association till then."""
        self._due[errand] = monotonic() + after_s

    def run(self) -> None:
        """Let those look whose time has come. Raises what they raise."""
        now = monotonic()
        for errand in [each for each, at in self._due.items() if at <= now]:
            after_s = errand.look()
            if after_s is None:
                del self._due[errand]
            else:
                self._due[errand] = monotonic() + after_s

    def wait_s(self, longest_s: float) -> float:
        """Say how long there is nothing to do, `longest_s` at most."""
        if not self._due:
            return longest_s
        return min(longest_s, max(0.0, min(self._due.values()) - monotonic()))

    def end(self) -> None:
        """Tell all of them that the association is over."""
        for errand in self._due:
            try:
                errand.end()
            except Exception:
                # The association is over either way, and others want to learn of it.
                log.exception("errand.defect")
        self._due.clear()
