"""Query/Retrieve: C-GET and C-MOVE as SCP (PS3.4 annexes C.4.2 and C.4.3).

Start reading at retrieval.py, what both share: from an identifier to the final status.
get.py sends on the association that asked, move.py on others to a third (destination.py);
outgoing.py sends one instance after another, which shelf.py reads, and conversion.py writes
anew what a peer can't take as it is kept. tally.py counts how the sub-operations stand.

Whoever retrieves is told by status (tables C.4-2 and C.4-3), with the counts:

- 0000 all went; B000 some did, (0008,0058) lists the others; A702 none did;
- FE00 the peer gave up; A900, with the attribute: the identifier names no level of the
  model, or not what lies above it; C001: it can't be read;
- A701 the database is in trouble, and nobody knows how many there are;
- A801 the destination of a C-MOVE is no device of ours, or has no address.

For what failed the first reason stands in the error comment, each in the log.
"""

from mwl.scp.retrieve.get import STUDY_ROOT_GET, RetrieveService
from mwl.scp.retrieve.move import MoveService

__all__ = ["STUDY_ROOT_GET", "MoveService", "RetrieveService"]
