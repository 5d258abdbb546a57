"""The procedures service: what scanners tell of their work, and what it does to orders.

Start reading at intake.py; matching.py finds the scheduled steps that an MPPS carries out,
moving.py moves them and their orders. Public functions that take a session work in the
caller's transaction.
"""

from mwl.procedures.effects import Effects
from mwl.procedures.intake import start, update
from mwl.procedures.late import link_unscheduled
from mwl.procedures.listing import Received, get, listing
from mwl.procedures.manual import Which, cancel, end, link, reopen
from mwl.procedures.moving import derive_order, tell_end

__all__ = [
    "Effects",
    "Received",
    "Which",
    "cancel",
    "derive_order",
    "end",
    "get",
    "link",
    "link_unscheduled",
    "listing",
    "reopen",
    "start",
    "tell_end",
    "update",
]
