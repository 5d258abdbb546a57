"""An order closes itself: begun, imaged, committed by real scanners; the RIS hears of it."""

import json
import socket
import subprocess
import time
from contextlib import ExitStack

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset

from tests import modality
from tests.builders import orm
from tests.images import ct_slice, save
from tests.mllp_peer import Ris
from tests.peers import dcmtk
from tests.s3 import environ, on_each_pair
from tests.serving import PATIENCE_S, Serving
from tests.test_journey_order import entries, findscu, send

STUDY = "1.2.826.0.1.3680043.8.498.1"
MPPS_UID = "1.2.826.0.1.3680043.8.498.7.1"
TRANSACTION = "1.2.826.0.1.3680043.8.498.8.1"


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return taken.getsockname()[1]


class Site:
    """A server, its RIS, and a scanner CT1 that takes reports on a port of its own."""

    def __init__(self, folder, **settings):
        self.stack = ExitStack()
        self.ris = self.stack.enter_context(Ris())
        self.reports_port = free_port()
        config = folder / "site.toml"
        config.write_text(
            f"""
            [[hl7.destination]]
            name = "ris"
            host = "127.0.0.1"
            port = {self.ris.port}
            events = ["IP", "CM", "DC", "CLOSED"]

            [[device]]
            ae_title = "CT1"
            host = "127.0.0.1"
            port = {self.reports_port}
            modality = "CT"
            may = ["worklist", "mpps", "store", "commit", "query", "retrieve"]
            """
        )
        settings = {"MWL_CONFIG": str(config), "MWL_SITE__ZONE": "Europe/Berlin", **settings}
        self.server = self.stack.enter_context(Serving(folder, environ=settings))
        self.server.start()

    def told(self, count):
        """Wait for so many messages to the RIS; their ORC-5, in order."""
        self.ris.wait(count)
        return [field(message, "ORC", 5) for message in self.ris.messages]

    def status(self):
        (row,) = entries(self.server, "--accession", "ACC1")
        return row["order_status"]

    def wait_for(self, status):
        deadline = time.monotonic() + PATIENCE_S
        while self.status() != status:
            assert time.monotonic() < deadline, f"{self.status()}, not {status}"
            time.sleep(0.1)


def field(message, segment, number):
    """Read a field of the first such segment."""
    lines = message.decode().split("\r")
    return next(line for line in lines if line.startswith(segment)).split("|")[number]


@pytest.fixture
def site(database_url, images_in, tmp_path):
    made = Site(tmp_path, MWL_DATABASE__URL=database_url, **environ(images_in))
    with made.stack:
        yield made


def slices(folder, count=3):
    images = [ct_slice(number, syntax="1.2.840.10008.1.2") for number in range(1, count + 1)]
    return images, [save(image, folder) for image in images]


def references(images):
    return [(image.SOPClassUID, image.SOPInstanceUID) for image in images]


def storescu(site, *files):
    command = [dcmtk("storescu"), "-aet", "CT1", "-aec", "MWL", "127.0.0.1"]
    port = str(site.server.ports["dicom"])
    subprocess.run([*command, port, *map(str, files)], check=True, timeout=PATIENCE_S)


def getscu(site, folder):
    """Fetch the study; its files."""
    folder.mkdir()
    keys = ["-k", "QueryRetrieveLevel=STUDY", "-k", f"StudyInstanceUID={STUDY}"]
    command = [dcmtk("getscu"), "-S", "-aet", "CT1", "-aec", "MWL", "-od", str(folder), *keys]
    port = str(site.server.ports["dicom"])
    subprocess.run([*command, "127.0.0.1", port], check=True, timeout=PATIENCE_S)
    return sorted(folder.iterdir())


def assert_same(files, images):
    """Compare data sets; files are found by their instances."""
    came = {image.SOPInstanceUID: image for image in map(dcmread, files)}
    assert came.keys() == {image.SOPInstanceUID for image in images}
    for image in images:
        assert dict(came[image.SOPInstanceUID].items()).keys() == dict(image.items()).keys()
        assert came[image.SOPInstanceUID] == Dataset(image)


@on_each_pair
def test_dcmjs_and_storescu_work_an_order_off(site, tmp_path):
    assert send(site.server, orm())[0].code == "AA"
    images, files = slices(tmp_path)
    port = site.server.ports["dicom"]

    begun = modality.perform(port, modality.begin(MPPS_UID, STUDY, "SPS1"))
    assert begun == [{"op": "create", "status": 0}]
    assert site.status() == "IN_PROGRESS"
    assert site.told(1) == ["IP"]

    storescu(site, *files[:2])
    ended = modality.perform(
        port,
        modality.store(files[2]),
        modality.complete(MPPS_UID, f"{STUDY}.1", references(images)),
        modality.commit(TRANSACTION, references(images)),
        listen=site.reports_port,
        wait=1,
    )
    assert [line["status"] for line in ended if line["op"] != "report"] == [0, 0, 0]
    (report,) = (line for line in ended if line["op"] == "report")
    assert (report["type"], report["calling"].strip()) == (1, "MWL")
    assert report["dataset"]["TransactionUID"] == TRANSACTION
    site.wait_for("CLOSED")
    assert site.told(3)[:2] == ["IP", "CM"]

    # It has left the list, and its images are what was sent.
    assert findscu(site.server, "AccessionNumber=ACC1") == []
    assert_same(getscu(site, tmp_path / "got"), images)
    assert site.server.run("verify", "--deep").returncode == 0


def test_images_that_come_late_close_the_order_when_they_have_come(site, tmp_path):
    assert send(site.server, orm())[0].code == "AA"
    images, files = slices(tmp_path, 2)
    port = site.server.ports["dicom"]
    steps = [
        modality.begin(MPPS_UID, STUDY, "SPS1"),
        modality.complete(MPPS_UID, f"{STUDY}.1", references(images)),
    ]
    assert [line["status"] for line in modality.perform(port, *steps)] == [0, 0]
    storescu(site, files[0])
    assert site.told(2) == ["IP", "CM"]
    time.sleep(3)  # as long as it takes to look for what can be closed
    assert site.status() == "COMPLETED"
    storescu(site, files[1])
    site.wait_for("CLOSED")


def test_an_order_that_comes_after_its_images_is_told_of(site, tmp_path):
    images, files = slices(tmp_path, 1)
    port = site.server.ports["dicom"]
    steps = [
        modality.begin(MPPS_UID, STUDY, "SPS1"),
        modality.complete(MPPS_UID, f"{STUDY}.1", references(images)),
    ]
    modality.perform(port, *steps)
    storescu(site, *files)
    unmatched = site.server.run("study", "list", "--unmatched", "--json").stdout.splitlines()
    assert [json.loads(line)["study_instance_uid"] for line in unmatched] == [STUDY]
    assert len(site.server.run("mpps", "list", "--unscheduled", "--json").stdout.splitlines()) == 1

    assert send(site.server, orm())[0].code == "AA"
    site.wait_for("CLOSED")
    assert "CM" in site.told(2)
    assert site.server.run("study", "list", "--unmatched", "--json").stdout == ""
