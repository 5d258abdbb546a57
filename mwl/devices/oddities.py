"""What is odd about a device's association requests, in words.

The codes are those of `mwl.net.oddities`; they stand in the database.
"""

from collections.abc import Iterable, Mapping

WORDS: Mapping[str, str] = {
    "title-nul": "pads AE titles with NUL bytes instead of spaces",
    "title-blank": "leaves an AE title blank",
    "title-charset": "uses characters in an AE title that none may have",
    "protocol-version": "names a version of the protocol that there isn't",
    "unknown-item": "sends items that the standard doesn't know",
    "repeated-item": "sends an item twice that stands once",
    "no-max-length": "doesn't say how long a PDU may be that it receives",
    "no-implementation-uid": "doesn't say which implementation it is",
    "uid-padding": "pads UIDs",
    "no-context": "proposes no presentation context",
    "even-context-id": "numbers presentation contexts evenly",
    "duplicate-context-id": "numbers two presentation contexts the same",
    "too-many-contexts": "proposes more than 128 presentation contexts",
}


def in_words(codes: Iterable[str]) -> str:
    """Say what the codes mean, as what follows "it"; a newer version's stand for themselves."""
    return ", ".join(WORDS.get(code, code) for code in codes)
