"""What a scanner has in hand: an entry of its worklist, or what was typed at its console."""

from dataclasses import dataclass
from typing import Any, Self
from uuid import uuid4


@dataclass(frozen=True, slots=True)
class Entry:
    """Whom a scanner examines, and what for; "" where it doesn't know."""

    patient_id: str
    patient_name: str
    modality: str
    study_uid: str
    birth_date: str = ""
    sex: str = ""
    issuer: str = ""
    accession: str = ""
    procedure_id: str = ""
    step_id: str = ""
    description: str = ""
    referring_physician: str = ""
    start: str = ""  # YYYYMMDDHHMMSS, the site's clock

    @classmethod
    def of(cls, answer: Any) -> Self:
        """Read an answer to C-FIND, a pydicom data set."""
        step = answer.ScheduledProcedureStepSequence[0]

        def text(source: Any, keyword: str) -> str:
            return str(source.get(keyword) or "")

        return cls(
            patient_id=text(answer, "PatientID"),
            patient_name=text(answer, "PatientName"),
            modality=text(step, "Modality"),
            study_uid=text(answer, "StudyInstanceUID"),
            birth_date=text(answer, "PatientBirthDate"),
            sex=text(answer, "PatientSex"),
            issuer=text(answer, "IssuerOfPatientID"),
            accession=text(answer, "AccessionNumber"),
            procedure_id=text(answer, "RequestedProcedureID"),
            step_id=text(step, "ScheduledProcedureStepID"),
            description=text(step, "ScheduledProcedureStepDescription"),
            referring_physician=text(answer, "ReferringPhysicianName"),
            start=text(step, "ScheduledProcedureStepStartDate")
            + text(step, "ScheduledProcedureStepStartTime")[:6],
        )

    @property
    def shown(self) -> str:
        """Give a line for people."""
        at = f"{self.start[8:10]}:{self.start[10:12]}" if len(self.start) >= 12 else ""
        born = self.birth_date
        if len(born) == 8:
            born = f"{born[:4]}-{born[4:6]}-{born[6:]}"
        return "  ".join(
            filter(None, (self.patient_name, self.sex, born, self.accession, self.description, at))
        )


def new_uid() -> str:
    """Make a UID of a random UUID (PS3.5 B.2)."""
    return f"2.25.{uuid4().int}"
