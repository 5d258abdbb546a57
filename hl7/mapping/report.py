"""What is found wrong or odd while one message is read.

All faults are gathered before the message is rejected, so that whoever mends it sees every
one of them at once. Neither faults nor flags ever hold a value of a patient's: both are
shown in lists and may reach a log.
"""

from mwl.errors import Fault, Reason, Rejected
from mwl.shortened import Shortened, shorten

MOST_FAULTS = 50
MOST_FLAGS = 50


class Report:
    """The faults and flags of one message."""

    __slots__ = ("_flags", "faults", "shortened")

    def __init__(self) -> None:
        self.faults: list[Fault] = []
        self._flags: dict[str, None] = {}
        self.shortened: Shortened = ()

    def fault(self, reason: Reason, where: str, text: str, occurrence: int = 1) -> None:
        """Note what makes the message unusable."""
        found = Fault(reason, where, text, occurrence)
        # The same field is read for every procedure of an order; one line says it.
        if len(self.faults) < MOST_FAULTS and found not in self.faults:
            self.faults.append(found)

    def flag(self, text: str) -> None:
        """Note what a person should see."""
        if len(self._flags) < MOST_FLAGS:
            self._flags[text] = None

    def shorten(self, text: str, length: int, where: str) -> str:
        """Let a short identifier stand for one that is too long for `length` characters."""
        short = shorten(text, length)
        if (short, text) not in self.shortened:
            self.shortened = (*self.shortened, (short, text))
        self.flag(f"{where}: longer than {length} characters: a short one of ours stands for it")
        return short

    @property
    def is_empty(self) -> bool:
        return not (self.faults or self._flags)  # what is shortened is flagged

    def join(self, other: "Report") -> None:
        """Take over what another report holds."""
        for fault in other.faults:
            self.fault(fault.reason, fault.where, fault.text, fault.occurrence)
        for flag in other.take_flags():
            self.flag(flag)
        if other.shortened:
            self.shortened = tuple(dict.fromkeys((*self.shortened, *other.shortened)))

    def take_flags(self) -> list[str]:
        """Give the flags noted since the last call."""
        if not self._flags:
            return []
        flags = list(self._flags)
        self._flags.clear()
        return flags

    def reject(self) -> None:
        """Raise Rejected with every fault, if there is one."""
        if self.faults:
            raise Rejected(*self.faults)
