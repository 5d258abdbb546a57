"""How attributes that have no column are kept, and sequences, which no column could hold.

`scheduled_step.attributes` is a text by name.

The name is the attribute's keyword (PS3.6); a private attribute is named by its group, its
creator and its number in the creator's block (PS3.5 7.8), for the block may be another in
every data set. What belongs in the item of the Scheduled Procedure Step Sequence, and not at
the top of an answer, is named under that.

A sequence is a text, too: its items as JSON, by keyword, with the items of what is nested in
them. Where somebody states one attribute of a sequence's only item, that is named under it.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

STEP: Final = "ScheduledProcedureStepSequence."

_CODE: Final = ("CodeValue", "CodingSchemeDesignator", "CodeMeaning")

Item = Mapping[str, "str | Sequence[Item]"]
"""An item of a sequence: by keyword a text, or the items of a sequence inside."""


def private(group: int, element: int, creator: str) -> str:
    """Name a private attribute; `element` is its number in the creator's block, 0 to 255."""
    return f"{group:04X},xx{element & 0xFF:02X} {creator}"


# What says more of a column, and nothing of another value of it.
BESIDE: Final = {
    "referring_physician": "referring_physician_id",
    "requesting_physician": "requesting_physician_id",
    "performing_physician": "performing_physician_id",
    "code_value": "code_items",
    "protocol_value": "protocol_items",
}


def with_beside(stated: dict[str, Any]) -> dict[str, Any]:
    """Take away what says more of a former value, where only a new value is stated."""
    for name, beside in BESIDE.items():
        if name in stated and beside not in stated:
            stated[beside] = ""
    return stated


def stated_over(kept: Mapping[str, str], stated: Mapping[str, str | None]) -> dict[str, str]:
    """Lay what a message states over what is kept: None takes away."""
    new = {**kept, **stated}
    return {name: value for name, value in new.items() if value}


def written(items: Sequence[Item]) -> str:
    """Write the items of a sequence; "" for none."""
    return json.dumps(items, ensure_ascii=False, separators=(",", ":")) if items else ""


def told(text: str) -> str:
    """Tell of a text for people: of items what their codes are and mean."""
    if not text.startswith('[{"'):
        return text
    try:
        found = [_told(item) for item in json.loads(text)]
    except (ValueError, AttributeError, TypeError):  # somebody's comment, that begins so
        return text
    return ", ".join(dict.fromkeys(filter(None, found))) or text


def _told(item: Item) -> str:
    people = item.get("PersonIdentificationCodeSequence")
    if isinstance(people, list) and people:
        return _told(people[0])
    value, scheme, meaning = (item.get(name, "") for name in _CODE)
    return f"{meaning} ({value}, {scheme})" if value else ""


def code(value: str, scheme: str, meaning: str, version: str = "") -> Item:
    """Make an item of a code sequence (PS3.3 table 8.8-1a)."""
    item = dict(zip(_CODE, (value, scheme, meaning), strict=True))
    return {**item, "CodingSchemeVersion": version} if version else item


def person(identifier: str, scheme: str, name: str, institution: str) -> Item:
    """Make an item that identifies a person (PS3.3 table 10-1); its code means their name."""
    return {
        "PersonIdentificationCodeSequence": [code(identifier, scheme, name)],
        "InstitutionName": institution,
    }
