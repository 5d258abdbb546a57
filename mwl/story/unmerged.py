"""Merges of the order's patient that a person has taken back."""

from zoneinfo import ZoneInfo

from sqlmodel import Session

from mwl.story.entries import Entry, Kind, known
from mwl.story.subjects import Subject
from mwl.worklist import patients
from mwl.worklist.merging import SUPERSEDED


def gather(session: Session, subject: Subject, zone: ZoneInfo) -> list[Entry]:
    """List them since the order came, each with by whom it was made, and when."""
    since = subject.order["created_at"]
    return [
        Entry(
            row.ended_at,
            Kind.PERSON,
            f"{row.ended_by} took back the merge of patient {row.loser_id} into {row.survivor_id}",
            facts=known(
                ("merged by", row.source),
                ("message control ID", row.control_id),
                ("in force since", f"{row.applied_at.astimezone(zone):%Y-%m-%d %H:%M:%S}"),
            ),
        )
        for row in patients.merges(session, subject.patients)
        if row.ended_at is not None and row.ended_by != SUPERSEDED and row.ended_at >= since
    ]
