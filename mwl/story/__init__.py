"""The story of an order: what is known of it, in the order of time, and what comes next.

Nothing is kept for it. `tell` reads what the services have written down on their own
account: messages and what they changed, what scanners were shown, what they said that they
did, images, promises, what others were told, and what people did. So it is as true as these.

Start reading at telling.py; one module gathers the entries of one kind. outlook.py says what
ends the order next, or why nothing does, by the rules that end it (`mwl.closing`).
"""

from mwl.story.entries import Entry, Kind
from mwl.story.finding import by_accession, by_step
from mwl.story.outlook import Outlook
from mwl.story.patients import PatientRecord, patient
from mwl.story.reports import Report, report
from mwl.story.telling import Story, tell

__all__ = [
    "Entry",
    "Kind",
    "Outlook",
    "PatientRecord",
    "Report",
    "Story",
    "by_accession",
    "by_step",
    "patient",
    "report",
    "tell",
]
