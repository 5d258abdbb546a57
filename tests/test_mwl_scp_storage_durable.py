"""0000 to a C-STORE means that a loss of power takes nothing: seen in the system calls."""

import re
import subprocess
import sys
from pathlib import Path

from tests.dicom_client import DicomClient, status
from tests.peers import missing, require
from tests.storing import CT, EXPLICIT, image, store

_SERVER = """
import sys
from pathlib import Path
from mwl.db import Database
from mwl.net.admission import Admission
from mwl.net.server import AssociationServer, listen
from mwl.objects.local import LocalStore
from mwl.scp.storage import StorageService

folder = Path(sys.argv[2])
database = Database(sys.argv[1], data_dir=folder)
service = StorageService(database, LocalStore(folder / "objects", 0))
server = AssociationServer(
    listen("127.0.0.1", 0), [service], admit=lambda *_: Admission.ACCEPTED
)
server.start()
print(server.address[1], flush=True)
sys.stdin.read()
server.stop(5)
"""
_CALLS = "trace=openat,write,pwrite64,writev,sendto,fsync,fdatasync"
_IMAGES = 5


def letter(call: str) -> str:
    """Name what a system call does to what matters; "" for the rest.

    n: a file made, w: bytes into it, f: its data synced, d: its folder synced, l: the
    database's log written, s: synced, A: an answer leaves.
    """
    name = re.match(r"\d+ +(\w+)\(", call)
    if name is None or re.search(r"= -1 ", call):
        return ""
    image_file, log = ".dcm" in call, "mwl.db-wal>" in call
    match name[1]:
        case "openat":
            return "n" if image_file and "O_CREAT" in call else ""
        case "fdatasync" | "fsync":
            if image_file:
                return "f"
            # A folder of objects: two levels of two digits.
            return "d" if re.search(r"/objects/../..>", call) else "s" * log
        case "sendto":
            return "A" if "<TCP" in call or "<socket" in call else ""
    return "w" if image_file else "l" * log


def test_file_folder_and_index_are_synced_before_each_answer(
    sqlite_url: str, tmp_path: Path
) -> None:
    trace = tmp_path / "trace"
    command = [require("strace"), "-f", "-y", "-qq", "-e", _CALLS, "-o", str(trace)]
    command += [sys.executable, "-c", _SERVER, sqlite_url, str(tmp_path)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as server:
        assert server.stdout is not None
        line = server.stdout.readline()
        if not line:
            assert server.stderr is not None
            told = server.stderr.read()
            assert b"PTRACE" in told, told
            missing("this container may not trace")
        with DicomClient(("127.0.0.1", int(line)), 30) as client:
            client.associate((CT,), transfer_syntaxes=(EXPLICIT,))
            for number in range(_IMAGES):
                assert status(store(client, image(number + 1))) == 0
        server.communicate(timeout=30)
    assert server.returncode == 0
    story = "".join(letter(call) for call in trace.read_text().splitlines())
    # The first A accepts the association; after the last image it is released.
    accepted, *images = story.split("A")[: _IMAGES + 1]
    assert "n" not in accepted, story
    for each in images:
        # The first ones in a new folder sync that too; SQLite may sync its log more often.
        assert re.fullmatch(r"d*n[wls]*wf+d+l[ls]*s", each), story
