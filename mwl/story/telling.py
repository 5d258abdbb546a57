"""Tell the story of one order."""

from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

from sqlmodel import Session

from mwl import config
from mwl.closing.choices import rules_of
from mwl.story import (
    consequences,
    findings,
    images,
    messages,
    outlook,
    reports,
    subjects,
    unmerged,
)
from mwl.story.entries import Entry, in_order
from mwl.story.outlook import Outlook
from mwl.story.subjects import Subject


@dataclass(frozen=True, slots=True)
class Story:
    """An order as it is on file, what comes next, and what happened."""

    subject: Subject
    outlook: Outlook
    entries: list[Entry]


def tell(
    session: Session, order: int, close: config.Close, *, now: datetime, zone: ZoneInfo
) -> Story | None:
    """Tell the story of the order in row `order`; None: there is no such order.

    `close` are the site's rules. Texts hold times in `zone`, the site's. What a story may
    have very many of is bounded: the last few hundred of each kind are told.
    """
    conn = session.connection()
    subject = subjects.read(conn, order)
    if subject is None:
        return None
    rules = rules_of(close, subject.order["profile"])
    entries = [
        *findings.gather(session, subject),
        *messages.gather(conn, subject),
        *unmerged.gather(session, subject, zone),
        *reports.shown(session, subject, zone),
        *reports.performed(conn, subject),
        *images.gather(conn, subject, zone),
        *consequences.deliveries(conn, subject, zone),
        *consequences.people(conn, subject),
        *consequences.marks(subject, rules),
    ]
    entries += consequences.steps(subject, entries)
    ahead = outlook.look(conn, subject, close, now, zone)
    return Story(subject, ahead, in_order(entries))
