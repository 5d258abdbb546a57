"""What follows when work is reported."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from sqlmodel import Session

from mwl.outbox import Destinations

NOBODY = Destinations()


def _nothing(_session: Session, _order: int, _now: datetime) -> None:
    pass


@dataclass(frozen=True, slots=True)
class Effects:
    """What follows when work is reported, in the same transaction.

    `told` are the systems that hear of it. `consider` looks whether an order closes whose
    work was reported complete: (session, its row, now).
    """

    told: Destinations = NOBODY
    consider: Callable[[Session, int, datetime], object] = _nothing
