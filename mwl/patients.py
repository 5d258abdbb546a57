"""Who a patient is, and when two records speak of the same one; pure.

A patient is known by an identifier *with its issuer*: the number alone means nothing. A
merge leaves the losing identifier as an alias of the surviving patient; whatever names the
alias later belongs to the survivor, but never changes the survivor's demographics.
"""

import unicodedata
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple


class Identifier(NamedTuple):
    """An identifier and who issued it (HL7 EI or CX; DICOM's HL7v2 hierarchic designator)."""

    id: str
    namespace: str = ""
    universal_id: str = ""
    universal_type: str = ""

    @property
    def issuer_key(self) -> str:
        """What the issuer is compared by: its namespace, else its universal identifier."""
        return self.namespace or self.universal_id


@dataclass(slots=True)
class PatientChange:
    """What a message states about a patient; `fields` as in `mwl.orders.Fields`.

    `others` are further identifiers of the same person (Other Patient IDs Sequence);
    None where the message names none.
    """

    id: Identifier
    where: str = "PID-3"
    others: tuple[tuple[Identifier, str], ...] | None = None  # with their HL7 type (MR, SS, …)
    fields: dict[str, str | None] = field(default_factory=dict)  # columns of patient


@dataclass(slots=True)
class PatientUpdate:
    """ADT^A08 and its like: new demographics, nothing else."""

    source: str
    patient: PatientChange
    at: datetime | None = None
    flags: list[str] = field(default_factory=list)


@dataclass(slots=True)
class PatientMerge:
    """ADT^A40: `prior` (MRG-1) was the same person as `patient` (PID-3), who survives."""

    source: str
    patient: PatientChange
    prior: Identifier
    at: datetime | None = None
    flags: list[str] = field(default_factory=list)


def name_key(name: str) -> str:
    """Fold a person name for matching: case, and empty components at the ends.

    PS3.4 C.2.2.2.1 lets an SCP match names without regard to case; PS3.5 6.2.1 says that
    trailing empty components and groups mean nothing.
    """
    groups = (group.rstrip("^ ") for group in name.split("="))
    return unicodedata.normalize("NFC", "=".join(groups).rstrip("=")).casefold()


def is_someone_else(name: str, birth_date: str, new_name: str, new_birth_date: str) -> bool:
    """Tell whether two records under one identifier can't be the same person.

    A name changes by marriage, a birth date by correction; both at once is a conflict for
    a person to decide. What is unknown on either side contradicts nothing.
    """
    if not (name and new_name and birth_date and new_birth_date):
        return False
    return name_key(name) != name_key(new_name) and birth_date != new_birth_date
