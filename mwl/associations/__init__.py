"""Associations that are open now: processes tell of them, people look, and end one.

What a process tells lags by two seconds, so what is shorter is seldom seen. `Publisher` writes
for a process what has changed; the rest works in the caller's transaction.
"""

from mwl.associations.ending import end
from mwl.associations.listing import Open, Wanted, counts, get, page
from mwl.associations.publisher import Publisher
from mwl.associations.rows import Served

__all__ = ["Open", "Publisher", "Served", "Wanted", "counts", "end", "get", "page"]
