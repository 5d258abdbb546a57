"""The outbox service: what peers are to be told, until they have taken it.

`enqueue`, `status_facts`, `forward`, `listing`, `resend` and `drop` work in the caller's
transaction; `inspection` has the lists for people.
`Courier` delivers, by what app.py gives it for each `Kind`.
"""

from mwl.outbox.clearing import clear
from mwl.outbox.courier import Courier, Deliver, Delivery, Done, Lost, Outcome, Park, Retry
from mwl.outbox.destinations import Destination, Destinations
from mwl.outbox.facts import Event, status_facts, subject
from mwl.outbox.forwards import Forward, Forwarded, Forwards, forward
from mwl.outbox.listing import drop, listing, resend
from mwl.outbox.rows import Kind, State, enqueue

__all__ = [
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
    "Outcome",
    "Park",
    "Retry",
    "State",
    "clear",
    "drop",
    "enqueue",
    "forward",
    "listing",
    "resend",
    "status_facts",
    "subject",
]
