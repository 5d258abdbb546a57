"""The outbox service: what peers are to be told, until they have taken it.

`enqueue` and `status_facts` work in the caller's transaction.
"""

from mwl.outbox.destinations import Destination, Destinations
from mwl.outbox.facts import Event, status_facts
from mwl.outbox.rows import Kind, State, enqueue

__all__ = ["Destination", "Destinations", "Event", "Kind", "State", "enqueue", "status_facts"]
