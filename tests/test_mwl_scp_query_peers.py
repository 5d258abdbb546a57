"""Programs that nobody here wrote query the archive: DCMTK's findscu and pynetdicom."""

import re
import subprocess
import warnings

import pytest
from pydicom.dataset import Dataset

from mwl.scp.query import PATIENT_ROOT_FIND, PATIENT_STUDY_ONLY_FIND, STUDY_ROOT_FIND
from tests.archived import Archived
from tests.dicom_server import serve_fixture  # noqa: F401 - a fixture
from tests.images import ct_slice
from tests.peers import dcmtk

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from pynetdicom import AE
    from pynetdicom.pdu_primitives import SOPClassExtendedNegotiation

ROOT = "1.2.826.0.1.3680043.8.498"
ROOTS = {"-P": PATIENT_ROOT_FIND, "-S": STUDY_ROOT_FIND, "-O": PATIENT_STUDY_ONLY_FIND}
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:pydicom")


def image(patient, study, series, number, **overrides):
    return ct_slice(
        number,
        PatientID=f"P{patient}",
        StudyInstanceUID=f"{ROOT}.{study}",
        SeriesInstanceUID=f"{ROOT}.{study}.{series}",
        SOPInstanceUID=f"{ROOT}.{study}.{series}.{number}",
        Rows=1,
        Columns=1,
        **overrides,
    )


def images():
    """Make patient P1 with two studies, 3 series, 4 images, and P2, of two issuers, with others."""
    requested = Dataset()
    requested.ScheduledProcedureStepID, requested.RequestedProcedureID = "SPS1", "RP1"
    other = Dataset()
    other.ScheduledProcedureStepID, other.RequestedProcedureID = "SPS2", "RP2"
    requests = {"RequestAttributesSequence": [requested, other]}
    first = {"StudyDate": "20300701", "StudyTime": "230000.5", "PatientName": "Doe^Jane"}
    second = {"StudyDate": "20300702", "StudyTime": "080000", "PatientName": "Doe^Jane"}
    bare = {"PatientName": "Roe^Rita", "StudyDate": None, "StudyTime": None}
    return [
        image(1, 1, 1, 1, **first, **requests),
        image(1, 1, 1, 2, **first),
        image(1, 1, 2, 1, **first, Modality="SR", SOPClassUID="1.2.840.10008.5.1.4.1.1.88.11"),
        image(1, 2, 1, 1, **second),
        image(2, 3, 1, 1, **bare, IssuerOfPatientID="ADT"),
        image(2, 4, 1, 1, PatientName="Poe^Paul", IssuerOfPatientID="OTHER"),
    ]


@pytest.fixture
def port(database, tmp_path, serve):
    archived = Archived(database, tmp_path)
    for each in images():
        archived.add(each)
    return serve(*archived.services()).address[1]


# --- findscu


def findscu(port, *options):
    """Give the answers that findscu prints: texts by tag, without those of items."""
    done = subprocess.run(
        [dcmtk("findscu"), "-v", "-aec", "MWL", *options, "127.0.0.1", str(port)],
        capture_output=True,
        timeout=60,
    )
    output = (done.stdout + done.stderr).decode("latin-1")
    assert done.returncode == 0, output
    assert re.search(r"Received Final Find Response \(Success\)", output), output
    return [
        dict(re.findall(r"^I: \((\w{4},\w{4})\) \w\w \[(.*?)[\0 ]*\] ", each, re.MULTILINE))
        for each in output.split("Find Response: ")[1:]
    ]


def keys(level, *names):
    return [part for name in (f"QueryRetrieveLevel={level}", *names) for part in ("-k", name)]


@pytest.mark.parametrize("root", ["-P", "-O"])
def test_findscu_finds_patients_each_with_its_issuer(port, root):
    wanted = ("PatientID", "IssuerOfPatientID", "PatientName", "NumberOfPatientRelatedStudies")
    found = findscu(port, root, *keys("PATIENT", *wanted, "NumberOfPatientRelatedInstances"))
    told = ("0010,0020", "0010,0021", "0010,0010", "0020,1200", "0020,1204")
    assert [tuple(each.get(tag, "") for tag in told) for each in found] == [
        ("P1", "", "Doe^Jane", "2", "4"),
        ("P2", "ADT", "Roe^Rita", "1", "1"),
        ("P2", "OTHER", "Poe^Paul", "1", "1"),
    ]


@pytest.mark.parametrize("root", ["-P", "-S", "-O"])
def test_findscu_finds_studies_below_a_patient(port, root):
    wanted = ("StudyInstanceUID", "ModalitiesInStudy", "NumberOfStudyRelatedInstances")
    first, second = findscu(port, root, *keys("STUDY", "PatientID=P1", *wanted))
    assert sorted(first["0008,0061"].split("\\")) == ["CT", "SR"]
    assert (first["0020,1208"], second["0020,1208"]) == ("3", "1")
    assert first["0008,0054"] == "MWL"
    assert first["0008,0056"] == "ONLINE"


@pytest.mark.parametrize("root", ["-P", "-S"])
def test_findscu_goes_down_to_images(port, root):
    study = ("PatientID=P1", f"StudyInstanceUID={ROOT}.1")
    series = findscu(port, root, *keys("SERIES", *study, "SeriesInstanceUID", "Modality"))
    assert [each["0008,0060"] for each in series] == ["CT", "SR"]
    named = (*study, f"SeriesInstanceUID={ROOT}.1.1")
    found = findscu(port, root, *keys("IMAGE", *named, "SOPInstanceUID", "InstanceNumber"))
    assert [each["0020,0013"] for each in found] == ["1", "2"]


# --- pynetdicom


def ask(port, root, level, options=(), **keys):
    """Ask with the options agreed on that are named by their place in the negotiation."""
    item = SOPClassExtendedNegotiation()
    item.sop_class_uid = root
    item.service_class_application_information = bytes(number in options for number in range(7))
    ae = AE(ae_title="VIEWER")
    ae.add_requested_context(root)
    association = ae.associate("127.0.0.1", port, ae_title="MWL", ext_neg=[item])
    assert association.is_established
    accepted = association.acceptor.sop_class_extended
    assert accepted.get(root, b"") == item.service_class_application_information
    identifier = Dataset()
    identifier.QueryRetrieveLevel = level
    for name, value in keys.items():
        setattr(identifier, name, value)
    responses = list(association.send_c_find(identifier, root))
    association.release()
    return [answer for _, answer in responses[:-1]], [code.Status for code, _ in responses]


RELATIONAL, COMBINED, FUZZY, ZONE, _, EMPTY, MULTIPLE = range(7)


def test_keys_of_any_level_find_what_relational_queries_ask_for(port):
    wanted = {"StudyInstanceUID": "", "Modality": "SR"}
    found, codes = ask(port, STUDY_ROOT_FIND, "STUDY", (RELATIONAL,), **wanted)
    assert [each.StudyInstanceUID for each in found] == [f"{ROOT}.1"]
    assert codes == [0xFF01, 0]  # matched by, but not a study's to tell

    found, _ = ask(port, STUDY_ROOT_FIND, "SERIES", (RELATIONAL,), SeriesInstanceUID="")
    assert len(found) == 5
    both = {"SOPInstanceUID": "", "PatientID": "P1", "Modality": "CT"}
    found, _ = ask(port, PATIENT_ROOT_FIND, "IMAGE", (RELATIONAL,), **both)
    assert len(found) == 3
    wanted = {"PatientID": "", "StudyDate": "20300702"}
    found, _ = ask(port, PATIENT_ROOT_FIND, "PATIENT", (RELATIONAL,), **wanted)
    assert [each.PatientID for each in found] == ["P1"]


def test_without_them_what_lies_above_is_named(port):
    found, codes = ask(port, STUDY_ROOT_FIND, "SERIES", SeriesInstanceUID="")
    assert (found, codes) == ([], [0xA900])
    found, codes = ask(port, PATIENT_ROOT_FIND, "STUDY", StudyInstanceUID="")
    assert (found, codes) == ([], [0xA900])
    found, codes = ask(port, PATIENT_STUDY_ONLY_FIND, "SERIES", SeriesInstanceUID="")
    assert (found, codes) == ([], [0xA900])


def test_dates_and_times_are_one_range_where_that_was_agreed_on(port):
    night = {"StudyInstanceUID": "", "StudyDate": "20300701-20300702", "StudyTime": "2200-0900"}
    assert len(ask(port, STUDY_ROOT_FIND, "STUDY", (COMBINED,), **night)[0]) == 2
    assert ask(port, STUDY_ROOT_FIND, "STUDY", **night)[0] == []


def test_a_day_and_the_answers_are_in_the_zone_that_was_agreed_on(port):
    # 23:00:00.5 of July 1 and 8:00 of July 2 in Berlin are 6:00:00.5 and 15:00 of July 2 there.
    tokyo = {
        "StudyInstanceUID": "",
        "StudyDate": "20300702-20300702",
        "StudyTime": "0500-0700",
        "TimezoneOffsetFromUTC": "+0900",
    }
    (found,), _ = ask(port, STUDY_ROOT_FIND, "STUDY", (ZONE,), **tokyo)
    told = found.StudyDate, found.StudyTime, found.TimezoneOffsetFromUTC
    assert told == ("20300702", "060000.5", "+0900")
    there = {**tokyo, "StudyTime": ""}
    assert len(ask(port, STUDY_ROOT_FIND, "STUDY", (ZONE,), **there)[0]) == 2
    # Not agreed on, it is what the site's own clocks show; its offset may still be asked for.
    here = {**there, "TimezoneOffsetFromUTC": ""}
    (found,), _ = ask(port, STUDY_ROOT_FIND, "STUDY", **here)
    assert (found.StudyTime, found.TimezoneOffsetFromUTC) == ("080000", "+0200")


def test_a_zone_that_there_is_not_is_no_empty_list(port):
    keys = {"TimezoneOffsetFromUTC": "CET"}
    assert ask(port, STUDY_ROOT_FIND, "STUDY", (ZONE,), **keys) == ([], [0xC001])


def test_two_quotation_marks_ask_for_what_is_empty(port):
    wanted = {"StudyInstanceUID": "", "IssuerOfPatientID": '""'}
    found, _ = ask(port, STUDY_ROOT_FIND, "STUDY", (EMPTY,), **wanted)
    assert [each.StudyInstanceUID for each in found] == [f"{ROOT}.1", f"{ROOT}.2"]
    assert ask(port, STUDY_ROOT_FIND, "STUDY", **wanted)[0] == []


@pytest.mark.parametrize(
    ("step", "procedure", "found"),
    [("SPS1", "RP1", 1), ("SPS2", "", 1), ("SPS1", "RP2", 0), ("", "RP?", 1), ("SPS3", "", 0)],
)
def test_a_sequence_matches_by_one_of_its_items(port, step, procedure, found):
    item = Dataset()
    item.ScheduledProcedureStepID, item.RequestedProcedureID = step, procedure
    answers, codes = ask(
        port,
        STUDY_ROOT_FIND,
        "SERIES",
        StudyInstanceUID=f"{ROOT}.1",
        SeriesInstanceUID="",
        RequestAttributesSequence=[item],
    )
    assert len(answers) == found
    assert codes == [0xFF00] * found + [0]


@pytest.mark.parametrize("root", [PATIENT_ROOT_FIND, STUDY_ROOT_FIND])
def test_names_are_matched_by_sound_or_by_being_empty(port, root):
    level = "PATIENT" if root == PATIENT_ROOT_FIND else "STUDY"
    found, _ = ask(port, root, level, (FUZZY,), PatientName="Jane Do")
    assert {str(each.PatientName) for each in found} == {"Doe^Jane"}
    assert ask(port, root, level, (FUZZY, EMPTY), PatientName='""')[0] == []
