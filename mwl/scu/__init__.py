"""What we ask of others, over associations that we open."""

from mwl.scu.echo import echo, takes
from mwl.scu.peers import Peer
from mwl.scu.performed import MppsForwarder
from mwl.scu.reports import CommitmentReporter, Patience, report

__all__ = ["CommitmentReporter", "MppsForwarder", "Patience", "Peer", "echo", "report", "takes"]
