"""Every sample message gets a defined answer, and lands where it should."""

from pathlib import Path

import pytest

from tests.test_hl7_inbound import code, errors, inbound, messages, rows, send

FOLDER = Path(__file__).parent / "data" / "hl7"

ANSWERS = {
    "ADT_A31-UpdatePersonInfo-Veterinary.hl7": ("AA", []),
    "ADT_A31-UpdatePersonInfo.hl7": ("AA", []),
    "ADT_A40-PatientMerge.hl7": ("AA", []),
    "ADT_A47-ChangePatientID.hl7": ("AA", []),
    # Their SPS IDs have 19 characters, their station AE titles 20.
    "OMG_O19-GeneralClinicalOrder-Eyecare.hl7": ("AE", [("OBR-20", "104")]),
    "OMI_O23-ImagingOrder.hl7": ("AE", [("IPC-4", "104"), ("IPC-9", "104")]),
    "ORM_O01-GeneralOrder.hl7": ("AE", [("OBR-20", "104")]),
    "ORU_R01-CDA.hl7": ("AA", []),
    "ORU_R01-PDF.hl7": ("AA", []),
    "ORU_R01-SR.hl7": ("AA", []),
    "SIU_S12-NewAppointmentBooking.hl7": ("AA", []),
}
ORDERS = [name for name, (answer, _) in ANSWERS.items() if answer == "AE"]


def fitting(name: str) -> bytes:
    """Give a sample with identifiers that DICOM can hold."""
    raw = (FOLDER / name).read_bytes()
    raw = raw.replace(b"ScheduledProcStepID", b"SchedProcStepID")
    return raw.replace(b"ScheduledStationAET", b"StationAET")


def test_every_sample_has_its_answer_here():
    assert {path.name for path in FOLDER.glob("*.hl7")} == set(ANSWERS)


@pytest.mark.parametrize("name", ANSWERS)
def test_a_sample_gets_its_answer_and_is_kept(database, name):
    raw = (FOLDER / name).read_bytes()
    answer = send(inbound(database), raw)
    assert (code(answer), errors(answer)) == ANSWERS[name]
    (message,) = rows(database, "message")
    assert bytes(message["raw"]) == raw


@pytest.mark.parametrize("name", ORDERS)
def test_an_order_sample_that_fits_lands_right(database, name):
    assert code(send(inbound(database), fitting(name))) == "AA"
    (patient,) = rows(database, "patient")
    assert [patient[c] for c in ("patient_id", "issuer", "patient_name", "birth_date", "sex")] == [
        "PID_1",
        "ADT1",
        "Smith^Lucy^Mark",
        "20141014",
        "F",
    ]
    assert (patient["address"], patient["comments"], patient["medical_alerts"]) == (
        "PatientAddress",
        "PatientComments",
        "MedicalAlerts",
    )
    (order,) = rows(database, "imaging_order")
    assert order["placer_number"] == "PlacerOrderNumberImagingServiceRequest"
    assert order["order_number"] == order["filler_number"]
    assert order["filler_number"] == "FillerOrderNumberImagingServiceRequest"
    assert order["admission_id"] == "AdmissionIDFromVisitNo"
    assert (order["patient_weight"], order["patient_size"]) == ("65", "1.65")
    assert (order["pregnancy_status"], order["patient_state"]) == ("3", "PatientState")
    assert order["requesting_service"] == "Hospital1"
    assert order["referring_physician"] == (
        "ReferringPhysicianFN^ReferringPhysicianGN^ReferringPhysicianM..."
    )


@pytest.mark.parametrize("name", ORDERS)
def test_an_order_sample_that_fits_becomes_one_step(database, name):
    send(inbound(database), fitting(name))
    (procedure,) = rows(database, "requested_procedure")
    assert procedure["requested_procedure_id"] == "RequestedProcID"
    assert procedure["accession_number"] == "AccessionNumber"
    assert procedure["study_instance_uid"] == "1.2.392.200036.9125.0.198811291108.7"
    assert (procedure["code_value"], procedure["code_scheme"]) == ("10637-7", "LN")
    assert procedure["comments"] == "RequestedProcedureComments"
    assert procedure["transport"] == "PatientTransportArrangements"
    # UTF-8, whatever MSH-18 says.
    assert procedure["reason"] == "Rheumatoid, other arthritis with motor score from 12 –35.,com..."
    assert procedure["priority"] == ""
    (step,) = rows(database, "scheduled_step")
    assert (step["sps_id"], step["modality"]) == ("SchedProcStepID", "CT")
    assert step["start_local"] == "20000816151000"
    assert (step["protocol_value"], step["description"]) == ("10637-7", "Microscopic Observation")
    omi = name.startswith("OMI")
    assert step["station_ae_titles"] == ("StationAET1\\StationAET2" if omi else "")
    assert step["station_name"] == ("ScheduledStat..." if omi else "")


@pytest.mark.parametrize("name", ORDERS)
def test_what_a_person_should_see_is_flagged(sqlite_database, name):
    send(inbound(sqlite_database), fitting(name))
    (message,) = messages(sqlite_database)
    for flag in (
        "character set mislabelled",
        "ORC-7.6: a value that is not in [values.priority]",
        "OBR-31.2: shortened to 64 characters",
        "PV1-8: shortened to 64 characters",
    ):
        assert flag in message.flags


def test_the_merge_sample_makes_an_alias(database):
    send(inbound(database), (FOLDER / "ADT_A40-PatientMerge.hl7").read_bytes())
    by_id = {row["patient_id"]: row for row in rows(database, "patient")}
    assert by_id["OLD_PID_1"]["merged_into"] == by_id["NEW_PID_1"]["id"]


def test_the_veterinary_sample_keeps_chip_and_tattoo(database):
    name = "ADT_A31-UpdatePersonInfo-Veterinary.hl7"
    send(inbound(database), (FOLDER / name).read_bytes())
    (patient,) = rows(database, "patient")
    assert patient["patient_id"] == "PID_1"
    assert "CHIP_ID_1" in str(patient["other_ids"])
    assert "TATTOO_ID_1" in str(patient["other_ids"])


def test_the_person_sample_is_kept_for_orders_to_come(database):
    send(inbound(database), (FOLDER / "ADT_A31-UpdatePersonInfo.hl7").read_bytes())
    (patient,) = rows(database, "patient")
    told = [patient[c] for c in ("patient_id", "issuer", "patient_name", "birth_date", "comments")]
    assert told == ["PID_1", "ADT1", "Smith^Lucy^Mark", "20141014", "PatientComments"]
    assert rows(database, "imaging_order") == []


def test_the_change_of_an_identifier_takes_the_order_along(database):
    way_in = inbound(database)
    order = fitting("ORM_O01-GeneralOrder.hl7").replace(b"PID_1^", b"OLD_PID_1^")
    assert code(send(way_in, order)) == "AA"
    send(way_in, (FOLDER / "ADT_A47-ChangePatientID.hl7").read_bytes())
    by_id = {row["patient_id"]: row for row in rows(database, "patient")}
    assert by_id["OLD_PID_1"]["merged_into"] == by_id["NEW_PID_1"]["id"]
    (ordered,) = rows(database, "imaging_order")
    assert ordered["patient"] == by_id["NEW_PID_1"]["id"]


def test_the_appointment_sample_becomes_a_step_although_it_has_no_schedule(database):
    """Without SCH its number stands in AIS-11; its accents are escaped as Latin-1."""
    send(inbound(database), (FOLDER / "SIU_S12-NewAppointmentBooking.hl7").read_bytes())
    (order,) = rows(database, "imaging_order")
    assert (order["order_number"], order["placer_number"]) == ("-38521669", "-38521669")
    (procedure,) = rows(database, "requested_procedure")
    assert procedure["description"] == "SEPTOPLASTIA (OPERAÇÃO ISOLADA)"
    (step,) = rows(database, "scheduled_step")
    assert (step["start_local"], step["location"]) == ("20201023083000", "R1")
    assert (step["performing_physician"], step["modality"]) == ("teste^teste1", "")


@pytest.mark.parametrize(
    ("name", "kinds"),
    [("SR", {"text"}), ("PDF", {"text", "pdf"}), ("CDA", {"text", "markup"})],
)
def test_a_report_sample_is_linked_with_its_order(database, name, kinds):
    way_in = inbound(database)
    send(way_in, fitting("ORM_O01-GeneralOrder.hl7"))
    send(way_in, (FOLDER / f"ORU_R01-{name}.hl7").read_bytes())
    (report,) = rows(database, "report")
    (order,) = rows(database, "imaging_order")
    assert report["imaging_order"] == order["id"]
    assert (report["patient_id"], report["status"]) == ("PID_1", "FINAL")
    assert report["title"] == "Microscopic Observation"
    assert {row["kind"] for row in rows(database, "report_document")} == kinds
