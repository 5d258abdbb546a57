"""Which columns an HL7 message can fill, and what their DICOM attributes can hold.

A profile says *where* a value stands in a site's messages; *what* it is stands here,
because it follows from the attribute (PS3.6: LO 64 characters, SH 16, PN 64 a group,
LT 10,240) and not from the site.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum, auto

SH, LO, PN, LT = 16, 64, 64, 10_240


class Kind(Enum):
    """How a field becomes a value."""

    TEXT = auto()  # one line, shortened visibly
    TEXTS = auto()  # every segment of that name: values separated by "\"
    NOTES = auto()  # every NTE of the place: lines
    NAME = auto()  # XPN → PN
    PERSON = auto()  # XCN, or NDL whose first component is a CNN → PN, and who that is
    PERSONS = auto()  # every repetition of the same → PN separated by "\"
    IDENTITIES = auto()  # every repetition of the same → items that identify persons
    DATE = auto()  # DTM → DA
    TIME = auto()  # DTM or TM → TM
    CODED = auto()  # through a table of the profile
    WORD = auto()  # one line as it is, or, flagged, not at all
    MARK = auto()  # the same, for a field that says other things as well: no flags
    ENTITY = auto()  # EI → identifier and issuer
    PATIENT_ENTITY = auto()  # CX → identifier and issuer
    CODE = auto()  # three components: code, text, coding scheme
    CODES = auto()  # every repetition in every segment of that name → items of a code sequence


# What takes a field of every segment of a name.
GATHERED = frozenset({Kind.TEXTS, Kind.NOTES, Kind.CODES})


@dataclass(frozen=True, slots=True)
class Column:
    """A target of a profile: its kind, and how many characters its attribute holds.

    `also` names the columns beside the first that the field fills: the issuer of an
    identifier, scheme, meaning and further items of a code, the identifier of a person. `table`
    is the profile's `[values.…]`. `common`: a department has few values of it, which come again
    and again; never a patient's. `aside`: messages without it are as good, be it that its field
    says something else, or that it can't be read. `mapped`: a short one stands for an identifier
    that is too long. `form`: a pattern of what a word has to be.
    """

    name: str
    kind: Kind
    length: int = LO
    also: tuple[str, ...] = ()
    table: str = ""
    common: bool = False
    aside: bool = False
    mapped: bool = False
    form: str = ""


def _by_name(*columns: Column) -> dict[str, Column]:
    return {column.name: column for column in columns}


# Segments whose names of persons are XPN, which has no identifier before them.
_XPN = frozenset({"PID", "NK1", "GT1", "IN1", "MRG"})
_BY_VR = {"PN": Kind.PERSON, "DA": Kind.DATE, "TM": Kind.TIME}
# What is not just any text has a form (PS3.5 table 6.2-1).
_FORMS = {
    "AE": r"[ -\[\]-~]+",
    "AS": "[0-9]{3}[DWMY]",
    "CS": "[A-Z0-9 _]+",
    "DS": r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([Ee][+-]?[0-9]+)?",
    "IS": "[+-]?[0-9]+",
    "UI": r"(0|[1-9][0-9]*)(\.(0|[1-9][0-9]*))+",
}


def kept(name: str, vr: str, length: int, segments: Iterable[str] = ()) -> Column:
    """Make the column of an attribute that has none of its own, by its VR (PS3.5 6.2).

    `segments` are those that it is read from.
    """
    if vr == "SQ":
        is_code = name.endswith("CodeSequence")
        return Column(name, Kind.CODES if is_code else Kind.IDENTITIES, length)
    if vr == "PN" and _XPN.issuperset(segments):
        return Column(name, Kind.NAME, length)
    if vr in _FORMS:
        return Column(name, Kind.WORD, length, form=_FORMS[vr])
    return Column(name, _BY_VR.get(vr, Kind.TEXT), length)


PATIENT = _by_name(
    Column("patient_name", Kind.NAME, PN),  # (0010,0010)
    Column("birth_date", Kind.DATE),  # (0010,0030)
    Column("sex", Kind.CODED, table="sex", common=True),  # (0010,0040)
    Column("mother_name", Kind.NAME, PN),  # (0010,1060)
    Column("address", Kind.TEXT),  # (0010,1040)
    Column("phone", Kind.TEXT, SH),  # (0010,2154)
    Column("language", Kind.TEXT, common=True),  # (0010,0101)
    Column("medical_alerts", Kind.TEXTS),  # (0010,2000), 1-n
    Column("allergies", Kind.TEXTS),  # (0010,2110), 1-n
    Column("ethnic_group", Kind.TEXT, SH, common=True),  # (0010,2160)
    Column("comments", Kind.NOTES, LT),  # (0010,4000)
)

ORDER = _by_name(
    Column("admission_id", Kind.PATIENT_ENTITY, LO, also=("admission_issuer",)),  # (0038,0010)
    Column("current_patient_location", Kind.TEXT, common=True),  # (0038,0300)
    Column("route_of_admissions", Kind.TEXT, common=True),  # (0038,0016)
    Column("institution", Kind.TEXT, aside=True),  # (0008,0080)
    Column("visit_status", Kind.MARK, table="visit_status", common=True),  # (0038,0008)
    Column("admitting_date", Kind.DATE, aside=True),  # (0038,0020)
    Column("admitting_diagnoses", Kind.TEXTS),  # (0008,1080), 1-n
    Column("admitting_codes", Kind.CODES, SH),  # (0008,1084)
    Column(  # (0008,0090), (0008,0096)
        "referring_physician", Kind.PERSON, PN, also=("referring_physician_id",), common=True
    ),
    Column(  # (0032,1032), (0032,1031)
        "requesting_physician", Kind.PERSON, PN, also=("requesting_physician_id",), common=True
    ),
    Column("requesting_service", Kind.TEXT, common=True),  # (0032,1033)
    Column("entered_by", Kind.PERSON, PN, common=True),  # (0040,2008)
    Column("enterer_location", Kind.TEXT, SH, common=True),  # (0040,2009)
    Column("callback_phone", Kind.TEXT, SH, common=True),  # (0040,2010)
    Column("pregnancy_status", Kind.MARK, table="pregnancy_status", common=True),  # (0010,21C0)
    Column("patient_state", Kind.TEXT, common=True),  # (0038,0500)
    Column("confidentiality", Kind.TEXT, common=True),  # (0040,3001)
    Column("comments", Kind.NOTES, LT),  # (0040,2400)
)

# Filled from OBX segments, which a profile finds by what they observe.
OBSERVATIONS = ("patient_weight", "patient_size")  # (0010,1030) kg, (0010,1020) m

PROCEDURE = _by_name(
    Column("accession_number", Kind.ENTITY, SH, also=("accession_issuer",)),  # (0008,0050)
    Column("description", Kind.TEXT, common=True),  # (0032,1060)
    Column(  # (0032,1064)
        "code_value",
        Kind.CODE,
        SH,
        also=("code_scheme", "code_meaning", "code_items"),
        common=True,
    ),
    Column("priority", Kind.CODED, table="priority", common=True),  # (0040,1003)
    Column("reason", Kind.TEXT),  # (0040,1002)
    Column("reason_codes", Kind.CODES, SH),  # (0040,100A)
    Column("transport", Kind.TEXT, common=True),  # (0040,1004)
    Column("recipients", Kind.PERSONS, PN, common=True),  # (0040,1010)
    Column("recipient_ids", Kind.IDENTITIES, PN, common=True),  # (0040,1011)
    Column("comments", Kind.NOTES, LT),  # (0040,1400)
)

STEP = _by_name(
    Column("station_name", Kind.TEXT, SH, common=True),  # (0040,0010)
    Column("location", Kind.TEXT, SH, common=True),  # (0040,0011)
    Column(  # (0040,0006), (0040,000B)
        "performing_physician", Kind.PERSON, PN, also=("performing_physician_id",), common=True
    ),
    Column("description", Kind.TEXT, common=True),  # (0040,0007)
    Column(  # (0040,0008)
        "protocol_value",
        Kind.CODE,
        SH,
        also=("protocol_scheme", "protocol_meaning", "protocol_items"),
        common=True,
    ),
    Column("pre_medication", Kind.TEXT, common=True),  # (0040,0012)
    Column("contrast_agent", Kind.TEXT, common=True),  # (0032,1070)
    Column("comments", Kind.NOTES, LT),  # (0040,0400)
)
