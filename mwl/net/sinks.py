"""Where a data set goes that is too long to be kept in memory."""

from typing import Protocol


class Sink(Protocol):
    """Takes one request's data set, piece by piece, as it comes from the peer.

    What goes wrong in it is remembered and answered by its service when the request is
    whole: a sink that raises ends its association.
    """

    def write(self, fragment: memoryview) -> None:
        """Take the next piece; the view holds until this returns."""

    def close(self) -> None:
        """Learn that the data set has come to its end."""

    def abort(self) -> None:
        """Throw away what was not kept by now. Called once and always, after the service too."""


class Drain:
    """A sink that forgets, so that a request that is refused anyway can be read to its end."""

    def write(self, fragment: memoryview) -> None:
        pass

    def close(self) -> None:
        pass

    def abort(self) -> None:
        pass
