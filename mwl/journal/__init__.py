"""The journal: every message as it came, what was answered, and what it did.

A message is journaled in the transaction that applies it, so there is no order without its
message and no AA without both. An AA answers for ever: the same bytes under the same
MSH-10 from the same sender are a repeat and get the kept answer again; the database's
unique index decides, whichever connections they come on. What got AE or AR is no repeat:
it is processed again, for the mapping may have been mended.

A person may have a message applied once more: a replay is a row of its own that names the
message it repeats (`replaying`).
"""

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
)
from mwl.journal.replaying import Overrides, Replayed, accepted, record_replay
from mwl.journal.search import About, Kept, Key, Wanted, about, kept, search, types

__all__ = [
    "ACCEPTED",
    "REUSED",
    "About",
    "Kept",
    "Key",
    "Overrides",
    "Received",
    "Repeated",
    "Replayed",
    "Settled",
    "State",
    "Wanted",
    "about",
    "accepted",
    "digest",
    "kept",
    "record",
    "record_replay",
    "repeat",
    "search",
    "types",
]
