"""The journal: every message as it came, what was answered, and what it did.

A message is journaled in the transaction that applies it, so there is no order without its
message and no AA without both. An AA answers for ever: the same bytes under the same
MSH-10 from the same sender are a repeat and get the kept answer again; the database's
unique index decides, whichever connections they come on. What got AE or AR is no repeat:
it is processed again, for the mapping may have been mended.

The journal makes room by itself, after so many days and beyond so many bytes (`clearing`),
and knows how large it is without looking (`counting`).

A person may have a message applied once more: a replay is a row of its own that names the
message it repeats (`replaying`).
"""

from mwl.db.newest import Key
from mwl.journal.clearing import Cleared, clear
from mwl.journal.counting import Size, size
from mwl.journal.keeping import (
    ACCEPTED,
    REUSED,
    Received,
    Repeated,
    Settled,
    State,
    digest,
    record,
    repeat,
    written,
)
from mwl.journal.leaving import leave
from mwl.journal.outlook import outlook
from mwl.journal.replaying import Overrides, Replayed, Text, accepted, record_replay, texts
from mwl.journal.search import (
    LOOKED_THROUGH,
    About,
    Kept,
    Wanted,
    about,
    is_bounded,
    kept,
    search,
    types,
)

__all__ = [
    "ACCEPTED",
    "LOOKED_THROUGH",
    "REUSED",
    "About",
    "Cleared",
    "Kept",
    "Key",
    "Overrides",
    "Received",
    "Repeated",
    "Replayed",
    "Settled",
    "Size",
    "State",
    "Text",
    "Wanted",
    "about",
    "accepted",
    "clear",
    "digest",
    "is_bounded",
    "kept",
    "leave",
    "outlook",
    "record",
    "record_replay",
    "repeat",
    "search",
    "size",
    "texts",
    "types",
    "written",
]
