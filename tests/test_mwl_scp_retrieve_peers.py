"""Programs that nobody here wrote store, query and retrieve: DCMTK's and pynetdicom."""

import re
import subprocess
import warnings

import pytest
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.pixels import pixel_array
from structlog.testing import capture_logs

from mwl import devices
from mwl.config import DeviceTable
from mwl.scp.retrieve import STUDY_ROOT_GET
from tests.archived import NOW, Archived, encoded
from tests.dicom_server import serve_fixture  # noqa: F401 - a fixture
from tests.images import ct_slice, save
from tests.orthanc import free_ports, wait_for_port
from tests.peers import dcmtk
from tests.retriever import CT

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from pynetdicom import AE, build_role, evt

EXPLICIT, IMPLICIT = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2"
JPEG_LS, RLE, JPEG2000 = (f"1.2.840.10008.1.2.{each}" for each in ("4.80", "5", "4.90"))
SAMPLES = {
    JPEG_LS: "MR_small_jpeg_ls_lossless.dcm",
    RLE: "SC_rgb_rle_2frame.dcm",
    JPEG2000: "GDCMJ2K_TextGBR.dcm",
}
UIDS = ("StudyInstanceUID", "SeriesInstanceUID")


@pytest.fixture
def archived(sqlite_database, tmp_path):
    return Archived(sqlite_database, tmp_path)


@pytest.fixture
def port(archived, serve):
    return serve(*archived.services()).address[1]


def run(name, port, *arguments, code=0):
    done = subprocess.run(
        [dcmtk(name), "-aec", "MWL", *arguments[:-1], "127.0.0.1", str(port), *arguments[-1]],
        capture_output=True,
        timeout=60,
    )
    output = (done.stdout + done.stderr).decode("latin-1")
    assert done.returncode == code, output
    return output


def stored(port, tmp_path, *images):
    """Send images by storescu, as files."""
    folder = tmp_path / "sent"
    folder.mkdir()
    files = [str(save(each, folder)) for each in images]
    run("storescu", port, "-R", "-xi" if _is_implicit(images[0]) else "-xe", files)
    return folder


def _is_implicit(image):
    return image.file_meta.TransferSyntaxUID == IMPLICIT


def got_study(port, tmp_path, image, *options):
    """Retrieve by getscu; give its files by SOP Instance UID."""
    folder = tmp_path / "got"
    folder.mkdir()
    keys = ("QueryRetrieveLevel=STUDY", f"StudyInstanceUID={image.StudyInstanceUID}")
    named = [part for key in keys for part in ("-k", key)]
    output = run("getscu", port, "-v", "-S", *options, "-od", str(folder), *named, [])
    assert "Received C-GET Response" in output
    assert re.search(r"Number of Failed Suboperations +: 0", output)
    return received(folder)


def received(folder):
    return {dcmread(path).SOPInstanceUID: path for path in folder.iterdir()}


def test_getscu_gets_what_storescu_sent_to_the_byte(port, tmp_path):
    images = [ct_slice(number) for number in range(1, 6)]
    stored(port, tmp_path, *images)
    got = got_study(port, tmp_path, images[0], "+B")
    assert len(got) == 5
    for image in images:
        path = got[image.SOPInstanceUID]
        assert dcmread(path) == image
        assert path.read_bytes().endswith(encoded(image))


def test_getscu_gets_implicit_vr_written_anew(port, tmp_path):
    # It takes nothing but Explicit VR.
    images = [ct_slice(number, syntax=IMPLICIT) for number in range(1, 3)]
    stored(port, tmp_path, *images)
    got = got_study(port, tmp_path, images[0], "+B")
    for image in images:
        back = dcmread(got[image.SOPInstanceUID])
        assert back == image
        assert back.file_meta.TransferSyntaxUID == EXPLICIT


@pytest.mark.parametrize("level", ["SERIES", "IMAGE"])
def test_getscu_gets_a_part(port, tmp_path, level):
    images = [ct_slice(number, SeriesInstanceUID=f"1.2.{number}") for number in (1, 2)]
    stored(port, tmp_path, *images)
    got = tmp_path / "got"
    got.mkdir()
    keys = [f"QueryRetrieveLevel={level}", *(f"{uid}={images[0][uid].value}" for uid in UIDS)]
    if level == "IMAGE":
        keys.append(f"SOPInstanceUID={images[0].SOPInstanceUID}")
    named = [part for key in keys for part in ("-k", key)]
    run("getscu", port, "-S", "-od", str(got), *named, [])
    assert list(received(got)) == [images[0].SOPInstanceUID]


def test_findscu_finds_a_study_down_to_its_images(port, tmp_path):
    images = [ct_slice(number) for number in (1, 2, 3)]
    stored(port, tmp_path, *images)

    def find(level, *keys):
        named = [part for key in (f"QueryRetrieveLevel={level}", *keys) for part in ("-k", key)]
        output = run("findscu", port, "-v", "-S", *named, [])
        assert "Received Final Find Response (Success)" in output
        return output.replace("\0", "")

    study, series = (f"{uid}={images[0][uid].value}" for uid in UIDS)
    asked = ("StudyInstanceUID", "PatientName=DOE*", "NumberOfStudyRelatedInstances")
    output = find("STUDY", *asked, "ModalitiesInStudy=CT", "StudyDate=20300101-20300103")
    assert f"[{images[0].StudyInstanceUID}]" in output
    assert re.search(r"\(0020,1208\) IS \[3 ?\]", output)
    assert "[Doe^Jane^Q]" in output
    assert f"[{images[0].SeriesInstanceUID}]" in find("SERIES", study, "SeriesInstanceUID")
    output = find("IMAGE", study, series, "SOPInstanceUID", "InstanceNumber")
    assert {each.SOPInstanceUID for each in images} <= set(re.findall(r"\[([0-9.]+)\]", output))
    assert "Find Response: 1" not in find("STUDY", "StudyInstanceUID", "PatientID=nobody")


def test_findscu_is_told_what_its_identifier_lacks(port):
    keys = ("-k", "QueryRetrieveLevel=SERIES", "-k", "SeriesInstanceUID")
    output = run("findscu", port, "-v", "-S", *keys, [])
    assert "DoesNotMatchSOPClass" in output


@pytest.mark.parametrize("roles", [True, False])
@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT])
def test_pynetdicom_gets_what_is_kept(archived, port, roles, syntax):
    images = [ct_slice(number, syntax=syntax) for number in range(1, 4)]
    for image in images:
        archived.add(image)
    got = {}

    def handle(event):
        data_set = event.dataset
        data_set.file_meta = event.file_meta
        got[data_set.SOPInstanceUID] = data_set
        return 0x0000

    ae = AE("VIEWER")
    ae.add_requested_context(STUDY_ROOT_GET)
    ae.add_requested_context(CT)  # Implicit VR first
    negotiated = [build_role(CT, scp_role=True)] if roles else []
    association = ae.associate(
        "127.0.0.1",
        port,
        ae_title="MWL",
        ext_neg=negotiated,
        evt_handlers=[(evt.EVT_C_STORE, handle)],
    )
    assert association.is_established
    if not roles:
        # It refuses to be SCP of what it didn't say it would be; others don't.
        for context in association._accepted_cx.values():
            context._as_scp = context.abstract_syntax == CT
    identifier = Dataset()
    identifier.QueryRetrieveLevel = "STUDY"
    identifier.StudyInstanceUID = images[0].StudyInstanceUID
    with capture_logs():
        codes = [each.Status for each, _ in association.send_c_get(identifier, STUDY_ROOT_GET)]
    association.release()
    assert codes[-1] == 0x0000
    assert {uid: encoded(each, EXPLICIT) for uid, each in got.items()} == {
        each.SOPInstanceUID: encoded(each, EXPLICIT) for each in images
    }


@pytest.mark.parametrize("syntax", [JPEG_LS, RLE, JPEG2000])
def test_storescp_is_moved_what_it_takes_uncompressed_alone(
    archived, sqlite_database, port, tmp_path, syntax
):
    image = dcmread(get_testdata_file(SAMPLES[syntax]))
    image.StudyInstanceUID = image.SeriesInstanceUID = "1.2.826.0.1.3680043.8.498.5"
    archived.add(image)
    (listens,) = free_ports(1)
    device = DeviceTable(ae_title="STORE", host="127.0.0.1", port=listens)
    sqlite_database.write(lambda session: devices.add(session, device, now=NOW))
    got = tmp_path / "moved"
    got.mkdir()
    taking = subprocess.Popen([dcmtk("storescp"), "-od", str(got), "+uf", str(listens)])
    try:
        wait_for_port(listens)
        keys = ("QueryRetrieveLevel=STUDY", f"StudyInstanceUID={image.StudyInstanceUID}")
        named = [part for key in keys for part in ("-k", key)]
        output = run("movescu", port, "-v", "-S", "-aem", "STORE", *named, [])
    finally:
        taking.kill()
        taking.wait()
        archived.decoder.close()
    assert "Received Final Move Response (Success)" in output
    back = dcmread(received(got)[image.SOPInstanceUID])
    assert back.file_meta.TransferSyntaxUID == EXPLICIT
    assert (pixel_array(back) == pixel_array(image)).all()
