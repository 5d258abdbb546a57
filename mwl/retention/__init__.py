"""What is long over goes: orders, what scanners told of them and were shown, commitments.

What is over since more than `worklist.keep_days` is removed, row by row with all that belongs
to it, each in a transaction of its own: whoever is killed in between has removed some, and the
next run goes on. What is open stays, and so does what something else needs:

- an order, as long as a study of it is in the archive, a report refers to it, or a message
  about it is still to be delivered. Its images keep their link, and what it makes of them;
- an MPPS, as long as an order that it carries out is on file; one of no order, as long as its
  study or an image that it lists is in the archive;
- a commitment, as long as an image of it is in a study that is linked with an order.

Messages are the journal's. Those about a removed order that are kept in full stay, and lead to
no order any more; of the others what was left to tell the order's story goes with it. Patients
stay. The audit trail names each order that went.

The newest row of a table never goes: SQLite would give its number again, and the trail speaks
of numbers.
"""

from mwl.retention.keeper import Keeper

__all__ = ["Keeper"]
