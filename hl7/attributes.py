"""A profile's `[attributes]`: fields of a message that become DICOM attributes of its own.

For what no column is there: Z segments above all. By keyword (`SpecialNeeds`), by tag
(`"0038,0050"`), or, for a private attribute, by group, element and creator
(`"0029,xx10 ACME 1.0"`). A code sequence takes every code of a field, one that identifies
persons every person; of other sequences an attribute of the only item is named with them
(`"ReferencedPatientSequence.ReferencedSOPInstanceUID"`). What stands in `[attributes.step]` is
answered in the item of the Scheduled Procedure Step Sequence, the rest at the top (PS3.4 table
K.6-1: the requested procedure, the imaging service request, the visit and the patient).
"""

import re
from typing import Annotated, Any, Final, NamedTuple, Self

from pydantic import Field, model_validator

from hl7.chains import Chain
from hl7.profile_base import ChainKey, Misplaced, Table
from mwl.worklist import kept

# PS3.5 table 6.2-1: characters that a VR holds; those that are texts.
LENGTHS: Final = {
    "AE": 16,
    "AS": 4,
    "CS": 16,
    "DA": 8,
    "DS": 16,
    "IS": 12,
    "LO": 64,
    "LT": 10_240,
    "PN": 64,
    "SH": 16,
    "SQ": 64,  # of what an item of it holds
    "ST": 1024,
    "TM": 14,
    "UI": 64,
    "UC": 10_240,
    "UT": 10_240,
}
_PRIVATE_VR: Final = "LO"
_TAG = re.compile(r"\(?([0-9A-Fa-f]{4}),([0-9A-Fa-f]{4})\)?")
_PRIVATE = re.compile(r"\(?([0-9A-Fa-f]{4}),[xX]{2}([0-9A-Fa-f]{2})\)? +([ -\[\]-~]{1,64})")
# Sequences that a field can fill: of codes, and of who persons are.
_OF_A_FIELD = ("CodeSequence", "IdentificationSequence")
_MOST = 100


class Target(NamedTuple):
    """An attribute that a profile fills: what it is kept by, and what it can hold."""

    key: str
    vr: str
    chain: Chain

    @property
    def length(self) -> int:
        """How many characters it holds."""
        return LENGTHS[self.vr]


_Chains = Annotated[dict[str, ChainKey], Field(max_length=_MOST)]


def _apart(table: Any) -> Any:
    if not isinstance(table, dict):
        return table
    top = {key: value for key, value in table.items() if key != "step"}
    return {"top": top, "step": table.get("step", {})}


class AttributesTable(Table):
    """What a profile keeps beside the columns, by attribute."""

    top: _Chains = Field(default_factory=dict)
    step: _Chains = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _levels(cls, table: Any) -> Any:
        return _apart(table)

    @model_validator(mode="after")
    def _exist(self) -> Self:
        self.targets()
        return self

    def targets(self) -> list[Target]:
        """Give every attribute, those of the step's item under its sequence."""
        levels = ((self.top, "", ()), (self.step, kept.STEP, ("step",)))
        return [
            _target(name, chain, prefix, place)
            for chains, prefix, place in levels
            for name, chain in chains.items()
        ]


def _target(name: str, chain: Chain, prefix: str, place: tuple[str, ...]) -> Target:
    if found := _PRIVATE.fullmatch(name):
        group = int(found[1], 16)
        if not group & 1 or group < 9:
            raise Misplaced((*place, name), "a private attribute is of an odd group from 0009 on")
        key = kept.private(group, int(found[2], 16), found[3].strip())
        return Target(prefix + key, _PRIVATE_VR, chain)
    *sequences, last = name.split(".")
    above = [_known(each, (*place, name), in_item=n > 0) for n, each in enumerate(sequences)]
    if any(vr != "SQ" for _, vr in above):
        raise Misplaced((*place, name), "names what is no sequence before a point")
    keyword, vr = _known(last, (*place, name), in_item=bool(sequences))
    if vr == "SQ" and not keyword.endswith(_OF_A_FIELD):
        text = "is a sequence that no field has: name an attribute of its item with it"
        raise Misplaced((*place, name), text)
    if vr == "SQ" and not all(link.is_plain for link in chain):
        text = "takes places alone: it reads every repetition"
        raise Misplaced((*place, name), text)
    return Target(prefix + ".".join([*(each for each, _ in above), keyword]), vr, chain)


def _known(name: str, place: tuple[str, ...], *, in_item: bool = False) -> tuple[str, str]:
    """Find keyword and VR of an attribute of the standard; in an item none has a column."""
    from pydicom.datadict import dictionary_VR, keyword_for_tag, tag_for_keyword

    found = _TAG.fullmatch(name)
    tag = int(found[1] + found[2], 16) if found else tag_for_keyword(name)
    keyword = keyword_for_tag(tag) if tag else ""
    if not keyword or tag is None:
        raise Misplaced(place, "is no attribute of the standard (PS3.6)")
    if not in_item and (column := _column(tag)):
        raise Misplaced(place, f"has a column of its own: write it as {column}")
    vr = dictionary_VR(tag)
    if vr not in LENGTHS or tag >> 16 < 8:
        raise Misplaced(place, f"is no text that a message could state (VR {vr})")
    return keyword, vr


def _column(tag: int) -> str:
    from hl7.explain.attributes import COLUMNS, attribute

    written = f"({tag >> 16:04X},{tag & 0xFFFF:04X})"
    for table, known in COLUMNS.items():
        for name in known:
            if attribute(table, name).tag.upper() == written:
                return f"[{table}] {name}"
    return _ELSEWHERE.get(tag, "")


# Attributes that come of more than one key, or of none.
_ELSEWHERE: Final = {
    0x00080051: "[procedure] accession_number",
    0x00080096: "[order] referring_physician",
    0x00100021: "[patient_identifier]",
    0x00100024: "[patient_identifier]",
    0x00101002: "[patient_identifier]",
    0x00321031: "[order] requesting_physician",
    0x00380014: "[order] admission_id",
    0x0040000B: "[step] performing_physician",
    0x00400026: "[order] placer",
    0x00400027: "[order] filler",
    0x00402004: "[order] issued",
    0x00402005: "[order] issued",
    0x00100020: "[patient_identifier]",
    0x00080060: "[step] modality",
    0x0020000D: "[procedure] study_uid",
    0x00401001: "[procedure] requested_procedure_id",
    0x00400009: "[step] sps_id",
    0x00400001: "[step] stations",
    0x00400002: "[step] start",
    0x00400003: "[step] start",
    0x00400020: "[control]",
    0x00402016: "[order] placer",
    0x00402017: "[order] filler",
}
