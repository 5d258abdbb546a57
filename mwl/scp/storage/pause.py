"""Nothing is taken in for a moment after the index could not be written."""

from time import monotonic

# An object whose row is in doubt stays, so that the row is never without it. While the
# database is out there would be one more with every image that every scanner sends.
_PAUSE_S = 2.0


class Pause:
    """A moment of rest; threads may share it."""

    def __init__(self, length_s: float = _PAUSE_S) -> None:
        """Prepare; it isn't on."""
        self._length_s = length_s
        self._until = 0.0

    def begin(self) -> None:
        """Rest from now on."""
        self._until = monotonic() + self._length_s

    def is_on(self) -> bool:
        """Tell whether to rest still."""
        return monotonic() < self._until
