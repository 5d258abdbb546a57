"""What the archive keeps: identities, versions, and what may replace what; pure.

The rules that this module bears, for an instance that comes:

1. The same bytes again (data set and transfer syntax) are nothing new, whoever sends them.
   If they are an older version and its source sends it anew, that version is served again.
2. A Study Instance UID belongs to one patient, a SOP Instance UID to one series and one SOP
   class. What contradicts that is quarantined: kept, not shown, for a person to look at.
   So is an image without an identifier that has another name than the study's patient.
3. From the source of the version that is served, the newest is served and the older kept.
4. The same picture in another transfer syntax, from another source, is no conflict: it is
   kept beside the first, which stays served.
5. Anything else under a known SOP Instance UID is quarantined.

Two patients are the same unless something says otherwise (`is_other_patient`): an issuer or
an identifier that is missing on one side contradicts nothing. Identifiers that the RIS has
merged are one patient's (`mwl.archive.patients`).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NamedTuple, Self

from mwl.patients import is_someone_else, name_key


class ObjectState(StrEnum):
    """What the bytes of an instance are to those who ask for it."""

    SERVED = "served"
    OLDER = "older"  # a newer version from the same source is served
    ALTERNATE = "alternate"  # what is served, in another transfer syntax
    QUARANTINED = "quarantined"  # contradicts what is here; kept for a person


class MatchedBy(StrEnum):
    """How it is known which requested procedure a study belongs to."""

    REQUEST = "request"  # Request Attributes Sequence (0040,0275)
    ACCESSION = "accession"  # accession number and patient
    STUDY = "study"  # Study Instance UID
    HAND = "hand"
    # By nobody, until a person does: its scanner had taken the wrong worklist entry.
    WRONG_ENTRY = "wrong entry"


# Why the images of such a scan are quarantined (PS3.16 CID 9300, 110514).
WRONG_ENTRY_REASON = "incorrect worklist entry selected"


class Outcome(StrEnum):
    """What became of an instance that came; all of it is as durable as the answer says."""

    STORED = "stored"
    REPEATED = "repeated"  # nothing new: these bytes are here under another key
    REPLACED = "replaced"  # served instead of an older version
    QUARANTINED = "quarantined"


@dataclass(frozen=True, slots=True)
class Person:
    """Whom the images say that they show; empty: they don't say."""

    patient_id: str = ""
    issuer: str = ""
    name: str = ""
    birth_date: str = ""
    sex: str = ""


SEPARATOR: Final = "\x1f"  # no text of DICOM's or HL7's may hold it


class Identity(NamedTuple):
    """Whom images show and what they were ordered as, as that is known now; empty: nobody knows."""

    patient_name: str
    patient_id: str
    issuer: str
    birth_date: str
    sex: str
    accession_number: str

    @classmethod
    def of(cls, text: str) -> Self:
        """Read the values, in their order, each but the last with a separator behind it."""
        values = text.split(SEPARATOR)
        return cls._make(values[: len(cls._fields)])


def is_other_patient(known: Person, new: Person) -> bool:
    """Tell whether these can't be the same patient.

    Two identifiers that differ say so, and so do two issuers of one identifier. Where
    either has no identifier, or both the same one, a name and a birth date that both differ
    say so. Spaces around a value mean nothing.
    """
    known_id, new_id = known.patient_id.strip(), new.patient_id.strip()
    if known_id and new_id:
        if known_id != new_id:
            return True
        if is_other_issuer(known.issuer, new.issuer):
            return True
    return is_someone_else(known.name, known.birth_date, new.name, new.birth_date)


def contradict(one: Person, other: Person) -> bool:
    """Tell whether two images of a patient say something different of whom they show.

    They may be the same patient all the same. What is missing contradicts nothing.
    """
    names = name_key(one.name), name_key(other.name)
    ids = one.patient_id.strip(), other.patient_id.strip()
    pairs = (names, ids, (one.birth_date, other.birth_date))
    if any(all(pair) and pair[0] != pair[1] for pair in pairs):
        return True
    return is_other_issuer(one.issuer, other.issuer) or is_other_sex(one.sex, other.sex)


def is_other_sex(one: str, other: str) -> bool:
    """Tell whether one is male and the other female; O, and what is missing, leave it open."""
    return {one.strip().upper(), other.strip().upper()} == {"M", "F"}


@dataclass(frozen=True, slots=True)
class Aliases:
    """All that a study's patient is known as, folded: who says nothing else is that patient."""

    names: frozenset[str] = frozenset()
    ids: frozenset[str] = frozenset()
    birth_dates: frozenset[str] = frozenset()

    @classmethod
    def of(cls, people: Iterable[Person]) -> Self:
        """Collect what `people`, who are one patient, are called."""
        all_of = list(people)
        return cls(
            frozenset(name_key(each.name) for each in all_of),
            frozenset(each.patient_id.strip() for each in all_of),
            frozenset(each.birth_date.strip() for each in all_of),
        )

    def are_of(self, person: Person) -> bool:
        """Tell whether name, identifier and birth date each are known here, or missing."""
        name, number, date = name_key(person.name), person.patient_id, person.birth_date
        pairs = ((name, self.names), (number.strip(), self.ids), (date.strip(), self.birth_dates))
        return all(not (value and any(known)) or value in known for value, known in pairs)


def is_other_issuer(known: str, new: str) -> bool:
    """Tell whether both issuers are known and differ; case and outer spaces mean nothing."""
    known, new = known.strip().casefold(), new.strip().casefold()
    return bool(known and new) and known != new


@dataclass(frozen=True, slots=True)
class Version:
    """What decides about the bytes of an instance."""

    sha256: bytes
    transfer_syntax: str
    source: str
    sop_class_uid: str
    picture: tuple[int | None, int | None, int | None] = (None, None, None)
    """Rows, columns, frames; None: not known."""

    def is_same_as(self, other: "Version") -> bool:
        """Tell whether these are the same bytes."""
        return (self.sha256, self.transfer_syntax) == (other.sha256, other.transfer_syntax)


@dataclass(frozen=True, slots=True)
class Kept:
    """A version that is here."""

    row: int
    state: ObjectState
    version: Version


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do with a newcomer: keep it in `state` (None: its bytes are here already).

    `serve` is the row of a version to be served again instead of the one that is.
    """

    outcome: Outcome
    state: ObjectState | None
    reason: str = ""
    serve: int | None = None


def decide(new: Version, served: Version, same: Iterable[Kept] = ()) -> Decision:
    """Decide about a newcomer under a SOP Instance UID known in this very series.

    `served` is the version served now; `same` are the versions here with the newcomer's bytes.
    """
    for kept in same:
        is_back = kept.state is ObjectState.OLDER and _is_from(new, served)
        return Decision(Outcome.REPEATED, None, serve=kept.row if is_back else None)
    if new.sop_class_uid != served.sop_class_uid:
        return quarantine("the SOP instance UID is known with another SOP class")
    if _is_from(new, served):
        return Decision(Outcome.REPLACED, ObjectState.SERVED)
    if new.transfer_syntax != served.transfer_syntax and _may_show_the_same(new, served):
        return Decision(Outcome.STORED, ObjectState.ALTERNATE)
    return quarantine("the SOP instance UID is known with other content from another source")


def quarantine(reason: str) -> Decision:
    """Decide to keep a newcomer out of sight; `reason` is for a person, without their data."""
    return Decision(Outcome.QUARANTINED, ObjectState.QUARANTINED, reason)


def _is_from(new: Version, served: Version) -> bool:
    # A source without a name is nobody in particular.
    return bool(new.source) and new.source == served.source


def _may_show_the_same(new: Version, served: Version) -> bool:
    pairs = zip(new.picture, served.picture, strict=True)
    return all(a == b for a, b in pairs if a is not None and b is not None)


# --- which order asked for a study


class Likeness(StrEnum):
    """Whether the images and an order speak of the same patient."""

    SAME = "same"
    UNKNOWN = "unknown"  # the images don't say enough
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a study says about the order that asked for it.

    `requests` are items of Request Attributes Sequences (0040,0275), texts by keyword.
    """

    study_instance_uid: str
    accession_number: str = ""
    person: Person = Person()
    requests: tuple[Mapping[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Candidate:
    """A requested procedure that a study may have been made for."""

    procedure: int
    order: int
    patient: Likeness
    accession_number: str = ""
    requested_procedure_id: str = ""
    study_instance_uid: str = ""
    steps: frozenset[tuple[str, str]] = frozenset()  # Study Instance UID, SPS ID
    over: bool = False  # cancelled or discontinued


@dataclass(frozen=True, slots=True)
class Match:
    """The requested procedure of a study, and how that is known."""

    procedure: int
    by: MatchedBy


def match(evidence: Evidence, candidates: Sequence[Candidate]) -> Match | None:
    """Find the procedure that a study was made for; None where that is not beyond doubt.

    Request Attributes go before accession number and patient, these before the Study
    Instance UID, as scanners may ignore ours. An order of another patient is never taken;
    where Request Attributes name such a one, a person has to look.
    """
    named = [c for c in candidates if any(_names(item, c) for item in evidence.requests)]
    if named:
        return _only(named, evidence, MatchedBy.REQUEST)
    accession = evidence.accession_number
    counted = [
        c
        for c in candidates
        if accession and c.accession_number == accession and c.patient is Likeness.SAME
    ]
    if counted:
        return _only(counted, evidence, MatchedBy.ACCESSION)
    uid = evidence.study_instance_uid
    planned = [c for c in candidates if c.study_instance_uid == uid]
    return _only(planned, evidence, MatchedBy.STUDY)


def _names(item: Mapping[str, str], candidate: Candidate) -> bool:
    step = item.get("StudyInstanceUID", ""), item.get("ScheduledProcedureStepID", "")
    if all(step) and step in candidate.steps:
        return True
    accession = item.get("AccessionNumber", "")
    procedure = item.get("RequestedProcedureID", "")
    is_procedure = bool(procedure) and procedure == candidate.requested_procedure_id
    if accession and candidate.accession_number:
        return accession == candidate.accession_number and (is_procedure or not procedure)
    # Alone it is a small number that other patients' procedures may have.
    return is_procedure and candidate.patient is Likeness.SAME


def _only(found: Sequence[Candidate], evidence: Evidence, by: MatchedBy) -> Match | None:
    """Narrow down to one order: a patient that fits, the planned UID, an order still alive."""
    left = [c for c in found if c.patient is not Likeness.OTHER]
    for fits in (
        lambda c: c.study_instance_uid == evidence.study_instance_uid,
        lambda c: not c.over,
        lambda c: c.patient is Likeness.SAME,
    ):
        left = [c for c in left if fits(c)] or left
    if len({c.order for c in left}) != 1:
        return None
    # Procedures of one order that nothing tells apart: the order is certain.
    return Match(min(c.procedure for c in left), by)
