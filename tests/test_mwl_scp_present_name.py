"""Whoever asks for images gets them under the patient's present name; what is kept, stays."""

import hashlib
from datetime import UTC, datetime
from io import BytesIO

import pytest
from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset
from pydicom.uid import JPEGLSLossless

from mwl import archive, devices
from mwl.archive import following, listing, query
from mwl.config import DeviceTable
from mwl.net import status
from mwl.scp.query import STUDY_ROOT_FIND
from mwl.studies import Identity
from tests.archive_rows import study_uid
from tests.archived import Archived, encoded
from tests.dicom_server import dial_fixture, serve_fixture  # noqa: F401 - fixtures
from tests.identifiers import encoded as identifier
from tests.images import ct_slice
from tests.mover import Mover
from tests.pictured import compressed
from tests.receiver import Receiver
from tests.retriever import CT, Retriever
from tests.test_mwl_archive_following import insert, merge, tell
from tests.worklist_rows import item

EXPLICIT, IMPLICIT = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2"
STUDY = {"StudyInstanceUID": study_uid(1)}
OLD, NEW = "Doe^Number1", "Roe^Jane"
# pydicom warns of what these tests send on purpose.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:pydicom")


def image(number=1, syntax=EXPLICIT, **overrides):
    """Make an image of order 1 of `worklist_rows`."""
    said = {
        "PatientID": "P1",
        "IssuerOfPatientID": "HOSP",
        "PatientName": OLD,
        "SeriesInstanceUID": f"{study_uid(1)}.1",
        "SOPInstanceUID": f"{study_uid(1)}.1.{number}",
    }
    return ct_slice(number, syntax=syntax, **{**said, **STUDY, **overrides})


@pytest.fixture
def archived(sqlite_database, tmp_path):
    insert(sqlite_database, item(1), item(2))
    return Archived(sqlite_database, tmp_path)


@pytest.fixture
def get(archived, serve, dial):
    """Retrieve the study; its data sets, as bytes, by instance number."""

    def retrieve(syntax=EXPLICIT):
        retriever = Retriever(dial(serve(*archived.services())), ((CT, syntax),))
        assert retriever.get("STUDY", **STUDY) == status.SUCCESS
        return {int(uid.split(".")[-1]): data for uid, data in retriever.received.items()}

    return retrieve


@pytest.fixture
def find(archived, serve, dial):
    """Ask for studies by C-FIND; what each says of `names`."""

    def ask(names, **keys):
        client = dial(serve(*archived.services())).associate(
            (STUDY_ROOT_FIND,), transfer_syntaxes=(EXPLICIT,)
        )
        asked = Dataset()
        asked.QueryRetrieveLevel = "STUDY"
        for name in names:
            setattr(asked, name, "")
        for name, value in keys.items():
            setattr(asked, name, value)
        *answers, _ = client.find(identifier(asked, explicit=True), STUDY_ROOT_FIND)
        found = [read(data) for _, data in answers]
        return [tuple(str(each[name].value) for name in names) for each in found]

    return ask


def read(data, syntax=EXPLICIT):
    return read_dataset(BytesIO(data), syntax == IMPLICIT, True)


def kept(archived, received):
    return b"".join(archived.store.read(received.key, received.data_set_offset))


def listed(archived):
    return list(listing.studies(archived.database))


def said(data_set):
    names = ("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "AccessionNumber")
    return tuple(str(data_set.get(name)) for name in names)


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT])
def test_a_renamed_patients_images_go_out_under_the_new_name(archived, get, find, syntax):
    made = image(syntax=syntax)
    received = archived.add(made)
    before = encoded(made)
    assert get(syntax)[1] == before
    tell(archived.database, patient_name=NEW)
    (data,) = get(syntax).values()
    assert said(read(data, syntax)) == (NEW, "P1", "19800229", "F", "ACC1")
    assert read(data, syntax).PixelData == made.PixelData
    assert find(["PatientName"], PatientID="P1") == [(NEW,)]
    assert find(["PatientName"], PatientName="roe*") == [(NEW,)]
    assert find(["PatientName"], PatientName="Doe*") == []
    # What is kept is what came.
    assert kept(archived, received) == before
    assert hashlib.sha256(kept(archived, received)).digest() == received.sha256
    tell(archived.database, patient_name=OLD)
    assert get(syntax)[1] == before


def test_late_images_under_the_old_name_and_the_new_are_one_study(archived, get):
    tell(archived.database, patient_name=NEW)
    archived.add(image(1, PatientName=NEW))
    archived.add(image(2))
    archived.add(image(3, PatientName=NEW, SeriesInstanceUID=f"{study_uid(1)}.2"))
    names = {number: str(read(data).PatientName) for number, data in get().items()}
    assert names == {1: NEW, 2: NEW, 3: NEW}
    assert get()[1] == encoded(image(1, PatientName=NEW))  # it says so already


def test_after_a_merge_and_a_new_number_images_are_the_survivors(archived, get, find):
    archived.add(image())
    merge(archived.database, "P1", "P2", patient_name="Doe^Number2")
    found = read(get()[1])
    assert said(found)[:2] == ("Doe^Number2", "P2")
    merge(archived.database, "P2", "N7")  # ADT^A47
    found = read(get()[1])
    assert (found.PatientID, found.IssuerOfPatientID) == ("N7", "HOSP")
    assert find(["PatientID"], PatientID="N7") == [("N7",)]
    assert find(["PatientID"], PatientID="P1") == []


def test_what_is_linked_by_hand_is_the_orders_until_it_is_unlinked(archived, get, find):
    before = encoded(image())
    archived.add(image())
    link = {"order": 2}
    archived.database.write(lambda session: archive.link(session, study_uid(1), **link))
    assert said(read(get()[1])) == ("Doe^Number2", "P2", "19800229", "F", "ACC2")
    assert find(["PatientName", "AccessionNumber"]) == [("Doe^Number2", "ACC2")]
    archived.database.write(lambda session: archive.unlink(session, study_uid(1)))
    assert get()[1] == before
    assert find(["PatientName", "AccessionNumber"]) == [(OLD, "ACC1")]


def test_a_name_beyond_latin_1_is_sent_in_utf_8_and_the_rest_with_it(archived, get):
    made = image(SpecificCharacterSet="ISO_IR 100", StudyDescription="Schädel")
    archived.add(made)
    tell(archived.database, patient_name="Иванов^Иван=伊万")
    found = read(get()[1])
    assert found.SpecificCharacterSet == "ISO_IR 192"
    assert (found.PatientName, found.StudyDescription) == ("Иванов^Иван=伊万", "Schädel")
    # To be written in another transfer syntax changes nothing about that.
    found = read(get(IMPLICIT)[1], IMPLICIT)
    assert (found.PatientName, found.StudyDescription) == ("Иванов^Иван=伊万", "Schädel")
    assert found.PixelData == made.PixelData


@pytest.mark.parametrize("name", [NEW, "Рое^Жанета"])
def test_compressed_images_are_renamed_and_their_pixels_left(archived, get, name):
    made = compressed(image(), str(JPEGLSLossless), "jpegls_encode")
    pixels, plain = made.PixelData, image().PixelData
    archived.add(made)
    tell(archived.database, patient_name=name)
    found = read(get(str(JPEGLSLossless))[1])
    assert (found.PatientName, found.PixelData) == (name, pixels)
    # For who can't take them, they are decoded: renamed all the same.
    found = read(get(EXPLICIT)[1])
    assert (found.PatientName, found.PixelData) == (name, plain)


def test_c_move_sends_the_present_name_too(archived, serve, dial):
    archived.add(image())
    tell(archived.database, patient_name=NEW)
    with Receiver() as receiver:
        store = DeviceTable(ae_title="STORE", host="127.0.0.1", port=receiver.port)
        now = datetime.now(UTC)
        archived.database.write(lambda session: devices.add(session, store, now=now))
        mover = Mover(dial(serve(*archived.services())))
        assert mover.move("STORE", "STUDY", **STUDY) == status.SUCCESS
        ((_, data),) = receiver.received.values()
    assert read(data).PatientName == NEW


def test_most_rows_carry_nothing_to_change(archived):
    archived.add(image())

    def identities():
        with archived.database.read() as session:
            return [row.identity for row in query.objects(session, {})]

    assert identities() == [None]
    tell(archived.database, patient_name=NEW)
    (identity,) = identities()
    assert Identity.of(identity) == (NEW, "P1", "HOSP", "19800229", "F", "ACC1")
    assert following.aliases(identity) is None


def test_who_contradicts_the_study_is_set_aside_or_goes_out_as_it_came(archived, get):
    archived.add(image(1))
    tell(archived.database, patient_name=NEW, birth_date="19800229", sex="F")

    def come(number, **said):
        key = archived.add(image(number, **said)).key
        aside = [row["key"] for row in listing.quarantined(archived.database)]
        return "quarantined" if key in aside else "stored"

    stranger = {"PatientName": "Poe^Edgar"}
    nobody = {"PatientID": "", "IssuerOfPatientID": ""}
    assert come(2, **nobody, **stranger, PatientBirthDate="", PatientSex="M") == "quarantined"
    assert come(3, **nobody, **stranger) == "quarantined"
    assert come(4, **stranger, PatientBirthDate="", PatientSex="M") == "stored"
    assert come(5, **stranger) == "stored"
    assert come(6, **nobody, **stranger) == "quarantined"  # though such a one was stored
    assert come(7) == "stored"
    assert come(8, **nobody) == "stored"
    assert come(9, PatientName=NEW) == "stored"
    assert come(10, PatientName="ROE^JANE^^", PatientBirthDate="") == "stored"
    found = {number: read(data) for number, data in get().items()}
    names = {number: str(each.PatientName) for number, each in found.items()}
    poe = dict.fromkeys((4, 5), "Poe^Edgar")
    assert names == {**dict.fromkeys((1, 7, 8, 9), NEW), 10: "ROE^JANE^^", **poe}
    assert (found[4].PatientBirthDate, found[4].PatientSex) == ("", "M")
    assert {found[8].PatientID, found[10].PatientID} == {"P1"}
    assert found[10].PatientBirthDate == "19800229"
    (study,) = listed(archived)
    assert study["differs"] is True


def test_a_study_that_nobody_contradicts_has_no_mark(archived, get):
    tell(archived.database, patient_name=NEW)
    archived.add(image(1, PatientName=NEW))
    archived.add(image(2))  # her former name
    assert {str(read(data).PatientName) for data in get().values()} == {NEW}
    (study,) = listed(archived)
    assert study["differs"] is False


def test_a_birth_date_or_sex_that_contradicts_is_marked(archived, get):
    archived.add(image(1))
    tell(archived.database, patient_name=NEW)
    archived.add(image(2, PatientSex="M"))
    (study,) = listed(archived)
    assert study["differs"] is True
    archived.add(image(3, PatientBirthDate="19010101"))
    found = {number: read(data) for number, data in get().items()}
    assert {n: str(each.PatientName) for n, each in found.items()} == {1: NEW, 2: NEW, 3: OLD}
    assert found[3].PatientBirthDate == "19010101"


def test_images_from_before_and_after_a_merge_are_one_patients(archived, get):
    unknown = {"PatientName": "Unknown^Male", "PatientBirthDate": ""}
    tell(archived.database, patient_name="Unknown^Male", birth_date="")
    merge(archived.database, "P1", "P2", patient_name="Doe^Number2", birth_date="19800229")
    archived.add(image(1, PatientID="P2", PatientName="Doe^Number2"))
    archived.add(image(2, **unknown))
    archived.add(image(3, **unknown))
    found = [said(read(data))[:2] for data in get().values()]
    assert found == [("Doe^Number2", "P2")] * 3
    (study,) = listed(archived)
    assert study["differs"] is False
