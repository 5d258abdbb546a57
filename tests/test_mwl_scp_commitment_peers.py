"""Orthanc stores its images here, asks for storage commitment, and is told."""

import pytest

from tests.images import ct_slice, save
from tests.orthanc import Orthanc, free_ports
from tests.serving import served

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:pydicom")


def test_orthanc_is_told_what_is_safe_and_what_is_not(tmp_path):
    with (
        served(tmp_path, MWL_COMMIT__WAIT_MIN="0.02") as server,
        Orthanc(tmp_path / "peer", *free_ports(2), ours=server.ports["dicom"]) as peer,
    ):
        server.run("device", "add", "ORTHANC", "--host", "127.0.0.1", "--port", str(peer.dicom))
        images = [ct_slice(number) for number in (1, 2, 3)]
        files = [save(image, tmp_path) for image in images]
        ids = [peer.ask("/instances", file.read_bytes())["ID"] for file in files]
        peer.ask("/modalities/mwl/store", {"Resources": ids[:2], "Synchronous": True})
        stored = [image.SOPInstanceUID for image in images]

        report = peer.commitment(*ids[:2])
        assert report["Status"] == "Success", report
        assert [each["SOPInstanceUID"] for each in report["Success"]] == stored[:2]

        report = peer.commitment(*ids)
        assert report["Status"] == "Failure", report
        assert sorted(each["SOPInstanceUID"] for each in report["Success"]) == sorted(stored[:2])
        (failed,) = report["Failures"]
        assert failed["SOPInstanceUID"] == stored[2]
        assert failed["FailureReason"] == 0x0112, failed
