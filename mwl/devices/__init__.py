"""The devices service: who is known, who may associate, and who knocked without being known.

All but `Doorkeeper`, whom an association server asks, work in the caller's transaction.
"""

from mwl.devices.admission import Doorkeeper, Verdict, admits
from mwl.devices.rows import (
    Visit,
    add,
    change,
    fold,
    get,
    knock,
    knocked,
    knocks,
    listing,
    lookup,
    remove,
    seen,
    sync,
)
from mwl.devices.tested import Tested

__all__ = [
    "Doorkeeper",
    "Tested",
    "Verdict",
    "Visit",
    "add",
    "admits",
    "change",
    "fold",
    "get",
    "knock",
    "knocked",
    "knocks",
    "listing",
    "lookup",
    "remove",
    "seen",
    "sync",
]
