"""Reports of the examination that came: each version of each."""

from sqlmodel import Session

from mwl import reports
from mwl.reports import Status
from mwl.story.entries import Entry, Kind, known
from mwl.story.subjects import Subject


def gather(session: Session, subject: Subject) -> list[Entry]:
    """List the versions of the order's reports; what messages say of them gets a name."""
    entries = []
    for row in reports.of_order(session, subject.order["id"]):
        subject.names[f"report:{row.id}"] = "report"
        what = "withdrew a report" if row.status == Status.CANCELED else "reported"
        title = f": {row.title}" if row.title else ""
        entries.append(
            Entry(
                row.received_at,
                Kind.REPORT,
                f"{row.source or 'a sender'} {what}{title}",
                row.status,
                list(row.flags),
                known(
                    ("linked by", row.linked_by),
                    ("number", row.number),
                    ("now", "superseded by a later version" if row.superseded_by else ""),
                ),
                about=f"report:{row.id}",
            )
        )
    return entries
