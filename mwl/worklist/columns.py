"""What a worklist item can tell: the columns that answers are written from, by name."""

from collections.abc import Mapping

from sqlalchemy import ColumnElement, Text, cast, func, literal

from mwl.db.tables import ImagingOrder, Patient, RequestedProcedure, ScheduledStep

# Between the parts of a composite column: no DICOM text holds it.
UNIT_SEPARATOR = "\x1f"

Column = ColumnElement[str]

_p = Patient.__table__.c  # type: ignore[attr-defined]
_o = ImagingOrder.__table__.c  # type: ignore[attr-defined]
_r = RequestedProcedure.__table__.c  # type: ignore[attr-defined]
_s = ScheduledStep.__table__.c  # type: ignore[attr-defined]


def _first_known(*columns: Column) -> Column:
    return func.coalesce(*(func.nullif(column, "") for column in columns), "")


def _code(*parts: Column) -> Column:
    """Put a code's value, scheme, meaning and items together."""
    composite, *rest = parts
    for part in rest:
        composite = composite + literal(UNIT_SEPARATOR) + part
    return composite


# What an item can tell, all of it text. K.6.1.2.2 wants a description or a code of both the
# procedure and the step: where the RIS named one, it stands for the other.
COLUMNS: Mapping[str, Column] = {
    "patient_name": _p.patient_name,
    "patient_id": _p.patient_id,
    "issuer": _p.issuer,
    "birth_date": _p.birth_date,
    "sex": _p.sex,
    "mother_name": _p.mother_name,
    "address": _p.address,
    "phone": _p.phone,
    "language": _p.language,
    "medical_alerts": _p.medical_alerts,
    "allergies": _p.allergies,
    "ethnic_group": _p.ethnic_group,
    "patient_comments": _p.comments,
    "other_ids": cast(_p.other_ids, Text),  # JSON
    "placer_number": _o.placer_number,
    "placer_issuer": _o.placer_issuer,
    "filler_number": _o.filler_number,
    "filler_issuer": _o.filler_issuer,
    "admission_id": _o.admission_id,
    "admission_issuer": _o.admission_issuer,
    "current_patient_location": _o.current_patient_location,
    "route_of_admissions": _o.route_of_admissions,
    "institution": _o.institution,
    "visit_status": _o.visit_status,
    "admitting_date": _o.admitting_date,
    "admitting_diagnoses": _o.admitting_diagnoses,
    "admitting_codes": _o.admitting_codes,  # JSON, as all items of sequences: mwl.worklist.kept
    "referring_physician": _o.referring_physician,
    "referring_physician_id": _o.referring_physician_id,
    "requesting_physician": _o.requesting_physician,
    "requesting_physician_id": _o.requesting_physician_id,
    "requesting_service": _o.requesting_service,
    "entered_by": _o.entered_by,
    "enterer_location": _o.enterer_location,
    "callback_phone": _o.callback_phone,
    "issued_local": _o.issued_local,
    "pregnancy_status": _o.pregnancy_status,
    "patient_state": _o.patient_state,
    "patient_weight": _o.patient_weight,
    "patient_size": _o.patient_size,
    "confidentiality": _o.confidentiality,
    "order_comments": _o.comments,
    "order_status": _o.status,
    "accession_number": _r.accession_number,
    "accession_issuer": _r.accession_issuer,
    "requested_procedure_id": _r.requested_procedure_id,
    "study_instance_uid": _s.study_instance_uid,
    "procedure_description": _first_known(_r.description, _r.code_meaning, _r.code_value, _r.key),
    "procedure_code": _code(_r.code_value, _r.code_scheme, _r.code_meaning, _r.code_items),
    "priority": _r.priority,
    "reason": _r.reason,
    "reason_codes": _r.reason_codes,
    "transport": _r.transport,
    "recipients": _r.recipients,
    "recipient_ids": _r.recipient_ids,
    "procedure_comments": _r.comments,
    "sps_id": _s.sps_id,
    "status": _s.state,
    "modality": _s.modality,
    "station_ae_titles": _s.station_ae_titles,
    "station_name": _s.station_name,
    "location": _s.location,
    "start_local": _s.start_local,
    "performing_physician": _s.performing_physician,
    "performing_physician_id": _s.performing_physician_id,
    "step_description": _first_known(
        _s.description,
        _s.protocol_meaning,
        _s.protocol_value,
        _r.description,
        _r.code_meaning,
        _r.code_value,
        _r.key,
    ),
    "protocol_code": _code(
        _s.protocol_value, _s.protocol_scheme, _s.protocol_meaning, _s.protocol_items
    ),
    "pre_medication": _s.pre_medication,
    "contrast_agent": _s.contrast_agent,
    "step_comments": _s.comments,
    "attributes": cast(_s.attributes, Text),  # JSON: {name: text}, see mwl.worklist.kept
}
