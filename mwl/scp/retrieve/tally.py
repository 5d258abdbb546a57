"""How the sub-operations of a retrieval stand (PS3.7 9.1.3.1, 9.1.4.1)."""

from dataclasses import dataclass, field
from typing import NamedTuple

from mwl.net import status
from mwl.net.dimse import Element

_LARGEST_US = 0xFFFF


class Sent(NamedTuple):
    """What became of an instance: the peer's status, None if it could not be sent, and why."""

    status: int | None
    reason: str = ""


@dataclass(slots=True)
class Tally:
    """Counts; `reason` is the first one that was given for a failure."""

    remaining: int = 0
    completed: int = 0
    warning: int = 0
    failed: int = 0
    failed_uids: list[str] = field(default_factory=list)
    reason: str = ""

    @property
    def is_empty(self) -> bool:
        """Tell whether nothing was ever to be sent, as far as is known."""
        return not (self.remaining or self.completed or self.warning or self.failed)

    def count(self, sent: Sent, sop_instance_uid: str) -> None:
        """Count one."""
        self.remaining = max(0, self.remaining - 1)
        if sent.status == status.SUCCESS:
            self.completed += 1
        elif sent.status is not None and _is_warning(sent.status):
            self.warning += 1
        else:
            self.failed += 1
            self.failed_uids.append(sop_instance_uid)
            self.reason = self.reason or sent.reason

    def give_up(self) -> None:
        """Count as failed what remains: nobody knows its names any more."""
        self.failed += self.remaining
        self.remaining = 0

    def told(self) -> dict[str, int]:
        """Tell the counts, for a log."""
        return {"completed": self.completed, "warning": self.warning, "failed": self.failed}

    def elements(self, *, remaining: bool) -> dict[int, int | str | bytes]:
        """Tell the counts in a command set; what remains only where it is not the end of all."""
        counts: dict[int, int | str | bytes] = {
            Element.NUMBER_OF_COMPLETED_SUB_OPERATIONS: min(self.completed, _LARGEST_US),
            Element.NUMBER_OF_FAILED_SUB_OPERATIONS: min(self.failed, _LARGEST_US),
            Element.NUMBER_OF_WARNING_SUB_OPERATIONS: min(self.warning, _LARGEST_US),
        }
        if remaining:
            left = min(self.remaining, _LARGEST_US)
            counts[Element.NUMBER_OF_REMAINING_SUB_OPERATIONS] = left
        return counts

    def status(self) -> int:
        """Choose the final status."""
        if not self.failed:
            return status.SUB_OPERATIONS_WITH_FAILURES if self.warning else status.SUCCESS
        if self.completed or self.warning:
            return status.SUB_OPERATIONS_WITH_FAILURES
        return status.UNABLE_TO_PERFORM_SUB_OPERATIONS


def _is_warning(code: int) -> bool:
    # PS3.7 C.1.2 and annex C.
    return code >> 12 == 0xB or code in {0x0001, 0x0107, 0x0116}
