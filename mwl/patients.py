"""Who a patient is, and when two records speak of the same one; pure.

The rules that this module bears:

1. A patient is known by an identifier *with its issuer*: the number alone means nothing. An
   issuer has a namespace, a universal identifier, or both: what names either of them names it.
2. A merge leaves the losing identifier as an alias of the surviving patient; whatever names the
   alias later belongs to the survivor, but never changes the survivor's demographics.
3. Merges count in the order in which their sender made them, not in that of their coming: the
   same merges leave the same survivor (`trail`). One that names two aliases of one patient says
   nothing new.
4. A link says that two patients may be one person. They stay two, with orders of their own.
5. Whoever has a name that stands for nobody (`is_placeholder`) is not yet known: another name
   and birth date under that identifier are theirs, and no contradiction.
"""

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from fnmatch import fnmatchcase
from typing import NamedTuple

from mwl.shortened import Shortened


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

    @property
    def authority(self) -> frozenset[str]:
        """The names of its issuer, of which one is enough."""
        return frozenset(filter(None, (self.namespace, self.universal_id)))


@dataclass(slots=True)
class PatientChange:
    """What a message states about a patient; `fields` as in `mwl.orders.Fields`.

    `others` are further identifiers of the same person (Other Patient IDs Sequence);
    None where the message names none. `unknown_names` are patterns of names that stand for
    nobody (`is_placeholder`). `confirmed`: a person says that it is the patient on file,
    however much their names and birth dates differ.
    """

    id: Identifier
    where: str = "PID-3"
    others: tuple[tuple[Identifier, str], ...] | None = None  # with their HL7 type (MR, SS, …)
    fields: dict[str, str | None] = field(default_factory=dict)  # columns of patient
    unknown_names: Sequence[str] = ()
    confirmed: bool = False


@dataclass(slots=True)
class VisitChange:
    """What a message states about a visit (PV1); `fields` are columns of imaging_order.

    `arrived`: the patient has come for it (ADT^A10).
    """

    fields: dict[str, str | None] = field(default_factory=dict)
    arrived: bool = False


@dataclass(slots=True)
class PatientUpdate:
    """ADT^A08 and its like: new demographics, and where the patient is."""

    source: str
    patient: PatientChange
    at: datetime | None = None
    flags: list[str] = field(default_factory=list)
    visit: VisitChange | None = None
    shortened: Shortened = ()


@dataclass(slots=True)
class PatientMerge:
    """ADT^A40: `prior` (MRG-1) was the same person as `patient` (PID-3), who survives.

    With ADT^A36 the visit `prior_visit` (MRG-3) of the former has the number `visit` (PID-18)
    from then on. With ADT^A47 `patient` is a new number of the prior patient's (`renumbers`), and
    nobody else's. `control_id` is the message's.
    """

    source: str
    patient: PatientChange
    prior: Identifier
    at: datetime | None = None
    flags: list[str] = field(default_factory=list)
    control_id: str = ""
    prior_visit: Identifier | None = None
    visit: Identifier | None = None
    renumbers: bool = False
    shortened: Shortened = ()


@dataclass(slots=True)
class PatientLink:
    """ADT^A24 and A37: `patient` and `other` may be one person, or may not after all."""

    source: str
    patient: PatientChange
    other: PatientChange
    linked: bool
    at: datetime | None = None
    flags: list[str] = field(default_factory=list)
    shortened: Shortened = ()


class MergeStated(NamedTuple):
    """A merge, by rows: who was named as prior and as survivor, and when.

    Of several that were made at once the one that came first counts first, and then the one
    with the lower number.
    """

    at: datetime
    came_at: datetime
    number: int
    prior: int
    survivor: int


def root(parents: Mapping[int, int], row: int) -> int:
    """Follow a trail of aliases to its end; `parents` has none that goes in a circle."""
    while row in parents:
        row = parents[row]
    return row


def trail(
    merges: Iterable[MergeStated], before: Mapping[int, int]
) -> tuple[dict[int, int], dict[MergeStated, int]]:
    """Work merges off in the order in which they were made, from the aliases `before` them.

    Give whose alias each row is after that, and which row each merge made an alias; one that
    is left out there said nothing new.
    """
    parents, losers = dict(before), {}
    for each in sorted(merges):
        loser = root(parents, each.prior)
        if loser != root(parents, each.survivor):
            parents[loser] = each.survivor
            losers[each] = loser
    return parents, losers


def is_placeholder(name: str, patterns: Sequence[str]) -> bool:
    """Tell whether a name stands for nobody: `*` and `?` in a pattern are any characters."""
    key = name_key(name)
    return any(fnmatchcase(key, pattern.casefold()) for pattern in patterns)


def folded(name: str) -> str:
    """Fold a person name: case, and empty components at the ends.

    PS3.5 6.2.1 says that trailing empty components and groups mean nothing.
    """
    groups = (group.rstrip("^ ") for group in name.split("="))
    text = "=".join(groups).rstrip("=")
    return text.lower() if text.isascii() else unicodedata.normalize("NFC", text).casefold()


def name_key(name: str) -> str:
    """Fold a person name for matching: case, accents, and empty components at the ends.

    PS3.4 C.2.2.2.1 lets an SCP match names without regard to case and accents. It is kept in
    columns beside the name: change how it is made, and they are to be made anew.
    """
    key = folded(name)
    if key.isascii():
        return key
    plain = _ACCENTS.sub("", unicodedata.normalize("NFD", key.translate(_STROKES)))
    return unicodedata.normalize("NFC", plain)


# Of Latin, Greek and Cyrillic letters; marks of other scripts make other letters.
_ACCENTS = re.compile("[\u0300-\u036f]+")
# Letters with what looks like an accent, and is none.
_STROKES = str.maketrans("øłđħŧı", "oldhti")


def is_someone_else(name: str, birth_date: str, new_name: str, new_birth_date: str) -> bool:
    """Tell whether two records under one identifier can't be the same person.

    A name changes by marriage, a birth date by correction; both at once is a conflict for
    a person to decide. What is unknown on either side contradicts nothing.
    """
    if not (name and new_name and birth_date and new_birth_date):
        return False
    return name_key(name) != name_key(new_name) and birth_date != new_birth_date
