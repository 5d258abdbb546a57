"""What an object store promises, whatever it keeps its bytes on."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Protocol

from mwl.errors import MwlError, Outage


class Full(Outage):
    """There is no room for it. Somebody must make some: catch it before Outage."""


class Missing(MwlError):
    """There is no object of this key."""


class Writer(Protocol):
    """An object being written, by one thread. End it with finish() or discard()."""

    key: str  # ours: from random bytes alone

    @property
    def sha256(self) -> bytes:
        """The digest of all that was written behind the head, once it is finished."""

    def write(self, data: bytes | memoryview) -> None:
        """Append; `data` may be reused afterwards. Raises Full, Outage."""

    def finish(self) -> None:
        """Return once the object survives a loss of power. Raises Full, Outage."""

    def discard(self) -> None:
        """Remove what was written, as far as that is possible now; never raises.

        May be called again, and does nothing after a finish() that returned.
        """


class Opened(Protocol):
    """An object that is open to be read, by one thread."""

    size: int  # in bytes

    def fill(self, places: Sequence[memoryview], start: int) -> None:
        """Read all of `places` full, from `start` on. Raises Missing (it ends before), Outage."""

    def close(self) -> None:
        """Let it go; never raises."""


class ObjectStore(Protocol):
    """Objects by key. Threads may share it; it opens what it needs when first used."""

    def create(self, head: bytes = b"", *, expected: int | None = None) -> Writer:
        """Begin a new object with `head`, which may be some KiB.

        `expected` is its length in bytes, if that is known. Raises Full, Outage.
        """

    def read(self, key: str, start: int = 0, length: int | None = None) -> Iterator[bytes]:
        """Give its bytes from `start`, `length` of them or all that follow, in pieces.

        Less than asked for where it ends before. Raises Missing, Outage, from the first
        piece on.
        """

    def open(self, key: str) -> Opened | None:
        """Open an object whose bytes are soon wanted, and let them be fetched meanwhile.

        None: the store gives objects in pieces only. Raises Missing, Outage.
        """

    def size(self, key: str) -> int | None:
        """Tell its length in bytes; None: there is none such. Raises Outage."""

    def modified(self, key: str) -> datetime | None:
        """Tell when it was last written to; None: there is none such. Raises Outage."""

    def keys(self) -> Iterator[str]:
        """List all, in bounded memory; what is being written may be among them.

        Names that are none of ours are passed over. Raises Outage.
        """

    def delete(self, key: str) -> None:
        """Remove it; one that isn't there is no error. Raises Outage."""
