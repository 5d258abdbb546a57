"""Is it flowing? What comes in and from whom, what a day brought, what waits for a person.

Each function is one statement, or a few at once, that goes by indexes: what it costs grows
with a day's traffic and with what waits, never with what is kept.
"""

from mwl.flow.peers import Feed, Scanner, feeds, scanners
from mwl.flow.throughput import Hour, hours
from mwl.flow.today import orders_by_state
from mwl.flow.waiting import Waiting, waiting

__all__ = [
    "Feed",
    "Hour",
    "Scanner",
    "Waiting",
    "feeds",
    "hours",
    "orders_by_state",
    "scanners",
    "waiting",
]
