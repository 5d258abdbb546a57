"""Archives that others made, to be measured beside ours."""

import json
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.bench.sender import free_port
from tests.peers import dcmtk, require

_MAX_PDU_BYTES = 131_072  # the most that both take

Modalities = Mapping[str, Sequence[object]]


@contextmanager
def orthanc(
    folder: Path,
    modalities: Modalities | None = None,
    settings: Mapping[str, object] | None = None,
) -> Iterator[int]:
    """Serve an Orthanc with its own settings and a fresh store; gives its DICOM port.

    `modalities` are those that it knows: by name, AE title, host and port.
    """
    with orthanc_process(folder, modalities, settings) as (port, _):
        yield port


@contextmanager
def orthanc_process(
    folder: Path,
    modalities: Modalities | None = None,
    settings: Mapping[str, object] | None = None,
) -> Iterator[tuple[int, int]]:
    """Serve an Orthanc as above; gives its DICOM port and its process."""
    folder.mkdir(parents=True)
    port = free_port()
    file = folder / "orthanc.json"
    file.write_text(
        json.dumps(
            {
                "Name": "BENCH",
                "StorageDirectory": str(folder / "store"),
                "IndexDirectory": str(folder / "store"),
                "DicomServerEnabled": True,
                "DicomAet": "ORTHANC",
                "DicomPort": port,
                "DicomAlwaysAllowStore": True,
                "DicomAlwaysAllowFind": True,
                "DicomAlwaysAllowGet": True,
                "DicomAlwaysAllowMove": True,
                "DicomModalities": dict(modalities or {}),
                "MaximumPduLength": _MAX_PDU_BYTES,
                "OverwriteInstances": True,
                "HttpServerEnabled": False,
                "AuthenticationEnabled": False,
                "Plugins": [],
                **(settings or {}),
            }
        )
    )
    with _running([require("Orthanc"), str(file)], folder, port) as pid:
        yield port, pid


@contextmanager
def storescp(folder: Path) -> Iterator[int]:
    """Serve DCMTK's storescp, a process an association, which syncs nothing and keeps no index."""
    shelf = folder / "store"
    shelf.mkdir(parents=True)
    port = free_port()
    command = [
        dcmtk("storescp"),
        "--fork",
        "-od",
        str(shelf),
        "--max-pdu",
        str(_MAX_PDU_BYTES),
        str(port),
    ]
    with _running(command, folder, port):
        yield port


def answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


@contextmanager
def _running(command: Sequence[str], folder: Path, port: int) -> Iterator[int]:
    # Without it their answers wait for the sender's delayed acknowledgement: 21 slices/s.
    environ: Mapping[str, str] = {"TCP_NODELAY": "1"}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, env=environ, stdout=log, stderr=log)
        try:
            deadline = time.monotonic() + 30
            while not answers(port):
                assert process.poll() is None, (folder / "log").read_text("utf-8", "replace")
                assert time.monotonic() < deadline
                time.sleep(0.05)
            yield process.pid
        finally:
            process.terminate()
            process.wait()
