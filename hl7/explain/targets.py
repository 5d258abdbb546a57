"""What a message became, value by value: the changes of the mapping, laid out flat."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from datetime import datetime
from enum import Enum
from typing import Any, NamedTuple

from hl7.explain.attributes import Attribute, attribute
from mwl.patients import Identifier
from mwl.worklist.demographics import issuer_text
from mwl.worklist.kept import told

LONGEST = 512  # characters of a value
_MOST = 5_000  # values
_KINDS = {"PatientMerge": "merge"}
# What only the program needs: keys of its own, what is told elsewhere.
_INNER = frozenset(
    {
        *("flags", "where", "key", "snapshot", "study_uid_policy", "source", "control", "number"),
        *("is_only", "is_appointment", "defers", "occurrences", "control_id", "content_hash"),
        *("policy", "unknown_names", "shortened", "renumbers"),
    }
)
_NAMES = {
    ("patient", "id"): "patient_id",
    ("patient", "others"): "other_ids",
    ("order", "placer"): "placer_number",
    ("order", "filler"): "filler_number",
}


class Target(NamedTuple):
    """A value that a message gave. `at` tells it from others of its name; None deletes."""

    at: str  # orders[1].procedures[0].steps[0].modality
    kind: str  # patient, order, procedure, step, …
    column: str
    value: str | None

    @property
    def attribute(self) -> Attribute:
        return attribute(self.kind, self.column)


def targets(changes: Sequence[Any]) -> dict[str, Target]:
    """Lay out what changes state, by where it stands."""
    found: dict[str, Target] = {}
    for number, change in enumerate(changes):
        for target in _of(f"change[{number}]", _kind(change), change):
            found[target.at] = target
            if len(found) >= _MOST:
                return found
    return found


def _kind(change: Any) -> str:
    name = type(change).__name__
    return _KINDS.get(name) or name.removesuffix("Change").removesuffix("Update").lower()


def _of(at: str, kind: str, record: Any) -> Iterator[Target]:
    for field in fields(record):
        if field.name not in _INNER:
            yield from _value(f"{at}.{field.name}", kind, field.name, getattr(record, field.name))


def _value(at: str, kind: str, name: str, value: Any) -> Iterator[Target]:
    if isinstance(value, Mapping):
        for key, each in value.items():
            yield from _value(f"{at}.{key}", kind, str(key), _Stated(each))
    elif isinstance(value, _Stated) and isinstance(value.value, Mapping):
        yield from _value(at, kind, name, value.value)
    elif isinstance(value, _Stated) and value.value != "":
        yield Target(at, kind, name, None if value.value is None else text_of(value.value))
    elif is_dataclass(value) and not isinstance(value, Identifier | type):
        yield from _of(at, _kind(value), value)
    elif isinstance(value, list) and value and is_dataclass(value[0]):
        for number, each in enumerate(value):
            yield from _of(f"{at}[{number}]", _kind(each), each)
    elif (
        value is not False
        and value != _Stated("")
        and value not in (None, "", [], ())
        and (text := text_of(value))
    ):
        yield Target(at, kind, _NAMES.get((kind, name), name), text)


class _Stated(NamedTuple):
    """A column that a message states, be it to delete it."""

    value: Any


def text_of(value: Any) -> str:
    """Write a value for people, bounded."""
    if isinstance(value, Identifier):
        issuer = issuer_text(value)
        text = f"{value.id} ({issuer})" if issuer else value.id
    elif isinstance(value, datetime):
        text = value.isoformat(" ", "seconds")
    elif isinstance(value, Enum):
        text = str(value.value)
    elif isinstance(value, bytes):
        text = f"{len(value)} bytes"
    elif isinstance(value, tuple | list):
        text = ", ".join(text_of(each[0] if isinstance(each, tuple) else each) for each in value)
    else:
        text = told(str(value))
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"
