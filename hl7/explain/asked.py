"""Which places of a message a profile asks for, and for what: read from the profile itself.

A profile is walked as it is, whatever tables it has: every place in it is asked for, under
the keys that lead there (`step.start`). So nothing here has to know what a profile can say.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from pydantic import BaseModel

from hl7.er7 import Path, path
from hl7.profile import Profile

# Tables of a profile that the file doesn't name.
_UNWRITTEN = frozenset({"columns"})
# What is read whatever the profile: where, and what for.
_ALWAYS = (
    ("MSH-3", "sender"),
    ("MSH-4", "sender"),
    ("MSH-7", "when it was sent"),
    ("MSH-9", "events"),
    ("MSH-10", "control ID"),
    ("MSH-11", "message.processing_ids"),
    ("MSH-12", "version of the answer"),
    ("MSH-18", "character set"),
    ("ORC-1", "control"),
    ("ORC-5", "control"),
)
_OBSERVED = ("OBX-3", "OBX-5", "OBX-6")


class Asked(NamedTuple):
    """A place that is asked for: the keys it stands under in the profile, and which it is."""

    key: str
    place: Path


def asked(profile: Profile) -> list[Asked]:
    """List the places of a profile, in its order, and those that every profile reads."""
    found = [Asked(key, path(place)) for place, key in _ALWAYS]
    if profile.observations:
        found += [Asked("observations", path(place)) for place in _OBSERVED]
    return [*found, *dict.fromkeys(each for each in _walk("", profile) if each.place.field)]


def constants(profile: Profile) -> set[str]:
    """List the keys under which a profile has a constant, for where nothing is said."""
    return {each.key for each in _walk("", profile) if not each.place.field}


def _walk(key: str, value: Any) -> Iterator[Asked]:
    if isinstance(value, Path):
        yield Asked(key, value)
    elif isinstance(value, BaseModel):
        for name in type(value).model_fields:
            yield from _walk(_below(key, name), getattr(value, name))
    elif isinstance(value, Mapping):
        for name, each in value.items():
            if isinstance(name, Path):
                yield Asked(key, name)
            yield from _walk(_below(key, str(name)), each)
    elif isinstance(value, Sequence) and not isinstance(value, str | bytes):
        for each in value:
            yield from _walk(key, each)
        # A link of a chain may have conditions, which name places as well.
        if conditions := getattr(value, "when", ()):
            yield from _walk(f"{key}.when", conditions)


def _below(key: str, name: str) -> str:
    return key if name in _UNWRITTEN else f"{key}.{name}".lstrip(".")
