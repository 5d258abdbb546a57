"""Hold data sets against the tables of an information model: what is wrong, by attribute.

An independent reading of the standard: types (PS3.5 7.4), value representations and
multiplicity (PS3.5 6.2, PS3.6), values that are enumerated, and what one attribute requires of
another. The validators at hand know images; neither a worklist's answer nor MPPS.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date
from typing import Any

from pydicom.datadict import dictionary_VM, dictionary_VR
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset

from tests.worklist_model import Row

_LINE = r"[^\x00-\x1a\x1c-\x1f\x7f\\]"
_LINES = r"[^\x00-\x08\x0b\x0e-\x1a\x1c-\x1f\x7f]"
_FORMS = {
    "AE": rf"(?! +$){_LINE}{{1,16}}",
    "AS": r"\d{3}[DWMY]",
    "CS": r"[A-Z0-9 _]{1,16}",
    "DA": r"\d{8}",
    "DS": r"(?=.{1,16}$) *[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)? *",
    "IS": r"(?=.{1,12}$) *[+-]?\d+ *",
    "LO": rf"{_LINE}{{1,64}}",
    "LT": rf"{_LINES}{{1,10240}}",
    "PN": r"[^\x00-\x1a\x1c-\x1f\x7f\\]+",
    "SH": rf"{_LINE}{{1,16}}",
    "ST": rf"{_LINES}{{1,1024}}",
    "TM": r"([01]\d|2[0-3])([0-5]\d(([0-5]\d|60)(\.\d{1,6})?)?)?",
    "UI": r"(?=.{1,64}$)(0|[1-9]\d*)(\.(0|[1-9]\d*))*",
    "US": r"\d+",
    "UT": rf"{_LINES}+",
}
_COMPILED = {vr: re.compile(form) for vr, form in _FORMS.items()}
_OF_GROUP = 64  # characters of a PN's component group
_COMPONENTS, _GROUPS = 5, 3

ENUMERATED: Mapping[str, frozenset[str]] = {
    name: frozenset(values.split("|"))
    for name, values in {
        "PatientSex": "M|F|O",
        "PregnancyStatus": "1|2|3|4",
        "TypeOfPatientID": "TEXT|RFID|BARCODE",
        "UniversalEntityIDType": "DNS|EUI64|ISO|URI|UUID|X400|X500",
        "RequestedProcedurePriority": "STAT|HIGH|ROUTINE|MEDIUM|LOW",
        "ScheduledProcedureStepStatus": "SCHEDULED|ARRIVED|READY|STARTED|DEPARTED"
        "|COMPLETED|DISCONTINUED|CANCELED",
        "VisitStatusID": "CREATED|SCHEDULED|ADMITTED|DISCHARGED",
        "PerformedProcedureStepStatus": "IN PROGRESS|DISCONTINUED|COMPLETED",
        "SmokingStatus": "YES|NO|UNKNOWN",
        "PatientSexNeutered": "ALTERED|UNALTERED",
    }.items()
}


def _lacks(*keywords: str) -> Callable[[Dataset], bool]:
    return lambda item: not any(_has(item, keyword) for keyword in keywords)


def _is(keyword: str, value: str) -> Callable[[Dataset], bool]:
    return lambda item: item.get(keyword) == value


# Of type 1C: what has to hold for it to be required.
CONDITIONS: Mapping[str, Callable[[Dataset], bool]] = {
    "CodeValue": _lacks("LongCodeValue", "URNCodeValue"),
    "CodingSchemeDesignator": lambda item: _has(item, "CodeValue"),
    "InstitutionName": _lacks("InstitutionCodeSequence"),
    "LocalNamespaceEntityID": _lacks("UniversalEntityID"),
    "UniversalEntityID": _lacks("LocalNamespaceEntityID"),
    "UniversalEntityIDType": lambda item: _has(item, "UniversalEntityID"),
    "ScheduledProcedureStepDescription": _lacks("ScheduledProtocolCodeSequence"),
    "ScheduledProtocolCodeSequence": _lacks("ScheduledProcedureStepDescription"),
    "RequestedProcedureDescription": _lacks("RequestedProcedureCodeSequence"),
    "RequestedProcedureCodeSequence": _lacks("RequestedProcedureDescription"),
    "TextValue": _is("ValueType", "TEXT"),
    "ConceptCodeSequence": _is("ValueType", "CODE"),
}


def faults(dataset: Dataset, model: Sequence[Row]) -> list[str]:
    """Tell what is wrong with a data set in which everything of a model was asked for."""
    return [*_missing(dataset, model, ()), *_malformed(dataset)]


def _missing(item: Dataset, model: Sequence[Row], above: tuple[str, ...]) -> Iterator[str]:
    for row in model:
        if row.path[:-1] != above:
            continue
        where = ".".join(row.path)
        if row.type in ("1", "2") and row.keyword not in item:
            yield f"{where} is missing"
        elif row.type == "1" and not _has(item, row.keyword):
            yield f"{where} has no value"
        elif row.type == "1C" and not _has(item, row.keyword):
            required = CONDITIONS.get(row.keyword)
            if required is not None and required(item):
                yield f"{where} is required here"
        if row.tag in item and item[row.tag].VR == "SQ":
            for inner in item[row.tag].value:
                yield from _missing(inner, model, row.path)


def _has(item: Dataset, keyword: str) -> bool:
    return keyword in item and not item[keyword].is_empty


def _malformed(item: Dataset, above: str = "") -> Iterator[str]:
    last = -1
    for element in item:
        where = f"{above}{element.keyword or element.tag}"
        if element.tag <= last:
            yield f"{where} is out of order"
        last = element.tag
        if element.tag.is_private:
            continue
        if element.VR not in dictionary_VR(element.tag).split(" or "):
            yield f"{where} has VR {element.VR}"
        elif element.VR == "SQ":
            for inner in element.value:
                yield from _malformed(inner, f"{where}.")
        elif not element.is_empty:
            yield from (f"{where}: {text}" for text in _of_value(element))


def _of_value(element: DataElement) -> Iterator[str]:
    values = list(element.value) if element.VM > 1 else [element.value]
    if len(values) > 1 and dictionary_VM(element.tag) == "1":
        yield f"{len(values)} values"
    for value in map(_text, values):
        if not _COMPILED[element.VR].fullmatch(value) or not _is_sound(element.VR, value):
            yield f"no {element.VR}: {value!r}"
        elif value.strip() not in ENUMERATED.get(element.keyword, (value.strip(),)):
            yield f"no value of it: {value}"


def _text(value: Any) -> str:
    return str(value).rstrip(" ")


def _is_sound(vr: str, value: str) -> bool:
    """Check what a pattern doesn't."""
    if vr == "DA":
        try:
            return bool(date.fromisoformat(value))
        except ValueError:
            return False
    if vr == "PN":
        groups = value.split("=")
        return len(groups) <= _GROUPS and all(
            len(group) <= _OF_GROUP and group.count("^") < _COMPONENTS for group in groups
        )
    return True
