"""Where instances are read from on their way out, those that come soon fetched ahead."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress

from mwl.archive.query import Stored
from mwl.errors import Outage
from mwl.net.outgoing import Direct
from mwl.objects import Missing, ObjectStore, Opened

_MOST_OPEN = 8
_BUFFER_BYTES = 288 * 1024  # two of the longest PDUs, and their headers

Look = Callable[[], None]


class Shelf:
    """The objects of one retrieval; for one instance after another.

    Whatever becomes of an instance, `forget` it then: others are expected in its place.
    """

    def __init__(self, objects: ObjectStore) -> None:
        self._objects = objects
        self._open: dict[str, Opened] = {}  # by key: those expected, and that under way
        self._buffer = memoryview(bytearray(_BUFFER_BYTES))

    def expect(self, row: Stored) -> None:
        """Learn what comes soon: its bytes may take a while."""
        if len(self._open) < _MOST_OPEN and row.key not in self._open:
            with suppress(Missing, Outage):  # it is met with when its turn comes
                opened = self._objects.open(row.key)
                if opened is not None:
                    self._open[row.key] = opened

    def forget(self, row: Stored) -> None:
        """Let go of one that has gone out, or never will."""
        opened = self._open.pop(row.key, None)
        if opened is not None:
            opened.close()

    def close(self) -> None:
        """Let go of what was expected and never came."""
        for opened in self._open.values():
            opened.close()
        self._open.clear()

    def direct(self, row: Stored, look: Look) -> Direct | None:
        """Give a data set to be read to where it is sent from; None: take its `pieces`.

        It can be read until the row is forgotten. `look` is called as it goes. Missing,
        Outage, now and later.
        """
        opened = self._open.get(row.key) or self._objects.open(row.key)
        if opened is None:
            return None
        self._open[row.key] = opened
        if opened.size != row.size:
            self.forget(row)
            raise _changed(row)
        at = row.data_set_offset

        def fill(places: Sequence[memoryview]) -> None:
            nonlocal at
            opened.fill(places, at)
            at += sum(map(len, places))
            look()

        return Direct(row.size - at, fill, self._buffer)

    def pieces(self, row: Stored, look: Look) -> Iterator[bytes]:
        """Read a data set; Missing where it isn't all there, Outage."""
        self.forget(row)
        # Half a data set can't be taken back: look before a word of it is sent.
        if self._objects.size(row.key) != row.size:
            raise _changed(row)
        left = row.size - row.data_set_offset
        for piece in self._objects.read(row.key, row.data_set_offset):
            left -= len(piece)
            yield piece
            look()
        if left:
            raise Missing(f"object {row.key} ends {left} bytes before its end")


def _changed(row: Stored) -> Missing:
    return Missing(f"object {row.key} is not there as it was stored")
