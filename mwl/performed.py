"""What a performed procedure step (MPPS) is, and how an order closes; pure."""

from enum import StrEnum


class PerformedState(StrEnum):
    """Performed Procedure Step Status (0040,0252)."""

    IN_PROGRESS = "IN PROGRESS"
    COMPLETED = "COMPLETED"
    DISCONTINUED = "DISCONTINUED"


class LinkedBy(StrEnum):
    """How it is known which scheduled step an MPPS carries out."""

    STEP = "step"  # Study Instance UID and SPS ID of (0040,0270)
    ACCESSION = "accession"  # flagged: the scanner lost the step's identifiers
    HAND = "hand"


class Route(StrEnum):
    """By which rule an order closed."""

    ARCHIVED = "archived"  # every instance that its MPPS listed is here
    ELSEWHERE = "elsewhere"  # COMPLETED, and images are another archive's
    QUIET = "quiet"  # no MPPS from this scanner, and its study has been quiet
    HAND = "hand"
