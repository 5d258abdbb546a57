"""Storage commitment (PS3.4 annex J): who asks for it is told what is in safe keeping.

Start reading at `rules`, what is promised and on what grounds. `requests` keeps what is
asked; `judging` finds the instances, by `lookup`, and reads their bytes again; `outcome`
leads from judged to told; `event` is what is told; `worker` is the thread that judges.
"""

from mwl.commitment.event import Report, encode
from mwl.commitment.judging import Judge
from mwl.commitment.listing import listing
from mwl.commitment.outcome import (
    Judged,
    hand_on_abandoned,
    hold,
    judged,
    let_go,
    read,
    report_again,
    reported,
    subject,
)
from mwl.commitment.requests import HOLD, Accepted, Request, accept
from mwl.commitment.rules import (
    ALL_COMMITTED,
    FAILURES_EXIST,
    MOST_ITEMS,
    REQUEST_COMMITMENT,
    STORAGE_COMMITMENT_PUSH_MODEL,
    WELL_KNOWN_INSTANCE,
    Failure,
    Reference,
    State,
    is_taken,
)
from mwl.commitment.worker import Worker

__all__ = [
    "ALL_COMMITTED",
    "FAILURES_EXIST",
    "HOLD",
    "MOST_ITEMS",
    "REQUEST_COMMITMENT",
    "STORAGE_COMMITMENT_PUSH_MODEL",
    "WELL_KNOWN_INSTANCE",
    "Accepted",
    "Failure",
    "Judge",
    "Judged",
    "Reference",
    "Report",
    "Request",
    "State",
    "Worker",
    "accept",
    "encode",
    "hand_on_abandoned",
    "hold",
    "is_taken",
    "judged",
    "let_go",
    "listing",
    "read",
    "report_again",
    "reported",
    "subject",
]
