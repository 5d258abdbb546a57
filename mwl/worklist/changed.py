"""What a message changed, row by row, for people to read later.

    {"order:12": "created", "step:17": {"start_local": ["20300102093000", "20300102140000"]}}

Only what differs is kept, before and after. Of a new row it is kept that it is new and no
more: what it was made of is in the message. The first message of an order stands for the
procedures and steps that it brought. Marks and keys that follow from other columns are left
out, as are instants that another column tells.
"""

from collections.abc import Mapping
from typing import Any

from mwl.worklist.kept import told

CREATED = "created"

Changes = dict[str, Any]

_LONGEST = 256  # characters of a value: what is longer is in the message
DERIVED = frozenset(
    {
        *("id", "created_at", "updated_at", "state_at", "applied_at", "start_at", "check_at"),
        *("closed_at", "expired_at", "revived_at", "visits", "visit_at", "stated_patient"),
        "profile",
        *("flags", "name_key", "issuer_key", "performing_physician_key"),
        *("name_words", "performing_physician_words"),
    }
)


def note(changes: Changes, table: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> None:
    """Note how a row, told by its `id`, differs now from what it was."""
    found = {
        name: [kept(before[name]), kept(value)]
        for name, value in after.items()
        if name not in DERIVED and before[name] != value
    }
    if found:
        join(changes, {f"{table}:{before['id']}": found})


def note_new(changes: Changes, table: str, row: int) -> None:
    """Note that a row is new."""
    changes[f"{table}:{row}"] = CREATED


def join(changes: Changes, later: Changes) -> None:
    """Add what changed later, of which the same rows may be part."""
    for row, found in later.items():
        known: Any = changes.setdefault(row, found)
        if known is found or CREATED in (known, found):
            continue
        for name, (old, new) in found.items():
            known[name] = [known[name][0] if name in known else old, new]


def kept(value: Any) -> Any:
    """Give a column's value as it is kept: a short text, a number, yes or no."""
    if value is None or isinstance(value, (bool, int)):
        return value
    if isinstance(value, list):
        value = ", ".join(
            str(each[0] if isinstance(each, list) and each else each) for each in value
        )
    text = told(str(value))
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
