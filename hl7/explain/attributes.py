"""Which DICOM attribute a column of the worklist becomes (PS3.4 table K.6-1), for people."""

from typing import Final, NamedTuple

from hl7 import columns

# The columns that a profile can fill, by what they are about.
COLUMNS: Final = {
    "patient": columns.PATIENT,
    "order": columns.ORDER,
    "procedure": columns.PROCEDURE,
    "step": columns.STEP,
}


class Attribute(NamedTuple):
    """An attribute: its tag as it is written, and its name (PS3.6)."""

    tag: str
    name: str

    def __str__(self) -> str:
        return f"{self.name} {self.tag}" if self.tag else self.name


def _table(**columns: tuple[str, str]) -> dict[str, Attribute]:
    return {name: Attribute(f"({tag})", title) for name, (tag, title) in columns.items()}


_BY_KIND: Final = {
    "patient": _table(
        patient_id=("0010,0020", "Patient ID"),
        other_ids=("0010,1002", "Other Patient IDs Sequence"),
        patient_name=("0010,0010", "Patient's Name"),
        birth_date=("0010,0030", "Patient's Birth Date"),
        sex=("0010,0040", "Patient's Sex"),
        mother_name=("0010,1060", "Patient's Mother's Birth Name"),
        address=("0010,1040", "Patient's Address"),
        phone=("0010,2154", "Patient's Telephone Numbers"),
        language=("0010,0101", "Patient's Primary Language Code Sequence"),
        medical_alerts=("0010,2000", "Medical Alerts"),
        allergies=("0010,2110", "Allergies"),
        ethnic_group=("0010,2160", "Ethnic Group"),
        comments=("0010,4000", "Patient Comments"),
    ),
    "order": _table(
        placer_number=("0040,2016", "Placer Order Number / Imaging Service Request"),
        filler_number=("0040,2017", "Filler Order Number / Imaging Service Request"),
        admission_id=("0038,0010", "Admission ID"),
        admission_issuer=("0038,0014", "Issuer of Admission ID Sequence"),
        current_patient_location=("0038,0300", "Current Patient Location"),
        route_of_admissions=("0038,0016", "Route of Admissions"),
        institution=("0008,0080", "Institution Name"),
        visit_status=("0038,0008", "Visit Status ID"),
        admitting_date=("0038,0020", "Admitting Date"),
        admitting_diagnoses=("0008,1080", "Admitting Diagnoses Description"),
        admitting_codes=("0008,1084", "Admitting Diagnoses Code Sequence"),
        referring_physician=("0008,0090", "Referring Physician's Name"),
        referring_physician_id=("0008,0096", "Referring Physician Identification Sequence"),
        requesting_physician=("0032,1032", "Requesting Physician"),
        requesting_physician_id=("0032,1031", "Requesting Physician Identification Sequence"),
        requesting_service=("0032,1033", "Requesting Service"),
        issued=("0040,2004", "Issue Date and Time of Imaging Service Request"),
        entered_by=("0040,2008", "Order Entered By"),
        enterer_location=("0040,2009", "Order Enterer's Location"),
        callback_phone=("0040,2010", "Order Callback Phone Number"),
        pregnancy_status=("0010,21C0", "Pregnancy Status"),
        patient_state=("0038,0500", "Patient State"),
        confidentiality=("0040,3001", "Confidentiality Constraint on Patient Data Description"),
        comments=("0040,2400", "Imaging Service Request Comments"),
        patient_weight=("0010,1030", "Patient's Weight"),
        patient_size=("0010,1020", "Patient's Size"),
    ),
    "procedure": _table(
        accession_number=("0008,0050", "Accession Number"),
        accession_issuer=("0008,0051", "Issuer of Accession Number Sequence"),
        requested_procedure_id=("0040,1001", "Requested Procedure ID"),
        study_uid=("0020,000D", "Study Instance UID"),
        description=("0032,1060", "Requested Procedure Description"),
        code_value=("0032,1064", "Requested Procedure Code Sequence"),
        code_scheme=("0032,1064", "Requested Procedure Code Sequence"),
        code_meaning=("0032,1064", "Requested Procedure Code Sequence"),
        code_items=("0032,1064", "Requested Procedure Code Sequence"),
        priority=("0040,1003", "Requested Procedure Priority"),
        reason=("0040,1002", "Reason for the Requested Procedure"),
        reason_codes=("0040,100A", "Reason for Requested Procedure Code Sequence"),
        recipients=("0040,1010", "Names of Intended Recipients of Results"),
        recipient_ids=("0040,1011", "Intended Recipients of Results Identification Sequence"),
        transport=("0040,1004", "Patient Transport Arrangements"),
        comments=("0040,1400", "Requested Procedure Comments"),
    ),
    "step": _table(
        sps_id=("0040,0009", "Scheduled Procedure Step ID"),
        modality=("0008,0060", "Modality"),
        start=("0040,0002", "Scheduled Procedure Step Start Date and Time"),
        stations=("0040,0001", "Scheduled Station AE Title"),
        station_name=("0040,0010", "Scheduled Station Name"),
        location=("0040,0011", "Scheduled Procedure Step Location"),
        performing_physician=("0040,0006", "Scheduled Performing Physician's Name"),
        performing_physician_id=(
            "0040,000B",
            "Scheduled Performing Physician Identification Sequence",
        ),
        description=("0040,0007", "Scheduled Procedure Step Description"),
        protocol_value=("0040,0008", "Scheduled Protocol Code Sequence"),
        protocol_scheme=("0040,0008", "Scheduled Protocol Code Sequence"),
        protocol_meaning=("0040,0008", "Scheduled Protocol Code Sequence"),
        protocol_items=("0040,0008", "Scheduled Protocol Code Sequence"),
        pre_medication=("0040,0012", "Pre-Medication"),
        contrast_agent=("0032,1070", "Requested Contrast Agent"),
        comments=("0040,0400", "Comments on the Scheduled Procedure Step"),
    ),
}
NONE: Final = Attribute("", "")


def attribute(kind: str, column: str) -> Attribute:
    """Give the attribute of a column; NONE where scanners are shown none."""
    known = _BY_KIND.get(kind, {}).get(column)
    if known is None and column[:1].isupper():
        return Attribute("", column)  # a further one, by its keyword
    return known or NONE
