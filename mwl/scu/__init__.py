"""What we ask of others, over associations that we open."""

from mwl.scu.echo import echo
from mwl.scu.peers import Peer
from mwl.scu.reports import CommitmentReporter, Patience, report

__all__ = ["CommitmentReporter", "Patience", "Peer", "echo", "report"]
