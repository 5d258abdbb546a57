"""What the archive keeps: identities, versions, and what may replace what; pure."""

from enum import StrEnum


class ObjectState(StrEnum):
    """What the bytes of an instance are to those who ask for it."""

    SERVED = "served"
    OLDER = "older"  # a newer version from the same source is served
    QUARANTINED = "quarantined"  # contradicts what is here; kept for a person


class MatchedBy(StrEnum):
    """How it is known which requested procedure a study belongs to."""

    REQUEST = "request"  # Request Attributes Sequence (0040,0275)
    ACCESSION = "accession"  # accession number and patient
    STUDY = "study"  # Study Instance UID
    HAND = "hand"
