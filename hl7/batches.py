"""Batches: FHS, BHS, messages, BTS, FTS in one frame (v2.5.1 2.10.3, 2.15.2, 2.15.3).

`[FHS] { [BHS] { message } [BTS] } [FTS]`: every header and trailer may be missing, so several
messages in one frame are a batch as well. `split` finds them and looks at the counts;
`answer` puts the answers together as 2.10.3.3 has it: in a file of batches like the one that
came, each acknowledgement a message with its own MSA-2. Where no header came, none goes back,
and the answers are framed one by one, as if their messages had been.

A count that is wrong, or a trailer that is missing, is no reason to refuse the messages that
are there: they are taken, and flagged, and the answer's BTS-2 or FTS-2 says it. What stands
between headers and messages, and belongs to none of them, refuses the whole: nobody could say
which message lost it.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from typing import Final, NamedTuple

from hl7 import mllp
from mwl.errors import Fault, Reason, Rejected

MAX_MESSAGES: Final = 10_000
UNENDED: Final = "it came without its end (FS): there may have been more of it"
_MAX_PARTS = 3 * MAX_MESSAGES  # each in a batch of its own
_TOO_MANY = f"more than {MAX_MESSAGES} messages: send smaller ones"
_MAX_ECHO = 250  # characters of any field that we give back
_BLANK = b"\xef\xbb\xbf \t\r\n\x0b"

# At the start of a line: a header with its delimiters, or a trailer with its count. A line of
# a text that begins by chance with such a name has no delimiters behind it.
_MARK = rb"[!-/:-@\[-`{-~]"
_END = rb"[\r\n]|\Z"
_START = re.compile(
    rb"[\r\n](?:"
    rb"(?P<head>FHS|BHS|MSH)(?P<of>%(mark)s)%(mark)s{1,5}(?=(?P=of)|%(end)s)"
    rb"|(?P<tail>BTS|FTS)(?=(?P<by>%(mark)s)[0-9]{0,9}(?:(?P=by)|%(end)s)|%(end)s)"
    rb")" % {b"mark": _MARK, b"end": _END}
)
_COUNT = re.compile(rb"[BF]TS[^0-9]([0-9]{1,9})(?![0-9])")


@dataclass(slots=True)
class Batch:
    """One batch; `header` is its BHS, empty where none came."""

    header: bytes = b""
    messages: list[bytes] = field(default_factory=list)
    flags: list[str] = field(default_factory=list)
    is_closed: bool = False


@dataclass(slots=True)
class File:
    """All that came in one frame; `header` is its FHS, empty where none came.

    `flags` are about all of its messages, a message's own are told by `flags_of`.
    """

    header: bytes = b""
    batches: list[Batch] = field(default_factory=list)
    flags: list[str] = field(default_factory=list)
    is_closed: bool = False

    @property
    def has_headers(self) -> bool:
        return bool(self.header) or any(each.header for each in self.batches)

    @property
    def count(self) -> int:
        return sum(len(each.messages) for each in self.batches)

    def flags_of(self, batch: Batch, number: int) -> list[str]:
        """Tell what is to be flagged of a message, by its place in its batch from 0."""
        own = [*batch.flags, *self.flags]
        # Its frame ended behind another: the FS and VT between them are missing, or the sender
        # never sends any; nothing else says where it was to end.
        is_last = batch is self.batches[-1] and number == len(batch.messages) - 1
        return own if self.has_headers or is_last else [*own, UNENDED]

    def open(self) -> Batch:
        """Give the batch that messages go to."""
        if not self.batches or self.batches[-1].is_closed:
            self.batches.append(Batch())
        return self.batches[-1]


def split(raw: bytes) -> File | None:
    """Find the messages of a batch, byte for byte; None for what is at most one message.

    Raises Rejected for a batch that can't be read as one.
    """
    # Each message passes here: one search, for what no base64 holds.
    if raw.startswith(b"MSH") and raw.find(raw[:4], 4) < 0:
        return None
    raw = raw.lstrip(_BLANK)
    if not raw.startswith((b"FHS", b"BHS", b"MSH")):
        return None
    parts = list(_parts(raw))
    if sum(part.kind == b"MSH" for part in parts) == len(parts) < 2:
        return None
    if sum(len(part.content) for part in parts) < len(raw):
        raise _rejected("the delimiters of its header can't be read")
    return _Reader().read(parts)


class _Part(NamedTuple):
    """A header or trailer and what follows it, or a message."""

    kind: bytes
    content: bytes

    @property
    def line(self) -> bytes:
        """Give the segment alone; Rejected where anything follows."""
        line, _, rest = self.content.replace(b"\n", b"\r").partition(b"\r")
        if rest.strip(_BLANK):
            raise _rejected(f"behind {self.kind.decode()} are segments that belong to no message")
        return line


def _parts(raw: bytes) -> Iterator[_Part]:
    # Each starts in `raw` where the match does.
    starts = list(islice(_START.finditer(b"\r" + raw), _MAX_PARTS + 1))
    if len(starts) > _MAX_PARTS:
        raise _rejected(_TOO_MANY)
    ends = [*(match.start() for match in starts), len(raw)][1:]
    for match, end in zip(starts, ends, strict=True):
        yield _Part(match["head"] or match["tail"], raw[match.start() : end])


class _Reader:
    """Reads one file."""

    def __init__(self) -> None:
        self._file = File()

    def read(self, parts: Sequence[_Part]) -> File:
        file = self._file
        for part in parts:
            if file.is_closed:
                raise _rejected(f"{part.kind.decode()} behind FTS")
            _READ[part.kind](self, part)
        if file.count > MAX_MESSAGES:
            raise _rejected(_TOO_MANY)
        self._end_batch()
        if file.header and not file.is_closed:
            file.flags.append("the file has no FTS: there may have been more of it")
        if not file.count and (file.flags or any(each.flags for each in file.batches)):
            raise _rejected("no message, and its trailers count some, or are missing")
        return file

    def _file_header(self, part: _Part) -> None:
        if self._file.header or self._file.batches:
            raise _rejected("FHS is not at its beginning")
        self._file.header = part.line

    def _batch_header(self, part: _Part) -> None:
        self._end_batch()
        self._file.batches.append(Batch(part.line))

    def _message(self, part: _Part) -> None:
        self._file.open().messages.append(part.content)

    def _batch_trailer(self, part: _Part) -> None:
        batch = self._file.open()
        said = _count(part.line)
        if said not in {None, len(batch.messages)}:
            batch.flags.append(f"BTS-1 says {said} messages, and {len(batch.messages)} came")
        batch.is_closed = True

    def _file_trailer(self, part: _Part) -> None:
        self._end_batch()
        said, came = _count(part.line), len(self._file.batches)
        if said not in {None, came}:
            self._file.flags.append(f"FTS-1 says {said} batches, and {came} came")
        self._file.is_closed = True

    def _end_batch(self) -> None:
        for batch in self._file.batches[-1:]:
            if batch.header and not batch.is_closed:
                batch.flags.append("the batch has no BTS: there may have been more of it")
            batch.is_closed = True


_READ: Final = {
    b"FHS": _Reader._file_header,  # noqa: SLF001 - its own
    b"BHS": _Reader._batch_header,  # noqa: SLF001
    b"MSH": _Reader._message,  # noqa: SLF001
    b"BTS": _Reader._batch_trailer,  # noqa: SLF001
    b"FTS": _Reader._file_trailer,  # noqa: SLF001
}


def _count(line: bytes) -> int | None:
    """Read BTS-1 or FTS-1; None where it says nothing."""
    match = _COUNT.match(line)
    return int(match[1]) if match else None


def _rejected(text: str) -> Rejected:
    return Rejected(Fault(Reason.SEQUENCE, "", f"a batch that can't be taken: {text}"))


def answer(
    file: File, answers: Sequence[Sequence[bytes]], *, now: datetime, control_id: str
) -> bytes:
    """Put together what goes back: for each batch the answers that are wanted, in order.

    `control_id` becomes FHS-11, and BHS-11 with the number of its batch.
    """
    wanted = [list(filter(None, each)) for each in answers]
    if file.count and not any(wanted):
        return b""
    if not file.has_headers:
        return mllp.join(each for batch in wanted for each in batch)
    lines = []
    for number, (batch, said) in enumerate(zip(file.batches, wanted, strict=True), start=1):
        if batch.header:
            lines.append(_header(batch.header, now, f"{control_id}-{number}"))
        lines += (each.replace(mllp.FS + mllp.CR + mllp.VT, b"") for each in said)
        if batch.header:
            lines.append(_trailer(batch.header, b"BTS", _messages_in(said), batch.flags))
    if file.header:
        lines.insert(0, _header(file.header, now, control_id))
        lines.append(_trailer(file.header, b"FTS", len(file.batches), file.flags))
    return b"".join(lines)


def _messages_in(said: Sequence[bytes]) -> int:
    """Count messages: an accept and an application acknowledgement are two."""
    return sum(each.count(mllp.FS + mllp.CR + mllp.VT) + 1 for each in said)


def _header(theirs: bytes, now: datetime, control_id: str) -> bytes:
    """Write BHS or FHS to the sender of `theirs`: its 11, control ID, is our 12."""
    separator = theirs[3:4]
    fields = [b"", *(each[:_MAX_ECHO] for each in theirs.split(separator)[:12])]
    fields += [b""] * (13 - len(fields))
    at = now.strftime("%Y%m%d%H%M%S%z").encode()
    own = [*fields[1:3], *fields[5:7], *fields[3:5], at, b"", b"", b"", control_id.encode()]
    return separator.join([*own, fields[11]]) + b"\r"


def _trailer(header: bytes, name: bytes, count: int, flags: Sequence[str]) -> bytes:
    separator = header[3:4]
    comment = "; ".join(flags).encode().replace(separator, b" ")
    return separator.join([name, str(count).encode(), comment]).rstrip(separator) + b"\r"
