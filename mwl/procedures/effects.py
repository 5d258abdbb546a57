"""What follows when work is reported."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from sqlmodel import Session

from mwl.outbox import Destinations, Managers
from mwl.performed import BY_ITSELF, Reasons

NOBODY = Destinations()
NO_MANAGERS = Managers()


def _nothing(_session: Session, _order: int, _now: datetime) -> None:
    pass


def _by_itself(_profile: str) -> Reasons:
    return BY_ITSELF


@dataclass(frozen=True, slots=True)
class Effects:
    """What follows when work is reported, in the same transaction.

    `told` are the systems that hear of it, and `managers` those that MPPS are forwarded to.
    `consider` looks whether an order closes whose work was reported complete: (session, its
    row, now). `reasons` tells what scanners mean by giving up an order of the mapping profile
    that it is given the name of.
    """

    told: Destinations = NOBODY
    managers: Managers = NO_MANAGERS
    consider: Callable[[Session, int, datetime], object] = _nothing
    reasons: Callable[[str], Reasons] = _by_itself
