"""Which columns an HL7 message can fill, and what their DICOM attributes can hold.

A profile says *where* a value stands in a site's messages; *what* it is stands here,
because it follows from the attribute (PS3.6: LO 64 characters, SH 16, PN 64 a group,
LT 10,240) and not from the site.
"""

from dataclasses import dataclass
from enum import Enum, auto

SH, LO, PN, LT = 16, 64, 64, 10_240


class Kind(Enum):
    """How a field becomes a value."""

    TEXT = auto()  # one line, shortened visibly
    TEXTS = auto()  # every segment of that name: values separated by "\"
    NOTES = auto()  # every NTE of the place: lines
    NAME = auto()  # XPN → PN
    PERSON = auto()  # XCN, or NDL whose first component is a CNN → PN
    DATE = auto()  # DTM → DA
    CODED = auto()  # through a table of the profile
    WORD = auto()  # one line as it is, or, flagged, not at all
    MARK = auto()  # the same, for a field that says other things as well: no flags
    ENTITY = auto()  # EI → identifier and issuer
    PATIENT_ENTITY = auto()  # CX → identifier and issuer
    CODE = auto()  # three components: code, text, coding scheme


# What takes a field of every segment of a name.
GATHERED = frozenset({Kind.TEXTS, Kind.NOTES})


@dataclass(frozen=True, slots=True)
class Column:
    """A target of a profile: its kind, and how many characters its attribute holds.

    `also` names the columns beside the first that the field fills: the issuer of an
    identifier, scheme and meaning of a code. `table` is the profile's `[values.…]`. `common`:
    a department has few values of it, which come again and again; never a patient's. `mapped`: a
    short one stands for an identifier that is too long.
    """

    name: str
    kind: Kind
    length: int = LO
    also: tuple[str, ...] = ()
    table: str = ""
    common: bool = False
    mapped: bool = False


def _by_name(*columns: Column) -> dict[str, Column]:
    return {column.name: column for column in columns}


def kept(name: str, vr: str, length: int) -> Column:
    """Make the column of an attribute that has none of its own, by its VR (PS3.5 6.2)."""
    kinds = {"PN": Kind.PERSON, "DA": Kind.DATE, "TM": Kind.WORD, "UI": Kind.WORD, "AE": Kind.WORD}
    kinds |= {"CS": Kind.WORD, "IS": Kind.WORD, "DS": Kind.WORD}
    return Column(name, kinds.get(vr, Kind.TEXT), length)


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
    Column("comments", Kind.NOTES, LT),  # (0010,4000)
)

ORDER = _by_name(
    Column("admission_id", Kind.PATIENT_ENTITY, LO, also=("admission_issuer",)),  # (0038,0010)
    Column("current_patient_location", Kind.TEXT, common=True),  # (0038,0300)
    Column("route_of_admissions", Kind.TEXT, common=True),  # (0038,0016)
    Column("referring_physician", Kind.PERSON, PN, common=True),  # (0008,0090)
    Column("requesting_physician", Kind.PERSON, PN, common=True),  # (0032,1032)
    Column("requesting_service", Kind.TEXT, common=True),  # (0032,1033)
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
    Column(
        "code_value", Kind.CODE, SH, also=("code_scheme", "code_meaning"), common=True
    ),  # (0032,1064)
    Column("priority", Kind.CODED, table="priority", common=True),  # (0040,1003)
    Column("reason", Kind.TEXT),  # (0040,1002)
    Column("transport", Kind.TEXT, common=True),  # (0040,1004)
    Column("comments", Kind.NOTES, LT),  # (0040,1400)
)

STEP = _by_name(
    Column("station_name", Kind.TEXT, SH, common=True),  # (0040,0010)
    Column("location", Kind.TEXT, SH, common=True),  # (0040,0011)
    Column("performing_physician", Kind.PERSON, PN, common=True),  # (0040,0006)
    Column("description", Kind.TEXT, common=True),  # (0040,0007)
    Column(  # (0040,0008)
        "protocol_value", Kind.CODE, SH, also=("protocol_scheme", "protocol_meaning"), common=True
    ),
    Column("pre_medication", Kind.TEXT, common=True),  # (0040,0012)
    Column("contrast_agent", Kind.TEXT, common=True),  # (0032,1070)
    Column("comments", Kind.NOTES, LT),  # (0040,0400)
)
