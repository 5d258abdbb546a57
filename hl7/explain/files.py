"""Messages in a file, however it was made: framed or not, one or several, a batch."""

import re

from hl7 import er7, mllp
from mwl import charsets

MOST_BYTES = 256 * 1024 * 1024
_BOM = b"\xef\xbb\xbf"
_BEGINS = re.compile(rb"(?:^|(?<=[\r\n]))(?=MSH)")
_BATCH = re.compile(rb"(?:^|(?<=[\r\n]))(?:FHS|BHS|BTS|FTS)[^\r\n]*[\r\n]*")  # 2.10.3


def split(content: bytes) -> list[bytes]:
    """Cut a file into messages: by their frames, else where a line begins with MSH.

    What envelops a batch is left out. Raises mllp.FrameError.
    """
    if mllp.VT in content:
        framer = mllp.Framer(MOST_BYTES)
        frames = framer.feed(content) + framer.close()
    else:
        frames = [content]
    return [message for frame in frames for message in _messages(frame)]


def _messages(frame: bytes) -> list[bytes]:
    parts = _BEGINS.split(_BATCH.sub(b"", frame.removeprefix(_BOM)))
    return [part for part in parts if part.startswith(b"MSH")]


def encoded(text: str) -> bytes:
    """Give a text that somebody pasted its bytes, as its MSH-18 says that they are; else UTF-8."""
    raw = text.encode("utf-8", "replace")
    start = raw.find(b"MSH")
    try:
        declared = er7.character_sets(raw[max(start, 0) :])
    except er7.ParseError:
        declared = []
    return (charsets.encode_hl7(text, declared[0]) if declared else None) or raw
