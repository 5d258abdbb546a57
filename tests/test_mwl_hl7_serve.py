"""`mwl serve` with HL7 on several ports, plain and over TLS, and orders told of over TLS."""

import re
import signal
import socket
import sqlite3
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from hl7 import client, mllp
from hl7.er7 import Message
from hl7.server import MllpServer, Peer, listen
from mwl.config import Dicom, Hl7, Listener, Settings
from mwl.db import Database
from mwl.errors import ConfigError, Outage
from mwl.listeners import Listeners, needed
from mwl.tls import Files, Keys
from tests.builders import orm
from tests.certificates import Authority, Pair
from tests.mllp_peer import AA
from tests.orthanc import free_ports
from tests.serving import Serving
from tests.test_mwl_outbox_courier import put

SETTINGS = """
[hl7]
message_timeout_s = 0.5
max_connections_per_address = 30
ack_timeout_s = 1
outage = "AR"

[hl7.tls]
port = {tls}
certificate = "{ours.certificate}"
key = "{ours.key}"
ca = "{ca}"
client = "required"

[[hl7.listener]]
name = "old"
port = {old}
acknowledge = "original"

[[hl7.listener]]
name = "cardiology"
port = {cardiology}
tls = true

[[hl7.destination]]
name = "ris"
host = "localhost"
port = {ris}
tls = true
certificate = "ris.example"
"""


class Receiver:
    """A RIS that is told over TLS, and knows who tells it by a certificate."""

    def __init__(self, keys: Keys) -> None:
        self.messages: list[bytes] = []
        self.came = threading.Event()
        self._listener = listen("127.0.0.1", 0)
        self.port: int = self._listener.getsockname()[1]
        self._server = MllpServer(self._listener, self._take, keys=keys)
        self._server.start()

    def _take(self, raw: bytes, _peer: Peer) -> bytes:
        self.messages.append(raw)
        self.came.set()
        (said,) = mllp.Framer(10_000).feed(AA(raw) or b"")
        return said

    def stop(self) -> None:
        self._server.stop(1)
        self._listener.close()


class Site:
    def __init__(self, folder: Path) -> None:
        self.authority = Authority(folder, "ca")
        self.ours = self.renew()
        self.theirs = self.authority.issue("ris.example")
        files = Files(
            "ris", self.theirs.certificate, self.theirs.key, ca=self.authority.certificate
        )
        self.keys = Keys(files, "required")
        self.ris = Receiver(self.keys)
        self.ports = dict(zip(("tls", "old", "cardiology"), free_ports(3), strict=True))
        config = folder / "mwl.toml"
        ca = self.authority.certificate
        given = {**self.ports, "ours": self.ours, "ca": ca, "ris": self.ris.port}
        config.write_text(SETTINGS.format(**given), "utf-8")
        environ = {"MWL_CONFIG": str(config)}
        self.server = Serving(folder, "hl7", "jobs", "dicom", environ=environ)

    def renew(self) -> Pair:
        """Give the bridge a new certificate, in the same files."""
        return self.authority.issue("bridge", dns=["localhost"], ip=["127.0.0.1"])

    def send(self, port: int, tls: bool, **fields: str) -> str:
        given = self.keys.verifier if tls else None
        (ack,) = client.send("localhost", port, [orm(**fields).encode()], 10, given)
        return ack.code

    def certificate(self) -> bytes | None:
        """Look which certificate is shown just now."""
        context = ssl.create_default_context(cafile=str(self.authority.certificate))
        context.load_cert_chain(self.theirs.certificate, self.theirs.key)
        with (
            socket.create_connection(("127.0.0.1", self.ports["tls"]), 10) as sock,
            context.wrap_socket(sock, server_hostname="localhost") as wrapped,
        ):
            return wrapped.getpeercert(binary_form=True)

    def listeners(self) -> dict[str, str]:
        """Tell on which listener each message came in, by MSH-10."""
        with closing(sqlite3.connect(self.server.data_dir / "mwl.db")) as database:
            return dict(database.execute("SELECT control_id, listener FROM message").fetchall())


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    site = Site(tmp_path_factory.mktemp("site"))
    with site.server as server:
        server.start()
        yield site
        assert server.stop() == 0
        assert "Traceback" not in server.log
    site.ris.stop()


def test_each_port_takes_messages_in_its_own_way(site: Site) -> None:
    ports = site.ports
    said = [
        site.send(site.server.ports["hl7"], False, MSH_10="P", MSH_15="AL", MSH_16="NE"),
        site.send(ports["old"], False, MSH_10="O", MSH_15="AL", MSH_16="NE"),
        site.send(ports["tls"], True, MSH_10="T"),
        site.send(ports["cardiology"], True, MSH_10="C"),
    ]
    assert said == ["CA", "AA", "AA", "AA"]
    assert site.listeners() == {"P": "", "O": "old", "T": "", "C": "cardiology"}


def test_what_listens_where_is_told(site: Site) -> None:
    lines = [line.strip() for line in site.server.said.splitlines()]
    ports = site.ports
    assert f"TLS     127.0.0.1:{ports['tls']}  certificate required" in lines
    assert f"old     127.0.0.1:{ports['old']}  MLLP" in lines
    told = f"cardiology 127.0.0.1:{ports['cardiology']}  MLLP over TLS, certificate required"
    assert told in lines


def test_a_port_over_tls_speaks_nothing_else_and_wants_a_certificate(site: Site) -> None:
    for name in ("tls", "cardiology"):
        with socket.create_connection(("127.0.0.1", site.ports[name]), 10) as plain:
            plain.sendall(mllp.frame(orm(MSH_10="never").encode()))
            assert b"MSA" not in plain.recv(1000)
        nothing = Keys(Files("none", ca=site.authority.certificate)).verifier
        with pytest.raises(Outage, match="certificate of ours"):
            list(client.send("localhost", site.ports[name], [b"MSH|"], 5, nothing))
    assert "never" not in site.listeners()


def test_bounds_are_those_of_the_settings(site: Site) -> None:
    with socket.create_connection(("127.0.0.1", site.ports["old"]), 10) as half:
        half.sendall(b"\x0bMSH|half a message")
        assert half.recv(1) == b""
    site.server.wait_for_log(r"mllp\.closed .*reason='half a message, then silence'")
    silent = [socket.create_connection(("127.0.0.1", site.ports["old"])) for _ in range(100)]
    start = time.monotonic()
    assert site.send(site.ports["old"], False, MSH_10="served") == "AA"
    assert time.monotonic() - start < 3
    for sock in silent:
        sock.close()
    assert len(re.findall(r"mllp\.made_way", site.server.log)) >= 71


def test_an_outage_is_answered_as_the_settings_say(site: Site) -> None:
    with closing(sqlite3.connect(site.server.data_dir / "mwl.db")) as database:
        database.execute("BEGIN IMMEDIATE")
        assert site.send(site.server.ports["hl7"], tls=False) == "AR"
    assert site.send(site.server.ports["hl7"], tls=False) == "AA"


def test_the_command_sends_over_tls(site: Site, tmp_path: Path) -> None:
    message = tmp_path / "order.hl7"
    message.write_bytes(orm(MSH_10="SENT").encode())
    run = site.server.run
    assert run("hl7", "send", "--tls", str(message)).stdout.startswith("AA  SENT")
    place = f"localhost:{site.ports['cardiology']}"
    rule = f"sha256:{site.ours.fingerprint}"
    done = run("hl7", "send", "--to", place, "--certificate", rule, str(message))
    assert done.stdout.startswith("AA  SENT")
    done = run("hl7", "send", "--to", place, "--certificate", "other", str(message), code=1)
    assert "not other, as we know it" in done.stderr
    message.write_bytes(orm(MSH_10="Q", MSH_15="NE", MSH_16="NE").encode())
    assert run("hl7", "send", str(message)).stdout.startswith("--  Q")


def test_a_destination_is_told_over_tls(site: Site) -> None:
    with closing(Database("sqlite:///mwl.db", data_dir=site.server.data_dir)) as database:
        put(database, "order:1", destination="ris")
    assert site.ris.came.wait(30)
    (told,) = site.ris.messages
    assert Message.parse(told.decode()).text("ORC-1") == "SC"


def test_hangup_takes_new_certificates(site: Site) -> None:
    server, first = site.server, site.certificate()
    site.renew()
    assert site.certificate() == first
    server.process.send_signal(signal.SIGHUP)
    server.wait_for_log(r"(?s)(tls\.renewed.*){3}")  # dicom, hl7, jobs
    assert site.certificate() != first
    site.ours.key.write_text("half of it")
    second = site.certificate()
    server.process.send_signal(signal.SIGHUP)
    server.wait_for_log(r"(?s)(tls\.not_renewed .*hl7\.tls\.key: .*holds no private key.*){2}")
    assert site.certificate() == second
    site.renew()


def test_check_looks_at_every_port_and_at_the_files(site: Site) -> None:
    said = site.server.run("check", code=None).stdout
    for name, port in (("hl7.tls", "tls"), ("hl7.listener.old", "old")):
        assert re.search(rf"{re.escape(name)}\.port +127\.0\.0\.1:{site.ports[port]}", said)
    assert re.search(r"ok +hl7\.tls +certificate and key fit; of peers: required", said)


@pytest.mark.parametrize(
    ("listeners", "error", "told"),
    [
        (
            [("x", "127.0.0.1", "taken")],
            Outage,
            (
                "[[hl7.listener]] x: port: 127.0.0.1:{taken} is in use by another program: "
                "end that, or set [[hl7.listener]] x: port"
            ),
        ),
        (
            [("x", "127.0.0.1", "free"), ("y", "0.0.0.0", "free")],
            ConfigError,
            (
                "[[hl7.listener]] y: port: 0.0.0.0:{free} is that of [[hl7.listener]] x: port too: "
                "set another"
            ),
        ),
        (
            [("x", "203.0.113.1", "free")],
            ConfigError,
            "[[hl7.listener]] x: host: 203.0.113.1 is no address of this machine",
        ),
    ],
    ids=["in use", "twice", "not ours"],
)
def test_a_port_that_can_not_be_had_is_told_with_its_setting(
    listeners: list[tuple[str, str, str]], error: type[Exception], told: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        ports = {"taken": taken.getsockname()[1], "free": free_ports(1)[0]}
        tables = [
            Listener(name=name, host=host, port=ports[port]) for name, host, port in listeners
        ]
        settings = Settings(hl7=Hl7(port=0, listener=tuple(tables)))
        with pytest.raises(error) as caught:
            Listeners(settings, needed(settings, ["hl7"]))
    assert str(caught.value) == told.format(**ports)


def test_a_role_keeps_its_sockets_and_closes_the_others() -> None:
    listener = Listener(name="x", port=0)
    settings = Settings(dicom=Dicom(port=0), hl7=Hl7(port=0, listener=(listener,)))
    names = needed(settings, ["dicom", "hl7"])
    assert names == ["dicom", "hl7", "hl7.listener.x"]
    with closing(Listeners(settings, names)) as opened:
        assert opened.take("hl7").fileno() > 0
        assert {name: sock.fileno() > 0 for name, sock in opened.further().items()} == {"x": True}
        assert opened.over_tls("hl7") is None
        with pytest.raises(OSError, match="Bad file descriptor"):
            opened.address("dicom")
