"""How large the journal is, and what will go, as people read it."""

from datetime import UTC, datetime

import pytest

from mwl.config import Journal
from mwl.journal import Size, outlook

SEEN = datetime(2030, 3, 1, 8, tzinfo=UTC)
SIZE = Size(1_234_567, 2 * 10**9, 10**7, SEEN, SEEN, 0, is_whole=True)
KEEP = Journal(keep_days=90, max_bytes=3 * 10**9)


def test_a_journal_is_told_of_with_what_goes_when():
    assert [*outlook(SIZE, KEEP)] == [
        "1,234,567 messages since 2030-03-01, 2.0 GB, 10 MB a day of late.",
        "Each is kept for 90 days; the next go on 2030-05-31 (UTC).",
        "All may take 3.0 GB, which is 100 days away as things go; then the oldest go.",
    ]


@pytest.mark.parametrize(
    ("changes", "keep", "said"),
    [
        ({"messages": 0, "first": None, "oldest": None}, {}, "No message is kept."),
        ({"messages": 1}, {}, "1 message since"),
        ({"is_whole": False}, {}, "At least 1,234,567 messages"),
        ({}, {"keep_days": 0}, "None goes for its age."),
        ({}, {"max_bytes": 10**9}, "All may take 1.0 GB, which is less: the oldest are going."),
        ({"daily_bytes": 0}, {}, "All may take 3.0 GB; beyond it the oldest go."),
        ({"held": 7}, {}, "7 would have gone, but something needs them"),
    ],
)
def test_what_is_otherwise_is_told_otherwise(changes, keep, said):
    values = {name: getattr(SIZE, name) for name in SIZE.__dataclass_fields__} | changes
    assert said in " ".join(outlook(Size(**values), KEEP.model_copy(update=keep)))
