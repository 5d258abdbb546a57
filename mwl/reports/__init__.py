"""Reports of examinations that others sent: kept by version, linked with their orders, shown.

Start reading at receiving.py. A report is kept whatever is known of its patient and order:
linking.py looks for them at once, late.py again for those whose order comes later. reading.py is
what pages and programs see.
"""

from mwl.reports.late import link_late
from mwl.reports.reading import (
    Found,
    Wanted,
    document,
    documents,
    of_order,
    of_patient,
    one,
    search,
)
from mwl.reports.receiving import receive
from mwl.reports.values import Kind, Part, ReportChange, Status

__all__ = [
    "Found",
    "Kind",
    "Part",
    "ReportChange",
    "Status",
    "Wanted",
    "document",
    "documents",
    "link_late",
    "of_order",
    "of_patient",
    "one",
    "receive",
    "search",
]
