"""Who asks for an association, and what the application says to it."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from mwl.net import negotiation
from mwl.net.oddities import Oddity
from mwl.net.pdu import AssociateRequest, UserIdentity, title_text
from mwl.tls import Shown


@dataclass(frozen=True, slots=True)
class Applicant:
    """Who asks: titles as text, the peer's IP address, its user, what is odd about the request.

    `certificate` is the one that it showed, on a port that asks for one over TLS.
    """

    called: str
    calling: str
    address: str
    identity: UserIdentity | None = None
    oddities: frozenset[Oddity] = frozenset()
    certificate: Shown | None = None

    @classmethod
    def of(
        cls, request: AssociateRequest, address: str, certificate: Shown | None = None
    ) -> "Applicant":
        """Take what a request says of who sends it."""
        called, calling = title_text(request.called_title), title_text(request.calling_title)
        user = request.user.identity
        return cls(called, calling, address, user, request.oddities, certificate)


class Admission(Enum):
    """What the application says to an applicant."""

    ACCEPTED = "accepted"
    IDENTIFIED = "accepted, as the user that it names"
    CALLED_UNKNOWN = "called title unknown"
    CALLING_UNKNOWN = "calling title unknown"
    NOT_IDENTIFIED = "user identity not accepted"
    BUSY = "busy"


REFUSALS = {
    Admission.CALLED_UNKNOWN: negotiation.CALLED_TITLE_NOT_RECOGNIZED,
    Admission.CALLING_UNKNOWN: negotiation.CALLING_TITLE_NOT_RECOGNIZED,
    Admission.NOT_IDENTIFIED: negotiation.NOT_AUTHORIZED,
    Admission.BUSY: negotiation.TEMPORARY_CONGESTION,
}

Admit = Callable[[Applicant], Admission]
