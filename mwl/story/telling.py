"""Tell the story of one order."""

from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

from sqlmodel import Session

from mwl import config, sightings
from mwl.closing.choices import rules_of
from mwl.story import (
    consequences,
    findings,
    images,
    messages,
    outlook,
    reports,
    stale,
    subjects,
    unmerged,
)
from mwl.story.entries import Entry, in_order
from mwl.story.outlook import Outlook
from mwl.story.subjects import Subject

_MOST_SIGHTS = 200  # of steps, by scanners


@dataclass(frozen=True, slots=True)
class Story:
    """An order as it is on file, what comes next, and what happened.

    `warnings` tell of scanners that hold an old copy of it.
    """

    subject: Subject
    outlook: Outlook
    entries: list[Entry]
    warnings: list[str]


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
    came = messages.read(conn, subject)
    sights = sightings.of_order(session, order)[:_MOST_SIGHTS]
    entries = [
        *findings.gather(session, subject),
        *messages.entries(came, subject),
        *unmerged.gather(session, subject, zone),
        *reports.shown(sights, zone),
        *reports.performed(conn, subject),
        *images.gather(conn, subject, zone),
        *consequences.deliveries(conn, subject, zone),
        *consequences.people(conn, subject),
        *consequences.marks(subject, rules),
    ]
    entries += consequences.steps(subject, entries)
    ahead = outlook.look(conn, subject, close, now, zone)
    old = stale.warnings(conn, subject, sights, came, zone)
    return Story(subject, ahead, in_order(entries), old)
