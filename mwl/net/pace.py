"""How long a whole message may take: a peer that trickles one PDU by PDU holds no slot for ever."""

from time import monotonic

from mwl.net.framing import ReadTimeout
from mwl.net.limits import Limits


class Pace:
    """One message on its way: its time grows with the bytes that have come.

    So an instance of 8 GiB comes in over a slow line too.
    """

    def __init__(self, limits: Limits, received_bytes: int) -> None:
        """Begin now, at so many bytes of the connection."""
        self._rate = limits.min_message_bytes_per_s
        self._from_bytes = received_bytes
        self._until = self._due = monotonic() + limits.message_timeout_s

    def judge(self, received_bytes: int) -> None:
        """See that the message isn't overdue at so many bytes. ReadTimeout: it is."""
        if monotonic() > self._due:
            self._due = self._until + (received_bytes - self._from_bytes) / self._rate
            if monotonic() > self._due:
                raise ReadTimeout("a message comes too slowly")
