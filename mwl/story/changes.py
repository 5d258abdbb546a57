"""What a message changed (`mwl.worklist.changed`), in words."""

from collections.abc import Iterator, Mapping
from typing import Any

from mwl.story.entries import local
from mwl.worklist.changed import CREATED

_MOMENTS = frozenset({"start_local", "birth_date"})
_LABELS = {
    "start_local": "start",
    "station_ae_titles": "stations",
    "sps_id": "step ID",
    "birth_date": "birth date",
    "patient_name": "name",
    "other_ids": "other identifiers",
    "patient_size": "size",
    "patient_weight": "weight",
    "code_value": "code",
    "study_instance_uid": "Study Instance UID",
    "closed_by": "closed by",
    "merged_into": "merged into",
}


def label(column: str) -> str:
    """Write the name of a column for people."""
    return _LABELS.get(column, column.replace("_", " "))


def about(changes: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    """Keep the changes of rows that have a name here."""
    return {row: found for row, found in changes.items() if row in names}


def summary(changes: Mapping[str, Any], names: Mapping[str, str]) -> str:
    """Tell in a few words what changed: "new order", "changed start of step SPS1"; or ""."""
    parts = []
    for row, found in _ordered(changes):
        name = names[row]
        if found == CREATED:
            parts.append(f"new {name}")
        elif "merged_into" in found:
            parts.append(f"{name} merged into this one")
        elif "state" in found:
            parts.append(f"{name} {found['state'][1]}")
        elif row.startswith("order:") and set(found) <= {"status", "closed_by"}:
            continue  # follows from its steps
        else:
            parts.append(f"changed {', '.join(map(label, found))} of {name}")
    return "; ".join(parts)


def facts(changes: Mapping[str, Any], names: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Give each change as a label and "before → after"."""
    for row, found in _ordered(changes):
        if found == CREATED:
            yield names[row], "new"
            continue
        for column, (before, after) in found.items():
            if column == "merged_into":
                yield names[row], "merged into this patient"
                continue
            told = f"{_shown(column, before)} → {_shown(column, after)}"
            yield f"{names[row]}, {label(column)}", told


# As a person asks: what of the order, then what of the patient.
_TABLES = ("order", "procedure", "step", "patient", "report")


def _ordered(changes: Mapping[str, Any]) -> list[tuple[str, Any]]:
    def key(item: tuple[str, Any]) -> tuple[int, int]:
        table, _, number = item[0].partition(":")
        return _TABLES.index(table), int(number)

    return sorted(changes.items(), key=key)


def _shown(column: str, value: Any) -> str:
    if value is None or value == "":
        return "nothing"
    if isinstance(value, bool):
        return "yes" if value else "no"
    text = str(value)
    return local(text) if column in _MOMENTS else text
