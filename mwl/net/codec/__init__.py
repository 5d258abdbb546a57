"""Bytes to PDUs and back (PS3.8 section 9.3, PS3.7 annex D.3.3).

Two rules. Lengths are never lenient: an item must end where its parent says, to the byte,
else `PduError`. Values are: titles may hold anything, items and sub-items that we don't
know are skipped (PS3.8 9.3.1 asks for that), any protocol version is read. What was
overlooked in a request is noted in its `oddities`.
"""

from mwl.net.codec.layout import COMMAND, HEADER, ITEM, LAST, VALUE
from mwl.net.codec.reading import data_values, decode
from mwl.net.codec.writing import encode, encode_value

__all__ = [
    "COMMAND",
    "HEADER",
    "ITEM",
    "LAST",
    "VALUE",
    "data_values",
    "decode",
    "encode",
    "encode_value",
]
