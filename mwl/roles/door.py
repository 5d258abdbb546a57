"""Who may associate: what the services know of devices and users, said to the upper layer."""

from datetime import UTC, datetime

from mwl.accounts import Claim, Identity, Users
from mwl.devices import Doorkeeper, Verdict
from mwl.net.admission import Admission, Admit, Applicant

_REFUSALS = {
    Verdict.CALLED_UNKNOWN: Admission.CALLED_UNKNOWN,
    Verdict.CALLING_UNKNOWN: Admission.CALLING_UNKNOWN,
    Verdict.NOT_PROVEN: Admission.CALLING_UNKNOWN,
}
_IDENTITIES = {
    Identity.UNKNOWN: Admission.ACCEPTED,
    Identity.NAMED: Admission.IDENTIFIED,
    Identity.PROVEN: Admission.IDENTIFIED,
    Identity.REFUSED: Admission.NOT_IDENTIFIED,
    Identity.BUSY: Admission.BUSY,
}


def admission(doorkeeper: Doorkeeper, users: Users) -> Admit:
    """Make what an association server asks: titles first, then who the user is."""

    def admit(who: Applicant) -> Admission:
        verdict = doorkeeper.admit(
            who.called, who.calling, who.address, who.oddities, who.certificate
        )
        if verdict is not Verdict.ADMITTED:
            return _REFUSALS[verdict]
        return _IDENTITIES[users.check(_claim(who), now=datetime.now(UTC))]

    return admit


def _claim(who: Applicant) -> Claim | None:
    given = who.identity
    if given is None:
        return None
    return Claim(given.kind, given.primary, given.secondary, who.calling, who.address)
