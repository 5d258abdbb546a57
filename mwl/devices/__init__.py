"""The devices service: who is known, who may associate, and who knocked without being known.

`lookup`, `listing`, `add`, `sync`, `knocked` and `knocks` work in the caller's transaction;
`Doorkeeper` is the one that an association server asks.
"""

from mwl.devices.admission import Doorkeeper, Verdict, admits
from mwl.devices.rows import Visit, add, fold, knocked, knocks, listing, lookup, sync

__all__ = [
    "Doorkeeper",
    "Verdict",
    "Visit",
    "add",
    "admits",
    "fold",
    "knocked",
    "knocks",
    "listing",
    "lookup",
    "sync",
]
