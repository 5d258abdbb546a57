"""The devices service: who is known, who may associate, and who knocked without being known.

All but `Doorkeeper`, whom an association server asks, work in the caller's transaction.
What people do goes by `register`, `amend`, `forget`, `bring` and `note_test`, which are audited.
"""

from mwl.devices.admission import Doorkeeper, Verdict, admits, strangers_may
from mwl.devices.answer import Answer
from mwl.devices.catalog import Known
from mwl.devices.fleet import Becomes, Difference, bring, differences
from mwl.devices.keeping import amend, forget, named, note_test, register, subject_of
from mwl.devices.oddities import in_words
from mwl.devices.rows import (
    Visit,
    add,
    called,
    change,
    get,
    knock,
    knocked,
    knocks,
    listing,
    lookup,
    own_titles,
    page,
    remove,
    seen,
    sync,
    table_of,
    titles,
)
from mwl.devices.titles import fold
from mwl.devices.tolerances import TOLERANCES

__all__ = [
    "TOLERANCES",
    "Answer",
    "Becomes",
    "Difference",
    "Doorkeeper",
    "Known",
    "Verdict",
    "Visit",
    "add",
    "admits",
    "amend",
    "bring",
    "called",
    "change",
    "differences",
    "fold",
    "forget",
    "get",
    "in_words",
    "knock",
    "knocked",
    "knocks",
    "listing",
    "lookup",
    "named",
    "note_test",
    "own_titles",
    "page",
    "register",
    "remove",
    "seen",
    "strangers_may",
    "subject_of",
    "sync",
    "table_of",
    "titles",
]
