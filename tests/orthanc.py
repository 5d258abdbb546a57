"""Orthanc with a folder of its own; for it, we are the modality `mwl`.

with Orthanc(folder, http, dicom, ours=port) as peer:
    peer.ask("/modalities/mwl/echo", {})
"""

import json
import random
import socket
import subprocess
import time
import urllib.request
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, Self

from tests.certificates import Authority, Pair
from tests.committing import until
from tests.peers import require
from tests.serving import PATIENCE_S


class Orthanc:
    """A running Orthanc; `dicom` is its DICOM port, its AE title is `title`."""

    def __init__(
        self,
        folder: Path,
        http: int,
        dicom: int,
        *,
        ours: int,
        title: str = "ORTHANC",
        tls: tuple[Authority, Pair] | None = None,
        max_pdu_bytes: int = 16384,
    ) -> None:
        """Prepare; over TLS both ways with `tls`, whom it trusts and what it shows."""
        self.title, self.dicom, self._http = title, dicom, http
        folder.mkdir(exist_ok=True)
        modality: dict[str, Any] = {"AET": "MWL", "Host": "127.0.0.1", "Port": ours}
        settings: dict[str, Any] = {
            "Name": "test",
            "StorageDirectory": str(folder / "orthanc"),
            "IndexDirectory": str(folder / "orthanc"),
            "HttpPort": http,
            "RemoteAccessAllowed": False,
            "AuthenticationEnabled": False,
            "DicomAet": title,
            "DicomPort": dicom,
            "DicomModalities": {"mwl": modality},
            "DicomAlwaysAllowMove": True,
            "MaximumPduLength": max_pdu_bytes,
            "OverwriteInstances": True,
            "Plugins": [],
        }
        if tls is not None:
            authority, pair = tls
            modality["UseDicomTls"] = True
            settings |= {
                "DicomTlsEnabled": True,
                "DicomTlsCertificate": str(pair.certificate),
                "DicomTlsPrivateKey": str(pair.key),
                "DicomTlsTrustedCertificates": str(authority.certificate),
                "DicomTlsRemoteCertificateRequired": False,
            }
        self._settings = folder / "orthanc.json"
        self._settings.write_text(json.dumps(settings), "utf-8")
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and don't wait."""
        self._process = subprocess.Popen(
            [require("Orthanc"), str(self._settings)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def wait(self) -> None:
        """Wait until it serves."""
        wait_for_port(self._http)

    def stop(self) -> None:
        """End it; what it has is nobody's."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(PATIENCE_S)

    def __enter__(self) -> Self:
        self.start()
        self.wait()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def ask(self, path: str, data: object = None, method: str | None = None) -> Any:
        """GET, or POST `data`: bytes as they are, the rest as JSON."""
        if data is not None and not isinstance(data, bytes):
            data = json.dumps(data).encode()
        url = f"http://127.0.0.1:{self._http}{path}"
        request = urllib.request.Request(url, data, method=method)
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)

    def instances(self, study: str) -> dict[str, str]:
        """List the instances of a study: Orthanc's identifiers by SOP Instance UID."""
        asked = {"Level": "Instance", "Query": {"StudyInstanceUID": study}, "Expand": True}
        found = self.ask("/tools/find", asked)
        return {each["MainDicomTags"]["SOPInstanceUID"]: each["ID"] for each in found}

    def commitment(self, *resources: str) -> Any:
        """Ask for commitment of these resources; wait for the report."""
        asked = self.ask("/modalities/mwl/storage-commitment", {"Resources": list(resources)})
        return until(lambda: self._report(asked["ID"]), "the report")

    def _report(self, transaction: str) -> Any:
        report = self.ask(f"/storage-commitment/{transaction}")
        return None if report["Status"] == "Pending" else report


def wait_for_port(port: int) -> None:
    """Wait until somebody listens there."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            with closing(socket.create_connection(("127.0.0.1", port), 1)):
                return
        except OSError:
            assert time.monotonic() < deadline, f"nobody listens at {port}"
            time.sleep(0.02)


def free_ports(count: int) -> list[int]:
    """Find free ports of loopback, below those that connections are given for a moment."""
    ports: set[int] = set()
    while len(ports) < count:
        port = random.randint(20_000, 32_000)
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            ports.add(port)
    return list(ports)
