"""`mwl serve`, as a person or an init system starts it, ends it, and kills it."""

import json
import os
import re
import signal
import socket
import sqlite3
import stat
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from hl7 import mllp
from mwl.dataset import MAX_BYTES
from mwl.db.migrate import upgrade
from mwl.net.pdu import Abort
from tests import warm
from tests.builders import orm
from tests.dicom_client import MODALITY_WORKLIST_FIND, DicomClient, request
from tests.serving import PATIENCE_S, Serving, environment

MWL = Path(sys.executable).with_name("mwl")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Serving]:
    with Serving(tmp_path, cold=True) as made:
        yield made


def get(server: Serving, path: str) -> tuple[int, dict[str, object]]:
    url = f"http://127.0.0.1:{server.ports['web']}{path}"
    try:
        with urllib.request.urlopen(url, timeout=PATIENCE_S) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def echo(server: Serving) -> None:
    address = ("127.0.0.1", server.ports["dicom"])
    with DicomClient(address, timeout_s=PATIENCE_S) as client:
        assert client.associate().echo() == 0x0000


def can_bind(port: int) -> bool:
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def eventually(truth: Callable[[], bool]) -> bool:
    """Wait for what happens by itself, for a bounded time."""
    deadline = time.monotonic() + PATIENCE_S
    while not (came := truth()) and time.monotonic() < deadline:
        time.sleep(0.01)
    return came


def run(folder: Path, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return warm.run(arguments, env=environment(folder, **environ), timeout=PATIENCE_S)


def test_it_serves_says_where_and_ends_in_good_order(server: Serving) -> None:
    server.start()
    assert set(server.ports) == {"dicom", "hl7", "web"}
    assert get(server, "/health/live") == (200, {"live": True})
    assert get(server, "/health/ready") == (
        200,
        {"ready": True, "parts": {"database": "ok", "dicom": "ok", "hl7": "ok"}},
    )
    echo(server)
    assert stat.S_IMODE(server.data_dir.stat().st_mode) == 0o700
    if sys.platform == "linux":  # a supervisor with threads could not fork safely
        assert len(list(Path(f"/proc/{server.process.pid}/task").iterdir())) == 1
    assert server.stop() == 0
    assert all(can_bind(port) for port in server.ports.values())
    assert "killed" not in server.log


def test_after_kill_9_nothing_keeps_a_port_and_it_starts_again(server: Serving) -> None:
    server.start()
    before = dict(server.ports)
    server.kill()
    assert eventually(lambda: all(can_bind(port) for port in before.values()))
    server.start()
    assert server.ports == before
    assert get(server, "/health/ready")[0] == 200


def test_roles_that_are_killed_serve_again_soon(server: Serving) -> None:
    server.start()
    for role in ("dicom", "hl7", "web", "jobs"):
        (first,) = server.pids(role)
        os.kill(first, signal.SIGKILL)
        server.wait_for_log(rf"role\.died role={role} ending=SIGKILL")
        assert eventually(lambda role=role: len(server.pids(role)) == 2)
        # The web role's worker must have gone with it, or the port would not be free.
        assert eventually(lambda: get(server, "/health/ready")[0] == 200)
    echo(server)
    assert server.stop() == 0


def test_web_worker_that_is_killed_serves_again_soon(server: Serving) -> None:
    server.start()
    (role,) = server.pids("web")
    children = Path(f"/proc/{role}/task/{role}/children").read_text().split()
    (worker,) = [pid for pid in children if "worker" in Path(f"/proc/{pid}/comm").read_text()]
    os.kill(int(worker), signal.SIGKILL)
    assert eventually(lambda: len(server.pids("web")) == 2)
    assert get(server, "/health/live")[0] == 200


def test_scanner_waits_while_its_role_restarts_and_is_not_refused(server: Serving) -> None:
    server.start()
    os.kill(server.pids("dicom")[0], signal.SIGSTOP)
    with socket.create_connection(("127.0.0.1", server.ports["dicom"]), timeout=PATIENCE_S):
        os.kill(server.pids("dicom")[0], signal.SIGKILL)
        echo(server)


def test_identifier_longer_than_any_that_is_read_is_not_even_gathered(server: Serving) -> None:
    server.start()
    with DicomClient(("127.0.0.1", server.ports["dicom"]), timeout_s=PATIENCE_S) as client:
        client.associate((MODALITY_WORKLIST_FIND,))
        whole = request(1, 0x0020, MODALITY_WORKLIST_FIND, 1, bytes(MAX_BYTES + 32768))
        client.send(whole[:-16384])  # and its end never comes
        assert client.read_pdu() == Abort(0, 0)
        client.accept = None
    echo(server)


def test_sender_is_hung_up_on_within_its_time_while_the_database_is_locked(
    tmp_path: Path,
) -> None:
    with Serving(tmp_path, environ={"MWL_HL7__ACK_TIMEOUT_S": "2"}) as server:
        server.start()
        address = ("127.0.0.1", server.ports["hl7"])
        with (
            closing(sqlite3.connect(server.data_dir / "mwl.db", isolation_level=None)) as other,
            socket.create_connection(address, timeout=PATIENCE_S) as sender,
        ):
            other.execute("BEGIN IMMEDIATE")
            began = time.monotonic()
            sender.sendall(mllp.frame(orm().encode()))
            assert sender.recv(1) == b""
            assert 1 < time.monotonic() - began < 3
        server.wait_for_log("hl7.outage")


def stopped(pid: int) -> bool:
    """Tell whether every thread of a process stands still: a signal takes its time."""
    threads = Path(f"/proc/{pid}/task").iterdir()
    return all(
        (thread / "stat").read_text().rpartition(")")[2].split()[0] == "T" for thread in threads
    )


def test_processes_of_one_role_share_its_port(tmp_path: Path) -> None:
    with Serving(tmp_path, environ={"MWL_DICOM__PROCESSES": "3"}) as server:
        server.start()
        assert len(server.pids("dicom")) == 3
        for pid in server.pids("dicom")[:2]:
            os.kill(pid, signal.SIGSTOP)
            assert eventually(lambda pid=pid: stopped(pid))
        echo(server)
        for pid in server.pids("dicom")[:2]:
            os.kill(pid, signal.SIGKILL)
        assert eventually(lambda: len(server.pids("dicom")) == 5)


@pytest.mark.parametrize("role", ["dicom", "hl7", "web"])
def test_port_in_use_is_one_line_and_exit_code_1(tmp_path: Path, role: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        free = {f"MWL_{name}__PORT": "0" for name in ("DICOM", "HL7", "WEB")}
        done = run(tmp_path, "serve", **{**free, f"MWL_{role.upper()}__PORT": port})
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        f"mwl: {role}.port: 127.0.0.1:{port} is in use by another program: end that, "
        f"or set {role}.port (MWL_{role.upper()}__PORT)\n"
    )


def test_second_server_on_the_web_port_of_the_first_is_told(server: Serving) -> None:
    # granian's workers share their port with whoever asks in the same way.
    server.start()
    done = run(server.data_dir, "serve", "web", MWL_WEB__PORT=str(server.ports["web"]))
    assert done.returncode == 1
    assert "web.port" in done.stderr


@pytest.mark.parametrize(
    ("environ", "line"),
    [
        ({"MWL_DICOM__HOST": "192.0.2.1"}, "mwl: dicom.host: 192.0.2.1 is no address of this"),
        ({"MWL_DICOM__PORT": "x"}, "mwl: MWL_DICOM__PORT: dicom.port: "),
        (
            {"MWL_DICOM__TLS__CERTIFICATE": "/nowhere/bridge.pem"},
            "mwl: dicom.tls.certificate: /nowhere/bridge.pem: can't be read: No such file",
        ),
        ({"MWL_DATA_DIR": "/dev/null/data"}, "mwl: data_dir: /dev/null/data: can't be created"),
        ({"MWL_HL7__PROFILE": "nothing"}, "mwl: "),
        ({"MWL_DATABASE__URL": "sqlite:////dev/null/x.db"}, "mwl: database.url: "),
    ],
)
def test_wrong_setting_is_one_line_and_exit_code_2(
    tmp_path: Path, environ: dict[str, str], line: str
) -> None:
    free = {f"MWL_{name}__PORT": "0" for name in ("DICOM", "HL7", "WEB")}
    done = run(tmp_path / "data", "serve", **{**free, **environ})
    assert done.returncode == 2, done.stderr
    said = [each for each in done.stderr.splitlines() if each.startswith("mwl: ")]
    assert len(said) == 1
    assert said[0].startswith(line)
    assert "Traceback" not in done.stderr


def test_one_role_waits_for_the_database_to_be_migrated(tmp_path: Path) -> None:
    with Serving(tmp_path, "dicom") as server:
        server.data_dir.mkdir()
        with server.log_file.open("ab") as log:
            process = subprocess.Popen(
                [str(MWL), "serve", "dicom"],
                env=environment(server.data_dir, MWL_DICOM__PORT="0"),
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        try:
            assert eventually(lambda: "database.waiting" in server.log)
            assert process.poll() is None
            assert not (server.data_dir / "mwl.db").exists()
            upgrade("sqlite:///mwl.db", server.data_dir)
            assert process.stdout is not None
            assert "serving" in process.stdout.readline()
            assert re.search(r"role\.serving role=dicom", server.log)
            assert "hl7" not in server.log
        finally:
            process.terminate()
            process.communicate(timeout=PATIENCE_S)
        assert process.returncode == 0


def test_ending_while_waiting_for_the_database_is_no_failure(tmp_path: Path) -> None:
    with Serving(tmp_path) as server, server.log_file.open("ab") as log:
        process = subprocess.Popen(
            [str(MWL), "serve", "hl7"],
            env=environment(server.data_dir, MWL_HL7__PORT="0"),
            stdout=subprocess.DEVNULL,
            stderr=log,
        )
        assert eventually(lambda: "database.waiting" in server.log)
        process.terminate()
        assert process.wait(PATIENCE_S) == 0


def test_devices_of_the_settings_are_known_once_it_serves(tmp_path: Path) -> None:
    config = tmp_path / "site.toml"
    config.write_text("[dicom]\nadmit = 'known'\n[[device]]\nae_title = 'CT1'\n")
    with Serving(tmp_path, environ={"MWL_CONFIG": str(config)}) as server:
        server.start()
        listed = server.run("device", "list", "--json").stdout
        assert [json.loads(line)["ae_title"] for line in listed.splitlines()] == ["CT1"]
        assert server.stop() == 0


def test_it_serves_on_postgresql_too(tmp_path: Path, postgresql_url: str) -> None:
    with Serving(tmp_path, environ={"MWL_DATABASE__URL": postgresql_url}) as server:
        server.start()
        assert get(server, "/health/ready")[0] == 200
        assert server.stop() == 0
