"""The outbox service: what peers are to be told, until they have taken it.

`enqueue`, `status_facts`, `forward`, `pass_on`, `listing`, `resend` and `drop` work in the
caller's transaction; `inspection` has the lists for people.
`Courier` delivers, by what app.py gives it for each `Kind`.
"""

from mwl.outbox.clearing import clear
from mwl.outbox.courier import Courier, Deliver, Delivery, Done, Lost, Outcome, Park, Retry
from mwl.outbox.destinations import Destination, Destinations
from mwl.outbox.facts import Event, status_facts, subject
from mwl.outbox.forwards import Forward, Forwarded, Forwards, forward
from mwl.outbox.listing import drop, listing, resend
from mwl.outbox.performed import (
    BEGUN,
    About,
    Manager,
    Managers,
    Operation,
    is_withheld,
    pass_on,
    performed_subject,
)
from mwl.outbox.rows import AS_IT_CAME, Kind, State, enqueue

__all__ = [
    "AS_IT_CAME",
    "BEGUN",
    "About",
    "Courier",
    "Deliver",
    "Delivery",
    "Destination",
    "Destinations",
    "Done",
    "Event",
    "Forward",
    "Forwarded",
    "Forwards",
    "Kind",
    "Lost",
    "Manager",
    "Managers",
    "Operation",
    "Outcome",
    "Park",
    "Retry",
    "State",
    "clear",
    "drop",
    "enqueue",
    "forward",
    "is_withheld",
    "listing",
    "pass_on",
    "performed_subject",
    "resend",
    "status_facts",
    "subject",
]
