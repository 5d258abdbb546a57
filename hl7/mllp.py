r"""MLLP framing without sockets: `<VT> message <FS> <CR>` (HL7 v2 transport, Minimal LLP).

`Framer.feed` takes bytes as they come from a stream and gives the messages that they
complete, whatever the chunking. What real senders do is allowed for:

- VT or FS doubled; CR missing behind FS; no VT, when a message starts with `MSH`, or a batch
  with `FHS` or `BHS`.
- FS missing: the next VT, or the end of the stream, ends a message whose last byte ends a
  segment (CR or LF). It may be a part of one all the same, and is given as `Unended`.
  Anything else is half a message, dropped: nobody acknowledged it, so its sender sends it
  again.
- Bytes between frames are skipped and counted in `skipped`; line ends there are nothing.

VT and FS occur in no character set that HL7 allows, so neither is ever content.
Memory is bounded by `max_bytes`, time is linear in the bytes fed.
"""

import re
from collections.abc import Iterable

VT = b"\x0b"
FS = b"\x1c"
CR = b"\r"

_HEADERS = (b"MSH", b"FHS", b"BHS")
_START = re.compile(b"|".join((VT, *_HEADERS)))
_PADDING = b"\r\n\x1c"
_BEGINNING = 65_536  # bytes kept of what is too long


class Unended(bytes):
    """A message whose FS did not come: there may have been more of it."""


class FrameError(Exception):
    """A stream that can't be read on.

    `complete` holds the messages that the same chunk completed before the fault.
    """

    def __init__(self, text: str, complete: list[bytes]) -> None:
        super().__init__(text)
        self.complete = complete


class TooLongError(FrameError):
    """A message over the limit: its beginning, and whether its end has come too."""

    def __init__(self, text: str, complete: list[bytes], *, beginning: bytes, ended: bool) -> None:
        super().__init__(text, complete)
        self.beginning = beginning
        self.ended = ended


def frame(message: bytes) -> bytes:
    """Wrap a message for sending."""
    return VT + message + FS + CR


def join(messages: Iterable[bytes]) -> bytes:
    """Put several messages one behind another so that `frame` frames each of them."""
    return (FS + CR + VT).join(messages)


class Framer:
    """Cut a stream of bytes into messages of at most `max_bytes`."""

    def __init__(self, max_bytes: int) -> None:
        self.skipped = 0  # bytes that belonged to no message, over the stream's life
        self._max_bytes = max_bytes
        self._inside = False
        self._content = bytearray()
        self._prefix = b""  # outside: what may become a header with the next chunk
        self._garbage = 0  # bytes skipped since the last message

    @property
    def pending(self) -> bool:
        """Whether bytes have come since the last message that are not yet one."""
        return self._inside or bool(self._prefix) or self._garbage > 0

    def feed(self, data: bytes) -> list[bytes]:
        """Take the next bytes of the stream; give the messages they complete, in order.

        Raises TooLongError when a message exceeds `max_bytes`, FrameError when the garbage
        before one does; the framer is of no use afterwards.
        """
        complete: list[bytes] = []
        data, self._prefix = self._prefix + data, b""
        position = 0
        end = vt = -2  # where FS and VT come next; -2: not looked for yet
        while position < len(data):
            if not self._inside:
                position = self._open(data, position, complete)
                continue
            # Each is searched for once, not once a message: that keeps time linear.
            if -1 != end < position:
                end = data.find(FS, position)
            if -1 != vt < position:
                vt = data.find(VT, position)
            stop = min((place for place in (end, vt) if place >= 0), default=len(data))
            self._append(data, position, stop, complete)
            if stop < len(data):
                self._close(complete, proper=stop == end)
            position = stop + 1
        return complete

    def close(self) -> list[bytes]:
        """Give what the end of the stream completes: one message or none."""
        complete: list[bytes] = []
        if self._inside:
            self._close(complete, proper=False)
            self._inside = False
        self._skip(len(self._prefix))
        self._prefix = b""
        return complete

    def _open(self, data: bytes, position: int, complete: list[bytes]) -> int:
        """Look for the start of a message; give where its content begins."""
        if data[position] == VT[0]:
            self._inside = True
            return position + 1
        if data[position] in _PADDING:
            return position + 1
        match = _START.search(data, position)
        stop = match.start() if match else len(data) - _begun(data, position)
        skipped = data[position:stop]
        self._skip(len(skipped) - sum(map(skipped.count, _PADDING)))
        if self._garbage > self._max_bytes:
            raise FrameError(f"no message within {self._max_bytes} bytes", complete)
        if match is None:
            self._prefix = data[stop:]
            return len(data)
        self._inside = True
        return match.end() if match[0] == VT else stop

    def _append(self, data: bytes, position: int, stop: int, complete: list[bytes]) -> None:
        if len(self._content) + stop - position > self._max_bytes:
            beginning = bytes(self._content[:_BEGINNING]) + data[position:stop]
            raise TooLongError(
                f"a message of more than {self._max_bytes} bytes",
                complete,
                beginning=beginning[:_BEGINNING],
                ended=stop < len(data),
            )
        self._content += data[position:stop]

    def _close(self, complete: list[bytes], *, proper: bool) -> None:
        """End the message; `proper`: by FS. Otherwise a VT came, and begins the next one."""
        content = bytes(self._content)
        self._content = bytearray()
        self._inside = not proper
        if not content or content.isspace():
            return  # VT doubled, or an empty frame
        if proper or content.endswith((b"\r", b"\n")):
            complete.append(content if proper else Unended(content))
            self._garbage = 0
        else:
            self._skip(len(content))

    def _skip(self, count: int) -> None:
        self.skipped += count
        self._garbage += count


def _begun(data: bytes, position: int) -> int:
    """Count the bytes at the end of `data[position:]` that begin a header."""
    for length in (2, 1):
        begun = tuple(header[:length] for header in _HEADERS)
        if len(data) - position >= length and data.endswith(begun):
            return length
    return 0
