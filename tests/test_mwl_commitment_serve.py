"""Storage commitment by `mwl serve`: stored, asked for, reported, whatever is killed between."""

import json
import re
import sqlite3
import warnings
from contextlib import closing

import pytest
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from mwl.commitment import Reference
from tests.committer import Reports, association, listener, request
from tests.committing import until
from tests.images import ct_slice
from tests.serving import Serving, served

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from pynetdicom import AE

pytestmark = [
    pytest.mark.filterwarnings("ignore::UserWarning:pydicom"),
    pytest.mark.filterwarnings(
        "ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning"
    ),
]


def store(port, *images, title="CT1"):
    entity = AE(ae_title=title)
    entity.add_requested_context(CTImageStorage, ExplicitVRLittleEndian)
    opened = entity.associate("127.0.0.1", port, ae_title="MWL")
    assert opened.is_established
    assert [opened.send_c_store(image).Status for image in images] == [0] * len(images)
    opened.release()


def references(*images):
    return [Reference(image.SOPClassUID, image.SOPInstanceUID) for image in images]


def commitments(server, *options):
    done = server.run("commit", "list", "--json", *options)
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_images_are_stored_committed_and_reported(tmp_path):
    images = [ct_slice(number) for number in (1, 2, 3)]
    reports = Reports()
    with served(tmp_path) as server, listener(reports) as port:
        server.run("device", "add", "CT1", "--host", "127.0.0.1", "--port", str(port))
        store(server.ports["dicom"], *images)
        with association(server.ports["dicom"]) as opened:
            assert request(opened, references(*images)) == 0x0000
        event_type, uid, good, bad = reports.next()
        assert (event_type, uid, bad) == (1, "1.2.3", {})
        assert good == [image.SOPInstanceUID for image in images]
        until(lambda: commitments(server, "--state", "reported"))
        # A person may have it told again.
        (entry,) = commitments(server)
        server.run("commit", "report", str(entry["id"]))
        assert reports.next()[:2] == (1, "1.2.3")
        assert "there is none" in server.run("commit", "report", "4711", code=1).stderr
        assert "Doe" not in server.log


def test_a_report_comes_on_the_same_association_from_another_process(tmp_path):
    image = ct_slice(1)
    reports = Reports()
    with served(tmp_path) as server:
        store(server.ports["dicom"], image)
        with association(server.ports["dicom"], reports) as opened:
            assert request(opened, references(image)) == 0x0000
            assert reports.next()[0] == 1


@pytest.mark.parametrize("preference", ["new", "same"])
def test_a_kill_between_request_and_report_loses_neither(tmp_path, preference):
    first, second = ct_slice(1), ct_slice(2)
    reports = Reports()
    with Serving(tmp_path) as server, listener(reports) as port:
        server.start()
        device = ("--host", "127.0.0.1", "--port", str(port), "--commit-report", preference)
        server.run("device", "add", "CT1", *device)
        store(server.ports["dicom"], first)
        with association(server.ports["dicom"]) as opened:
            assert request(opened, references(first, second)) == 0x0000
            server.kill()
            opened.abort()
        _half_a_minute_later(server)
        server.start()
        (entry,) = commitments(server)
        assert (entry["state"], entry["instances"]) == ("waiting", 2)
        assert reports.is_empty()
        store(server.ports["dicom"], second)
        event_type, _, good, bad = reports.next(90)
        assert (event_type, len(good), bad) == (1, 2, {})


def _half_a_minute_later(server):
    """Let what the dead association held be free, as it is when so long has passed."""
    with closing(sqlite3.connect(server.data_dir / "mwl.db")) as database, database:
        database.execute("UPDATE commitment SET held_until = received_at WHERE held_by <> ''")


def test_a_flipped_byte_on_disk_is_never_committed(tmp_path):
    image = ct_slice(1)
    reports = Reports()
    with served(tmp_path) as server:
        store(server.ports["dicom"], image)
        (file,) = (server.data_dir / "objects").rglob("*.dcm")
        data = bytearray(file.read_bytes())
        data[-100] ^= 0x10
        file.write_bytes(data)
        with association(server.ports["dicom"], reports) as opened:
            request(opened, references(image))
            assert reports.next() == (2, "1.2.3", [], {image.SOPInstanceUID: 0x0110})
        assert re.search(r"critical commitment\.bytes_differ", server.log)


def test_an_image_never_sent_fails_after_the_wait(tmp_path):
    reports = Reports()
    with (
        served(tmp_path, MWL_COMMIT__WAIT_MIN="0.02") as server,
        association(server.ports["dicom"], reports) as opened,
    ):
        image = ct_slice(1)
        request(opened, references(image))
        assert reports.next() == (2, "1.2.3", [], {image.SOPInstanceUID: 0x0112})


def test_a_device_that_may_not_ask_is_refused(tmp_path):
    with served(tmp_path) as server:
        server.run("device", "add", "CT1", "--may", "store")
        with association(server.ports["dicom"]) as opened:
            assert request(opened, references(ct_slice(1))) == 0x0124
        assert commitments(server) == []
