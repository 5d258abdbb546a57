"""What a person does with an MPPS: link it with its order, end what its scanner left open.

And with a scheduled step that was cancelled and scanned all the same: it is reopened as what
its MPPS say.
"""

from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

from sqlalchemy import select
from sqlmodel import Session

from mwl.db.tables import ImagingOrder, RequestedProcedure, ScheduledStep
from mwl.errors import Fault, Reason, Rejected
from mwl.orders import OrderState, StepState
from mwl.performed import LinkedBy, PerformedState, news
from mwl.procedures import matching, rows
from mwl.procedures.effects import Effects
from mwl.procedures.intake import ended
from mwl.procedures.late import attach
from mwl.procedures.matching import Match
from mwl.procedures.moving import as_reported, tell, tell_end
from mwl.worklist import manual

_STEP = ScheduledStep.__table__  # type: ignore[attr-defined]
_PROCEDURE = RequestedProcedure.__table__  # type: ignore[attr-defined]
_ORDER = ImagingOrder.__table__  # type: ignore[attr-defined]

_MOST_STEPS = 50


@dataclass(frozen=True, slots=True)
class Which:
    """How a person names scheduled steps: all of an accession number's, or one of them."""

    accession_number: str
    sps_id: str = ""


def link(session: Session, uid: str, which: Which, *, effects: Effects, now: datetime) -> list[str]:
    """Link an MPPS with the steps of an order; return the SPS IDs of those that are new.

    It adds to what is linked. Raises Rejected: UNKNOWN_KEY, or DUPLICATE_KEY where several
    orders have this accession number, or where it is linked already.
    """
    conn = session.connection()
    performed = _held(session, uid)
    steps = _steps(session, which)
    known = {
        match.step
        for match in matching.linked(matching.ask_linked(conn, performed["sop_instance_uid"]))
    }
    new = [row for row in steps if row["id"] not in known]
    if not new:
        raise Rejected(Fault(Reason.DUPLICATE_KEY, "", "it is linked with that already"))
    matches = [Match(row["id"], row["imaging_order"], LinkedBy.HAND) for row in new]
    attach(session, performed, matches, effects, now)
    rows.change(conn, {**performed, "unscheduled": False})
    return [row["sps_id"] for row in new]


def end(  # noqa: PLR0913 - what ends how, by whom, when, and what follows
    session: Session,
    uid: str,
    state: PerformedState,
    *,
    by: str,
    effects: Effects,
    now: datetime,
) -> list[str]:
    """End an MPPS that is IN PROGRESS in its scanner's stead; return what is odd.

    Whatever its scanner says later is refused. Raises Rejected: UNKNOWN_KEY, FINAL.
    """
    if state is PerformedState.IN_PROGRESS:
        raise ValueError("that is no end")
    performed = _held(session, uid)
    if performed["state"] != PerformedState.IN_PROGRESS:
        text = f"it has ended already: {performed['state']}"
        raise Rejected(Fault(Reason.FINAL, "", text))
    flags = rows.remember(performed["flags"], [f"ended by hand: {state}"])
    performed |= {"state": state, "ended_by": by, "updated_at": now, "flags": flags}
    linked = matching.linked(matching.ask_linked(session.connection(), uid))
    return ended(session, performed, linked, effects, now)


def cancel(
    session: Session, which: manual.Which, *, effects: Effects, now: datetime
) -> manual.Done:
    """Cancel a step as `worklist.manual.cancel` does; raises Rejected as that.

    If its order is done thereby, since scanners did the rest, that is told.
    """
    order, _ = manual.hold(session, which)
    done = manual.cancel(session, which, now=now)
    after, _ = manual.hold(session, which)
    ended = OrderState(order["status"]), OrderState(after["status"])
    tell_end(session, order["id"], ended, effects.told, now)
    return done


def reopen(
    session: Session, which: manual.Which, *, effects: Effects, now: datetime
) -> manual.Done:
    """Reopen a step as `worklist.manual.reopen` does; raises Rejected as that.

    One that was cancelled and scanned all the same becomes what its MPPS say, its order
    follows, and that is told.
    """
    order, was = manual.hold(session, which)
    reported = partial(as_reported, reasons=effects.reasons(order["profile"]))
    done = manual.reopen(session, which, now=now, reported=reported)
    after, step = manual.hold(session, which)
    if was["state"] != StepState.CANCELED or step["state"] == StepState.SCHEDULED:
        return done
    before, status = OrderState(order["status"]), OrderState(after["status"])
    tell(session, order["id"], news(before, status), effects.told, now)
    if step["state"] == StepState.COMPLETED:
        effects.consider(session, order["id"], now)
    return manual.Done(done.sps_ids, [*done.flags, f"it was scanned: {step['state']}"])


def _held(session: Session, uid: str) -> dict[str, Any]:
    row = rows.hold(session.connection(), uid).first()
    if row is None:
        text = "no performed procedure step has this UID (`mwl mpps list` shows them)"
        raise Rejected(Fault(Reason.UNKNOWN_KEY, "UID", text))
    held: dict[str, Any] = row._asdict()
    return held


def _steps(session: Session, which: Which) -> list[dict[str, Any]]:
    statement = (
        select(_STEP.c.id, _STEP.c.sps_id, _PROCEDURE.c.imaging_order)
        .join(_PROCEDURE, _STEP.c.procedure == _PROCEDURE.c.id)
        .where(_PROCEDURE.c.accession_number == which.accession_number)
        .order_by(_STEP.c.id)
        .limit(_MOST_STEPS)
    )
    if not which.accession_number:
        raise Rejected(Fault(Reason.MISSING, "accession", "is needed"))
    if which.sps_id:
        statement = statement.where(_STEP.c.sps_id == which.sps_id)
    found = [dict(row) for row in session.connection().execute(statement).mappings()]
    if not found:
        raise Rejected(Fault(Reason.UNKNOWN_KEY, "accession", "no entry on file answers to that"))
    if len({row["imaging_order"] for row in found}) > 1:
        text = "several orders have this accession number: give the step ID as well"
        raise Rejected(Fault(Reason.DUPLICATE_KEY, "accession", text))
    return found
