"""Judge one order, in the caller's transaction, and write what follows."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection
from sqlmodel import Session

from mwl import config
from mwl.closing import rows
from mwl.closing.choices import rules_of
from mwl.closing_rules import (
    NOT_COME,
    OTHER_PATIENT,
    QUARANTINED,
    UNLINKED,
    Rules,
    Ruling,
    Work,
    ends_by_silence,
    expires,
    reasons,
    rule,
)
from mwl.errors import Fault, Reason, Rejected
from mwl.orders import OrderState, StepState, derive
from mwl.outbox import Destinations, status_facts
from mwl.performed import Reasons, Route, news
from mwl.procedures import Effects
from mwl.worklist import standing

Row = dict[str, Any]

ASKED = NOT_COME
# What a person who closes an order has answered.
_ANSWERED = frozenset({NOT_COME, OTHER_PATIENT, QUARANTINED, UNLINKED})


class Judgement(NamedTuple):
    """What is to be done with an order: steps that end by silence, and what rules say then."""

    silent: list[int]
    ruling: Ruling
    states: list[StepState]  # of its steps, when that is done
    flags: list[str]  # what a person has not been told yet

    @property
    def acts(self) -> bool:
        """Whether there is more to do than to look again."""
        return bool(self.silent or self.ruling.route or self.flags)


def judge(conn: Connection, order: Row, rules: Rules, now: datetime) -> Judgement:
    """Apply the rules to an order, without changing anything."""
    return judge_works(order, rows.works(conn, order["id"]), rules, now)


def judge_works(order: Row, works: dict[int, Work], rules: Rules, now: datetime) -> Judgement:
    """Apply the rules to an order of which `rows.works` is known."""
    silent = [step for step, work in works.items() if ends_by_silence(work, now, rules)]
    works = works | {step: replace(works[step], state=StepState.COMPLETED) for step in silent}
    state = derive(
        (work.state for work in works.values()),
        begun=order["status"] == OrderState.IN_PROGRESS,
        closed=order["closed_at"] is not None,
        expired=order["expired_at"] is not None,
    )
    ruling = rule(state, list(works.values()), now, rules)
    # A person is asked once.
    wanted = reasons(list(works.values()), rules) if ruling.ask else []
    wanted += [OTHER_PATIENT] if ruling.by_hand else []
    flags = [flag for flag in wanted if flag not in order["flags"]]
    return Judgement(silent, ruling, [work.state for work in works.values()], flags)


def consider(
    session: Session, order: int, close: config.Close, now: datetime, told: Destinations
) -> OrderState | None:
    """Do what the rules say of an order now; tell its state (None: there is no such order).

    Called where a step has just been completed, once the order's state is written; else the
    clock calls it. Holds the order.
    """
    conn = session.connection()
    asked = standing.hold(conn, order)
    # Sent behind that, it tells what was so once the order was held.
    works = rows.works(conn, order)
    held = asked.first()
    if held is None:
        return None
    found = held._asdict()
    judgement = judge_works(found, works, rules_of(close, found["profile"]), now)
    ruling = judgement.ruling
    if not judgement.acts and ruling.check_at == found["check_at"]:
        return OrderState(found["status"])
    rows.complete_steps(conn, judgement.silent, now)
    if judgement.flags:
        rows.write_flags(conn, order, [*found["flags"], *judgement.flags])
    if ruling.route is not None:
        return _close(session, found, ruling.route, now, told, judgement.states)
    return _settle(session, found, now, told, judgement.states, check_at=ruling.check_at)


def effects(
    close: config.Close, told: Destinations, reasons: Callable[[str], Reasons] | None = None
) -> Effects:
    """Give what follows from reported work: who is told, and whether its order closes.

    `reasons` as of `Effects`.
    """

    def look(session: Session, order: int, now: datetime) -> None:
        consider(session, order, close, now, told)

    made = Effects(told=told, consider=look)
    return replace(made, reasons=reasons) if reasons else made


def close(session: Session, order: int, now: datetime, told: Destinations) -> OrderState:
    """Close an order by hand. Rejected: UNKNOWN_KEY; FINAL where it is not COMPLETED."""
    held = standing.hold(session.connection(), order).first()
    if held is None:
        raise Rejected(Fault(Reason.UNKNOWN_KEY, "", "no such order"))
    if held.status != OrderState.COMPLETED:
        text = f"the order is {held.status}: only one that is COMPLETED can be closed"
        raise Rejected(Fault(Reason.FINAL, "", text))
    return _close(session, held._asdict(), Route.HAND, now, told)


def expire(session: Session, order: int, close: config.Close, now: datetime) -> bool:
    """Hide what is left of an order, never begun and long past; tell whether it was so."""
    conn = session.connection()
    held = standing.hold(conn, order).first()
    if held is None or held.expired_at is not None:
        return False
    if not expires(rows.plans(conn, order), held.revived_at, now, rules_of(close)):
        return False
    rows.hide_steps(conn, order)
    standing.settle(conn, held._asdict(), now, expired_at=now)
    return True


def _close(  # noqa: PLR0913 - an order, why it closes, and what is known of its steps
    session: Session,
    order: Row,
    route: Route,
    now: datetime,
    told: Destinations,
    states: list[StepState] | None = None,
) -> OrderState:
    if not _ANSWERED.isdisjoint(order["flags"]):
        flags = [flag for flag in order["flags"] if flag not in _ANSWERED]
        rows.write_flags(session.connection(), order["id"], flags)
    return _settle(session, order, now, told, states, closed_at=now, closed_by=str(route))


def _settle(
    session: Session,
    order: Row,
    now: datetime,
    told: Destinations,
    states: list[StepState] | None,
    **marks: Any,
) -> OrderState:
    before = OrderState(order["status"])
    after = standing.settle(session.connection(), order, now, states, **marks)
    for event in news(before, after):
        status_facts(session, told, order["id"], event, now)
    if after is OrderState.CLOSED and before is not after:
        status_facts(session, told, order["id"], "CLOSED", now)
    return after
