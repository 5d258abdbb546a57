"""What association requests get wrong and we overlook.

Lengths aren't among these: a length that is wrong ends the connection.
"""

from collections.abc import Collection
from enum import StrEnum


class Oddity(StrEnum):
    """A fault of a request that is accepted all the same."""

    TITLE_NUL = "title-nul"
    TITLE_BLANK = "title-blank"
    TITLE_CHARSET = "title-charset"
    PROTOCOL_VERSION = "protocol-version"
    UNKNOWN_ITEM = "unknown-item"
    REPEATED_ITEM = "repeated-item"
    NO_MAX_LENGTH = "no-max-length"
    NO_IMPLEMENTATION_UID = "no-implementation-uid"
    UID_PADDING = "uid-padding"
    NO_CONTEXT = "no-context"
    EVEN_CONTEXT_ID = "even-context-id"
    DUPLICATE_CONTEXT_ID = "duplicate-context-id"
    TOO_MANY_CONTEXTS = "too-many-contexts"


_MOST_CONTEXTS = 128  # PS3.8 9.3.2.2: odd identifiers from 1 to 255


def of_titles(*titles: bytes) -> set[Oddity]:
    """Tell what is wrong with AE titles (PS3.5 6.2, PS3.8 9.3.2), as they came."""
    found: set[Oddity] = set()
    for title in titles:
        if b"\0" in title:
            found.add(Oddity.TITLE_NUL)
        if not title.strip(b"\0 "):
            found.add(Oddity.TITLE_BLANK)
        # G0 of ISO 646 without the backslash. What follows a NUL was never meant.
        shown = title.partition(b"\0")[0]
        if not all(0x20 <= byte < 0x7F and byte != 0x5C for byte in shown):
            found.add(Oddity.TITLE_CHARSET)
    return found


def of_identifiers(ids: Collection[int]) -> set[Oddity]:
    """Tell what is wrong with the identifiers of presentation contexts (PS3.8 9.3.2.2)."""
    found: set[Oddity] = set()
    if not ids:
        found.add(Oddity.NO_CONTEXT)
    if not all(number & 1 for number in ids):
        found.add(Oddity.EVEN_CONTEXT_ID)
    if len(set(ids)) < len(ids):
        found.add(Oddity.DUPLICATE_CONTEXT_ID)
    if len(ids) > _MOST_CONTEXTS:
        found.add(Oddity.TOO_MANY_CONTEXTS)
    return found
