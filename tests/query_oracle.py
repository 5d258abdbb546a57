"""What a query must find, worked out by looking at everything, apart from what is tested.

Instances are mappings of texts by keyword, in the order in which they were stored. An answer
is such a mapping too: the values of `TOLD` for its level.
"""

import itertools
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence

Instance = Mapping[str, str]
Keys = Mapping[str, str]

LEVELS = ("PATIENT", "STUDY", "SERIES", "IMAGE")
UNIQUE = {
    "PATIENT": "PatientID",
    "STUDY": "StudyInstanceUID",
    "SERIES": "SeriesInstanceUID",
    "IMAGE": "SOPInstanceUID",
}
OWN = {
    "PATIENT": (
        *("PatientName", "PatientID", "IssuerOfPatientID", "PatientBirthDate", "PatientSex"),
    ),
    "STUDY": (
        *("StudyInstanceUID", "AccessionNumber", "StudyID", "StudyDate", "StudyTime"),
        *("StudyDescription", "ReferringPhysicianName"),
    ),
    "SERIES": (
        *("SeriesInstanceUID", "Modality", "SeriesNumber", "SeriesDescription", "StationName"),
        *("BodyPartExamined", "SeriesDate", "SeriesTime"),
    ),
    "IMAGE": ("SOPInstanceUID", "SOPClassUID", "InstanceNumber"),
}
LISTS = {"ModalitiesInStudy": "Modality", "SOPClassesInStudy": "SOPClassUID"}
_COUNTS = {
    "NumberOfPatientRelatedStudies": ("PATIENT", "STUDY"),
    "NumberOfPatientRelatedSeries": ("PATIENT", "SERIES"),
    "NumberOfPatientRelatedInstances": ("PATIENT", "IMAGE"),
    "NumberOfStudyRelatedSeries": ("STUDY", "SERIES"),
    "NumberOfStudyRelatedInstances": ("STUDY", "IMAGE"),
    "NumberOfSeriesRelatedInstances": ("SERIES", "IMAGE"),
}


def down_to(level: str) -> tuple[str, ...]:
    """List the levels from the highest down to one."""
    return LEVELS[: LEVELS.index(level) + 1]


def told(level: str) -> tuple[str, ...]:
    """List what an answer of a level tells."""
    levels = down_to(level)
    counts = (name for name, (of, _) in _COUNTS.items() if of in levels)
    lists = LISTS if "STUDY" in levels else ()
    return (*(name for each in levels for name in OWN[each]), *lists, *counts)


def matchable(level: str, *, relational: bool = False) -> tuple[str, ...]:
    """List what a level is matched by."""
    levels = LEVELS if relational else down_to(level)
    return (
        *(name for each in levels for name in OWN[each]),
        *(LISTS if "STUDY" in levels else ()),
    )


def find(
    instances: Sequence[Instance], level: str, keys: Keys, *, combined: bool = False
) -> list[dict[str, str]]:
    """Find the rows of a level of which one instance at least meets every key."""
    keys = {name: value for name, value in keys.items() if not _is_universal(name, value)}
    found: dict[tuple[str, ...], Instance] = {}
    for each in instances:
        if level == "PATIENT" and not each["PatientID"]:
            continue
        if _meets(each, keys, instances, combined=combined):
            # A patient is shown as the newest study does that matches.
            place = _entity(each, level)
            shown = found.get(place)
            if shown is None or (level == "PATIENT" and _study(shown) != _study(each)):
                found[place] = each
    return [_told(each, level, instances) for each in found.values()]


def _study(instance: Instance) -> str:
    return instance["StudyInstanceUID"]


def _entity(instance: Instance, level: str) -> tuple[str, ...]:
    if level == "PATIENT":
        return instance["PatientID"], instance["IssuerOfPatientID"]
    return (instance[UNIQUE[level]],)


def _told(instance: Instance, level: str, instances: Sequence[Instance]) -> dict[str, str]:
    answer: dict[str, str] = {}
    for name in told(level):
        if name in _COUNTS:
            above, below = _COUNTS[name]
            same = _entity(instance, above)
            inside = {_entity(each, below) for each in instances if _entity(each, above) == same}
            answer[name] = str(len(inside))
        elif name in LISTS:
            answer[name] = "\\".join(sorted(_listed(instance, name, instances)))
        else:
            answer[name] = instance[name]
    return answer


def _listed(instance: Instance, name: str, instances: Sequence[Instance]) -> set[str]:
    values = (each[LISTS[name]] for each in instances if _study(each) == _study(instance))
    return {value for value in values if value}


def _meets(
    instance: Instance, keys: Keys, instances: Sequence[Instance], *, combined: bool
) -> bool:
    apart = dict(keys)
    for of in ("Study", "Series"):
        date, time = apart.get(f"{of}Date", ""), apart.get(f"{of}Time", "")
        if combined and "-" in date and "-" in time:
            del apart[f"{of}Date"], apart[f"{of}Time"]
            if not _is_between(date, time, instance[f"{of}Date"], instance[f"{of}Time"]):
                return False
    for name, key in apart.items():
        if name in LISTS:
            values: Iterable[str] = _listed(instance, name, instances)
        else:
            values = (instance[name],)
        if not any(matches(name, key, value) for value in values):
            return False
    return True


# --- attribute matching


def _is_universal(name: str, key: str) -> bool:
    if name.endswith(("Date", "Time")):
        return key in ("", "*", "-")
    return not key.strip("*\\") or "*" in key.split("\\")


def matches(name: str, key: str, value: str) -> bool:
    """Tell whether a value matches a key, which isn't universal."""
    if not value:
        return False
    if name.endswith("Date"):
        low, high = _ends(key)
        return (low or "0") <= value <= (high or "9")
    if name.endswith("Time"):
        low, high = _ends(key)
        return _filled(low, "0") <= _filled(value, "0") <= _filled(high, "9")
    choices = key.split("\\")
    if name.endswith("Name") and name != "StationName":
        return any(_is_name(choice, value) for choice in choices)
    if name.endswith("UID") or name == "SOPClassesInStudy":
        return value in choices
    return any(_like(choice, value) for choice in choices)


def _ends(key: str) -> tuple[str, str]:
    low, dash, high = key.partition("-")
    return (low, high) if dash else (key, key)


def _filled(time: str, digit: str) -> str:
    """Make six digits: the earliest, or the latest, moment that a time may mean."""
    latest = "235959"
    digits = time.partition(".")[0]
    return digits + ("000000" if digit == "0" else latest)[len(digits) :]


def _is_between(dates: str, times: str, date: str, time: str) -> bool:
    if not date or not time:
        return False
    (first, last), (begin, end) = _ends(dates), _ends(times)
    low = (first or "00000000") + (_filled(begin, "0") if first else "000000")
    high = (last or "99999999") + (_filled(end, "9") if last else "999999")
    return low <= date + _filled(time, "0") <= high


def _like(pattern: str, value: str) -> bool:
    parts = {"*": ".*", "?": "."}
    regex = "".join(parts.get(each, re.escape(each)) for each in pattern)
    return re.fullmatch(regex, value, re.DOTALL) is not None


def _is_name(key: str, value: str) -> bool:
    """Compare groups without regard to case; a name has as many empty components as one likes."""
    asked_groups, groups = (_folded(each).split("=") for each in (key, value))
    for each in itertools.product(asked_groups, groups):
        asked, group = (part.rstrip("^") for part in each)
        if asked and group and any(_like(asked, group + "^" * more) for more in range(5)):
            return True
    return False


def _folded(text: str) -> str:
    """Fold case and accents; no other mark than those is in what is asked."""
    letters = unicodedata.normalize("NFD", text.casefold())
    return "".join(each for each in letters if not "\u0300" <= each <= "\u036f")
