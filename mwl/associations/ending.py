"""A person ends an association: the process that serves it is asked, and does it soon."""

from datetime import datetime

from sqlalchemy import update
from sqlmodel import Session

from mwl import audit
from mwl.associations.listing import Open, get
from mwl.associations.rows import LIVE, SERVER
from mwl.audit import Action, Actor, Event
from mwl.errors import Fault, Reason, Rejected


def end(session: Session, actor: Actor, row: int, *, now: datetime) -> Open:
    """Ask for an A-ABORT, audited; give what is to be ended. Rejected: it isn't open any more."""
    found = get(session, row, now=now)
    if found is None:
        raise Rejected(Fault(Reason.UNKNOWN_KEY, f"association {row}", "is not open any more"))
    conn = session.connection()
    conn.execute(update(LIVE).where(LIVE.c.id == row).values(ending=True))
    server = LIVE.select().with_only_columns(LIVE.c.server).where(LIVE.c.id == row)
    conn.execute(
        update(SERVER)
        .where(SERVER.c.id == server.scalar_subquery())
        .values(asked=SERVER.c.asked + 1)
    )
    detail = {"calling": found.calling, "called": found.called, "from": found.address}
    audit.record(session, actor, Event(Action.ABORT, f"association:{row}", detail), now=now)
    return found
