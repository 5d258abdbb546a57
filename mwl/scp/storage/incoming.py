"""One data set as it comes: looked through and written, and never whole in memory."""

from mwl.net.dimse import Context
from mwl.net.pdu import EXPLICIT_VR_BIG_ENDIAN
from mwl.objects import ObjectStore, Writer
from mwl.scp.storage.attributes import OF_REQUESTS, WANTED
from mwl.scp.storage.header import Header, Scanner
from mwl.scp.storage.inflate import InflatingScanner
from mwl.scp.storage.part10 import file_header
from mwl.scp.storage.syntaxes import DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN, ENCAPSULATED


class Incoming:
    """A sink that makes an object of a data set.

    After the first thing that goes wrong the rest is read and forgotten; `header` tells it.
    """

    def __init__(
        self, context: Context, sop_instance: str, objects: ObjectStore, source: str
    ) -> None:
        """Begin; nothing is created before the first byte."""
        self.context = context
        self.sop_instance = sop_instance
        self.source = source
        self.data_set_offset = self.size = 0  # of the file, in bytes
        self._objects = objects
        self._writer: Writer | None = None
        self._scanner = _scanner(context.transfer_syntax)
        self._error: Exception | None = None

    @property
    def is_big(self) -> bool:
        return self.context.transfer_syntax == EXPLICIT_VR_BIG_ENDIAN

    @property
    def sha256(self) -> bytes:
        """The digest of the data set as received, once it is durable."""
        assert self._writer is not None
        return self._writer.sha256

    @property
    def key(self) -> str:
        """The object's name."""
        assert self._writer is not None
        return self._writer.key

    def fail(self, error: Exception) -> None:
        """Keep nothing, and remember why."""
        self._error = error
        self.abort()

    def write(self, fragment: memoryview) -> None:
        if self._error is not None:
            return
        try:
            writer = self._writer or self._begin()
            self._scanner.feed(fragment)
            writer.write(fragment)
        except Exception as error:  # is answered when the whole request is here
            self.fail(error)
        self.size += len(fragment)

    def close(self) -> None:
        pass

    def header(self) -> Header:
        """Look back on a data set that has come. Raises whatever went wrong on the way."""
        if self._error is not None:
            raise self._error
        return self._scanner.finish()

    def finish(self) -> None:
        """Make the object durable. Raises Full, Outage."""
        assert self._writer is not None
        self._writer.finish()

    def abort(self) -> None:
        if self._writer is not None:
            self._writer.discard()

    def _begin(self) -> Writer:
        context = self.context
        head = file_header(
            context.abstract_syntax, self.sop_instance, context.transfer_syntax, self.source
        )
        writer = self._writer = self._objects.create(head)
        self.data_set_offset = self.size = len(head)
        return writer


def _scanner(transfer_syntax: str) -> Scanner | InflatingScanner:
    scanner = Scanner(
        WANTED,
        OF_REQUESTS,
        big=transfer_syntax == EXPLICIT_VR_BIG_ENDIAN,
        encapsulated=transfer_syntax in ENCAPSULATED,
    )
    deflated = transfer_syntax == DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN
    return InflatingScanner(scanner) if deflated else scanner
