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
    """The objects of one retrieval; for one instance after another."""

    def __init__(self, objects: ObjectStore) -> None:
        self._objects = objects
        self._expected: dict[str, Opened] = {}  # by key
        self._buffer = memoryview(bytearray(_BUFFER_BYTES))

    def expect(self, row: Stored) -> None:
        """Learn what comes soon: its bytes may take a while."""
        if len(self._expected) < _MOST_OPEN:
            with suppress(Missing, Outage):  # it is met with when its turn comes
                opened = self._objects.open(row.key)
                if opened is not None:
                    self._expected[row.key] = opened

    def close(self) -> None:
        """Let go of what was expected and never came."""
        for opened in self._expected.values():
            opened.close()
        self._expected.clear()

    def direct(self, row: Stored, look: Look) -> Direct | None:
        """Give a data set to be read to where it is sent from; None: take its `pieces`.

        `look` is called as it goes. Missing, Outage, now and later.
        """
        opened = self._expected.pop(row.key, None) or self._objects.open(row.key)
        if opened is None:
            return None
        if opened.size != row.size:
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
        self._expected.pop(row.key, None)
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
