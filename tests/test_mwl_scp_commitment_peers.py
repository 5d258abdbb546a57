"""Orthanc stores its images here, asks for storage commitment, and is told."""

import json
import socket
import subprocess
import time
import urllib.request
from contextlib import closing, contextmanager

import pytest

from tests.committing import until
from tests.images import ct_slice, save
from tests.peers import require
from tests.serving import PATIENCE_S, served

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:pydicom")


class Orthanc:
    """Orthanc with a folder of its own; the modality `mwl` is us."""

    def __init__(self, port):
        self._port = port

    def ask(self, path, data=None):
        """GET, or POST `data`: bytes as they are, the rest as JSON."""
        if data is not None and not isinstance(data, bytes):
            data = json.dumps(data).encode()
        url = f"http://127.0.0.1:{self._port}{path}"
        with urllib.request.urlopen(urllib.request.Request(url, data), timeout=30) as answer:
            return json.load(answer)

    def commitment(self, *resources):
        """Ask for commitment of these resources; wait for the report."""
        asked = self.ask("/modalities/mwl/storage-commitment", {"Resources": list(resources)})
        return until(lambda: self._report(asked["ID"]), "the report")

    def _report(self, transaction):
        report = self.ask(f"/storage-commitment/{transaction}")
        return None if report["Status"] == "Pending" else report


def _free_ports(count):
    probes = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return ports


@contextmanager
def orthanc(folder, ours):
    """Run Orthanc; give it and its DICOM port."""
    program = require("Orthanc")
    http, dicom = _free_ports(2)
    settings = folder / "orthanc.json"
    settings.write_text(
        json.dumps(
            {
                "Name": "test",
                "StorageDirectory": str(folder / "orthanc"),
                "IndexDirectory": str(folder / "orthanc"),
                "HttpPort": http,
                "RemoteAccessAllowed": False,
                "AuthenticationEnabled": False,
                "DicomAet": "ORTHANC",
                "DicomPort": dicom,
                "DicomModalities": {"mwl": ["MWL", "127.0.0.1", ours]},
                "Plugins": [],
            }
        ),
        "utf-8",
    )
    process = subprocess.Popen(
        [program, str(settings)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                with closing(socket.create_connection(("127.0.0.1", http), 1)):
                    break
            except OSError:
                assert time.monotonic() < deadline, "Orthanc did not start"
                time.sleep(0.05)
        yield Orthanc(http), dicom
    finally:
        process.terminate()
        process.wait(PATIENCE_S)


def test_orthanc_is_told_what_is_safe_and_what_is_not(tmp_path):
    with (
        served(tmp_path, MWL_COMMIT__WAIT_MIN="0.02") as server,
        orthanc(tmp_path, server.ports["dicom"]) as (peer, port),
    ):
        server.run("device", "add", "ORTHANC", "--host", "127.0.0.1", "--port", str(port))
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
