"""What followed: what others were told, what people did, how the order ended."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import Connection, select

from mwl import outbox
from mwl.audit import Action
from mwl.closing_rules import Rules
from mwl.db.tables import AuditEvent, Delivery
from mwl.orders import OrderState, StepState
from mwl.outbox import State
from mwl.performed import Route
from mwl.story.entries import Entry, Kind, known, moment, several
from mwl.story.reports import linked
from mwl.story.subjects import Subject
from mwl.worklist.manual import SOURCE

_DELIVERY = Delivery.__table__  # type: ignore[attr-defined]
_EVENT = AuditEvent.__table__  # type: ignore[attr-defined]

_MOST = 200
_LONGEST_ANSWER = 2_000
_PROMPT = timedelta(minutes=1)
_EVENTS = {
    "IP": "in progress",
    "CM": "completed",
    "DC": "discontinued",
    "CA": "cancelled",
    "CLOSED": "closed",
}
_DONE = {
    Action.CREATE: "put it on the worklist",
    Action.CHANGE: "changed it",
    Action.CANCEL: "cancelled it",
    Action.ARRIVE: "noted that the patient has arrived",
    Action.READY: "noted that the patient is ready",
    Action.DEPART: "noted that the patient has departed",
    Action.REOPEN: "reopened it",
    Action.CLOSE: "closed it",
    Action.LINK: "linked something with it",
    Action.UNLINK: "took a study from it",
    Action.RESEND: "had a message about it sent again",
    Action.DROP: "dropped a message about it",
    Action.REPLAY: "had a message about it applied again",
}


def deliveries(conn: Connection, subject: Subject, zone: ZoneInfo) -> list[Entry]:
    """List what destinations are told of the order, and sent of its MPPS."""
    order, d = subject.order["id"], _DELIVERY.c
    of_mpps = [outbox.performed_subject(row) for row in linked(conn, order)]
    statement = (
        select(
            *(d.id, d.kind, d.destination, d.state, d.control_id, d.attempts, d.next_at, d.error),
            *(d.answer, d.created_at, d.done_at, d.payload["event"].as_string().label("event")),
            *(d.payload[name].as_string().label(f"mpps_{name}") for name in ("state", "calling")),
        )
        .where(d.subject.in_([outbox.subject(order), *of_mpps]))
        .order_by(d.id.desc())
        .limit(_MOST)
    )
    rows = conn.execute(statement).all()
    return [_delivery(row, zone) for row in reversed(rows)]


def _delivery(row: Any, zone: ZoneInfo) -> Entry:
    came = row.kind == outbox.Kind.FORWARD
    kind, did = Kind.DELIVERY, f"{'sent what came in' if came else 'told'}: {_told(row)}"
    if row.kind == outbox.Kind.MPPS:
        state = f" ({row.mpps_state})" if row.mpps_state else ""
        kind, did = Kind.FORWARDED, f"sent {row.event}{state} of {row.mpps_calling}"
    verb = {State.DONE: "was", State.DROPPED: "was not"}.get(row.state, "is to be")
    late = row.done_at - row.created_at if row.done_at else _PROMPT
    if late > _PROMPT:
        did += f", {several(int(late.total_seconds() // 60), 'minute')} later"
    waits = moment(row.next_at, zone) if row.state == State.WAITING else ""
    return Entry(
        row.created_at,
        kind,
        f"{row.destination} {verb} {did}",
        row.state,
        [row.error] if row.error and row.state != State.DONE else [],
        known(
            ("attempts", str(row.attempts)),
            ("delivered", moment(row.done_at, zone) if row.done_at else ""),
            ("tried next", waits),
            ("message control ID", row.control_id),
            ("answer", _text(row.answer)),
        ),
        about=f"delivery:{row.id}",
    )


def _told(row: Any) -> str:
    event = row.event or ""
    return f"{event} ({_EVENTS[event]})" if event in _EVENTS else event or "news"


def _text(answer: bytes) -> str:
    """Give an answer's bytes as lines, without what a terminal would obey."""
    text = bytes(answer[:_LONGEST_ANSWER]).decode("utf-8", "replace")
    lines = text.replace("\r", "\n").splitlines()
    return "\n".join("".join(c for c in line if c.isprintable()) for line in lines).strip()


def people(conn: Connection, subject: Subject) -> list[Entry]:
    """List what people did with the order; who looked at it is the audit trail's to tell."""
    rows = [f"order:{subject.order['id']}", *(f"step:{step['id']}" for step in subject.steps)]
    statement = (
        select(_EVENT)
        .where(_EVENT.c.subject.in_(rows), _EVENT.c.action.in_([str(each) for each in _DONE]))
        .order_by(_EVENT.c.id.desc())
        .limit(_MOST)
    )
    return [
        Entry(
            row.at,
            Kind.PERSON,
            f"{row.who} {_DONE[Action(row.action)]}",
            facts=known(("step", _words(row.detail.get("step"))), *_differences(row.detail)),
        )
        for row in conn.execute(statement)
    ]


def _differences(detail: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Tell what somebody changed, where the record of it has what was there before."""
    before = detail.get("was")
    if not isinstance(before, Mapping):
        return [("it was", _words(before))]
    return [
        (name.replace("_", " "), f"{_words(was) or 'nothing'} → {_words(detail.get(name))}")
        for name, was in before.items()
    ]


def _words(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value))
    return "" if value is None else str(value)


def route(name: str, rules: Rules) -> str:
    """Tell why an order closed; what came later may be otherwise."""
    quiet = several(int(rules.quiet.total_seconds() // 60), "minute")
    return {
        Route.ARCHIVED: "every image that its scanner had listed was here",
        Route.ELSEWHERE: "it was completed, and images of it go to another archive",
        Route.QUIET: f"its images had been quiet for {quiet}, and no MPPS comes from its scanner",
        Route.HAND: "a person closed it",
    }.get(Route(name), name)


def marks(subject: Subject, rules: Rules) -> list[Entry]:
    """List what became of the order as a whole, as far as no message tells."""
    order = subject.order
    entries = []
    if order["source"] == SOURCE:
        text = "put on the worklist by hand"
        entries.append(Entry(order["created_at"], Kind.ORDER, text))
    if order["closed_at"] is not None:
        text = f"closed: {route(order['closed_by'], rules)}"
        entries.append(Entry(order["closed_at"], Kind.ORDER, text, "CLOSED"))
    if order["expired_at"] is not None:
        what = "it was" if order["status"] == OrderState.EXPIRED else "what is left of it was"
        text = f"expired: {what} never begun; scanners are not shown it any more"
        entries.append(Entry(order["expired_at"], Kind.ORDER, text, "EXPIRED"))
    if order["revived_at"] is not None:
        text = "brought back after it had expired"
        entries.append(Entry(order["revived_at"], Kind.ORDER, text))
    return entries


def steps(subject: Subject, entries: list[Entry]) -> list[Entry]:
    """Tell since when each step is what it is: beside what made it that, else by itself."""
    causes = {
        entry.at: entry
        for entry in entries
        if entry.kind in (Kind.MESSAGE, Kind.PERFORMED, Kind.PERSON)
    }
    alone = []
    for step in subject.steps:
        if step["state"] == StepState.SCHEDULED:
            continue
        text = f"step {step['sps_id']}"
        cause = causes.get(step["state_at"])
        if cause is not None:
            cause.facts.insert(0, (text, f"{step['state']} since then"))
        else:
            alone.append(Entry(step["state_at"], Kind.ORDER, text, step["state"]))
    return alone
