"""TLS: files and what is wrong with them, whose certificate it is, and a bounded socket."""

import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from mwl.config import Dicom, Settings, Tls
from mwl.errors import ConfigError
from mwl.roles.secured import keys_of, look_after, renew
from mwl.sockets import TimedSocket
from mwl.tls import Files, Keys, Shown, TlsError, TlsSocket, check_rule, expiry, matches
from tests.certificates import Authority, Pair
from tests.peers import require

DAY = timedelta(days=1)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="module")
def ours(authority: Authority) -> Pair:
    return authority.issue("bridge", dns=["localhost"], ip=["127.0.0.1"], uri=["urn:mwl"])


def files(pair: Pair | None, ca: Path | None = None, **more: str) -> Files:
    if pair is None:
        return Files("dicom.tls", ca=ca)
    return Files("dicom.tls", pair.certificate, pair.key, ca=ca, **more)


# --- files


def fault(given: Files) -> str:
    with pytest.raises(ConfigError) as caught:
        Keys(given)
    text = str(caught.value)
    assert "\n" not in text
    return text


def test_files_that_cannot_be_used_are_named_with_what_to_do(
    authority: Authority, ours: Pair, tmp_path: Path
) -> None:
    other = authority.issue("other")
    locked = authority.issue("locked", password="secret")
    junk = tmp_path / "junk.pem"
    junk.write_bytes(b"\x30\x82nonsense")
    gone = tmp_path / "gone.pem"
    text = fault(Files("dicom.tls", gone, ours.key))
    assert text.startswith(f"dicom.tls.certificate: {gone}: can't be read: No such file")
    assert "dicom.tls.key" in fault(Files("dicom.tls", ours.certificate, gone))
    text = fault(Files("dicom.tls", ours.certificate, other.key))
    assert text.startswith(f"dicom.tls.key: {other.key}: is not the key of {ours.certificate}")
    assert fault(files(locked)).endswith("is encrypted: dicom.tls.key_password is needed")
    text = fault(files(locked, key_password="wrong"))
    assert text.endswith("key_password is wrong")
    assert "wrong'" not in text
    assert "secret" not in repr(files(locked, key_password="secret"))
    Keys(files(locked, key_password="secret"))
    assert "holds no certificate in PEM form" in fault(Files("dicom.tls", junk, ours.key))
    assert "holds no private key" in fault(Files("dicom.tls", ours.certificate, ours.certificate))
    assert fault(files(ours, junk)).startswith(f"dicom.tls.ca: {junk}: holds no certificate")
    junk.write_text("")
    assert "holds no certificate" in fault(files(ours, junk))


def test_certificates_that_end_are_told_before(authority: Authority, ours: Pair) -> None:
    now = datetime.now(UTC)
    assert list(Keys(files(ours, authority.certificate)).concerns(now)) == []
    over = authority.issue("over", lasts=-DAY)
    (text,) = Keys(files(over)).concerns(now)
    assert f"{over.certificate}: expired on {now - DAY:%Y-%m-%d}" in text
    soon = authority.issue("soon", lasts=10 * DAY)
    (text,) = Keys(files(soon)).concerns(now)
    assert f"expires on {now + 10 * DAY:%Y-%m-%d}" in text


def test_certificates_that_end_are_logged_and_a_failed_renewal_too(
    authority: Authority, tmp_path: Path
) -> None:
    over = authority.issue("ended", lasts=-DAY)
    given = Tls(certificate=str(over.certificate), key=str(over.key), port=1)
    with capture_logs() as logs:
        keys = keys_of(Settings(data_dir=tmp_path, dicom=Dicom(tls=given)))
        look_after(keys)
        renew(keys)
        over.key.write_text("")
        renew(keys)
    said = [(line["log_level"], line["event"]) for line in logs]
    ends = ("warning", "tls.certificate_ends")
    assert said == [ends, ("info", "tls.renewed"), ends, ("error", "tls.not_renewed")]


def test_expiry_is_read_in_both_forms_of_time(authority: Authority) -> None:
    far = authority.issue("far", lasts=timedelta(days=365 * 40))
    for pair, days in ((far, 365 * 40), (authority.issue("near"), 365)):
        ends = expiry(pair.certificate.read_text())
        assert abs(ends - datetime.now(UTC) - days * DAY) < DAY
    text = far.certificate.read_text()
    over = authority.issue("past", lasts=-DAY)
    assert expiry(text + over.certificate.read_text()) < datetime.now(UTC)
    for cut in ("", "junk", text[:200], text[:120] + text[-40:]):
        with pytest.raises((ValueError, IndexError, StopIteration)):
            expiry(cut)


def test_broken_new_file_keeps_what_there_was(authority: Authority, tmp_path: Path) -> None:
    pair = Authority(tmp_path, "ca").issue("x")
    keys = Keys(files(pair))
    before = keys.server()
    whole = pair.certificate.read_bytes()
    pair.certificate.write_text("half")
    with pytest.raises(ConfigError):
        keys.reload()
    assert keys.server() is before
    pair.certificate.write_bytes(whole)
    keys.reload()
    assert keys.server() is not before


# --- whose certificate


@pytest.mark.parametrize(
    ("rule", "is_it"),
    [
        ("ct1.example", True),
        ("CT1.EXAMPLE", True),
        ("urn:device:7", True),
        ("ct1", False),
        ("*.example", False),
        ("", False),
        ("sha256:" + "ab" * 32, True),
        ("SHA256:" + ":".join(["AB"] * 32), True),
        ("sha256:" + "ac" * 32, False),
        ("sha1:" + "ab" * 32, False),
    ],
)
def test_rule_names_a_certificate_by_fingerprint_or_name(rule: str, is_it: bool) -> None:
    certificate = Shown("ab" * 32, ("ct1.example", "urn:device:7"))
    assert matches(rule, certificate) is is_it


def test_fingerprint_that_is_none_is_refused() -> None:
    assert check_rule(" sha256:" + "AB:" * 31 + "AB") == "sha256:" + "ab" * 32
    assert check_rule(" ct1 ") == "ct1"
    for wrong in ("sha256:", "sha256:12", "sha256:" + "zz" * 32):
        with pytest.raises(ValueError, match="64 hexadecimal"):
            check_rule(wrong)


# --- the socket


Ends = tuple[TlsSocket, TlsSocket]


def connect(server: ssl.SSLContext, client: ssl.SSLContext, host: str = "localhost") -> Ends:
    """Shake hands over a socket pair; the server's end first. Raises what either end raises."""
    here, there = socket.socketpair()
    ends = TlsSocket(TimedSocket(here), server), TlsSocket(TimedSocket(there), client, host)
    faults: list[Exception] = []

    def shake(end: TlsSocket) -> None:
        try:
            end.handshake(5)
        except OSError as error:
            faults.append(error)

    thread = threading.Thread(target=shake, args=(ends[0],))
    thread.start()
    shake(ends[1])
    thread.join()
    if faults:
        for end in ends:
            end.close()
        raise faults[-1] if len(faults) == 1 else ExceptionGroup("both", faults)
    return ends


@pytest.fixture
def pair(authority: Authority, ours: Pair) -> Iterator[Ends]:
    keys = Keys(files(ours, authority.certificate))
    ends = connect(keys.server(), keys.verifier().context)
    with closing(ends[0]), closing(ends[1]):
        yield ends


def test_what_is_written_is_read_whole_and_in_order(pair: Ends) -> None:
    server, client = pair
    sent = bytes(range(256)) * 2000
    thread = threading.Thread(target=server.sendall, args=(sent, 5))
    thread.start()
    got = bytearray()
    while len(got) < len(sent):
        got += client.recv(100_000, 5)
    thread.join()
    assert got == sent


def test_waits_are_bounded_and_a_look_waits_for_nothing(pair: Ends) -> None:
    server, client = pair
    with pytest.raises(TimeoutError):
        server.recv(10, 0.05)
    space = memoryview(bytearray(10))
    assert server.recv_waiting(space) is None
    client.sendall(b"0123456789abc", 1)
    time.sleep(0.05)
    assert server.recv_waiting(space) == 10
    assert server.recv_waiting(space) == 3  # nothing is left in the kernel: it lies in OpenSSL
    assert server.recv_waiting(space) is None
    with pytest.raises(TimeoutError):
        server.sendall(bytes(50_000_000), 0.1)


def test_end_of_the_peer_is_an_end_with_and_without_close_notify(pair: Ends) -> None:
    server, client = pair
    client.sendall(b"last", 1)
    client.close()
    assert server.recv(10, 1) == b"last"
    assert server.recv(10, 1) == b""
    assert server.recv_waiting(memoryview(bytearray(1))) == 0


def test_peer_that_only_closes_has_ended_too(authority: Authority, ours: Pair) -> None:
    keys = Keys(files(ours, authority.certificate))
    server, client = connect(keys.server(), keys.verifier().context)
    server.sendall(b"session tickets come first", 1)
    client.recv(100, 1)
    client._raw.close()
    assert server.recv(10, 1) == b""
    with pytest.raises(OSError, match=r"[Pp]ipe|reset"):
        server.sendall(b"x", 1)
    server.close()


def test_another_thread_ends_a_read(pair: Ends) -> None:
    server, _ = pair
    timer = threading.Timer(0.05, server.shutdown, (socket.SHUT_RD,))
    timer.start()
    assert server.recv(10, 10) == b""
    server.sendall(b"we end", 1)  # what is said last still goes out
    timer.join()


def test_record_that_was_tampered_with_ends_the_connection(pair: Ends) -> None:
    server, client = pair
    client._raw.sendall(b"\x17\x03\x03\x00\x20" + bytes(32), 1)
    with pytest.raises(TlsError, match=r"mac|decryption"):
        server.recv(10, 1)


def test_handshake_has_one_deadline_that_no_byte_extends(ours: Pair) -> None:
    here, there = socket.socketpair()
    stop = threading.Event()

    def trickle() -> None:
        hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500)
        with suppress(OSError):
            for at in range(len(hello)):
                there.send(hello[at : at + 1])
                if stop.wait(0.02):
                    return

    thread = threading.Thread(target=trickle)
    thread.start()
    server = TlsSocket(TimedSocket(here), Keys(files(ours)).server())
    began = time.monotonic()
    with pytest.raises(TimeoutError):
        server.handshake(0.3)
    assert time.monotonic() - began < 5
    stop.set()
    thread.join()
    server.close()
    there.close()


@pytest.mark.parametrize(
    ("first", "words"),
    [
        (b"\x01\x00\x00\x00\x00\xcd\x00\x01", "speaks no TLS"),
        (b"GET / HTTP/1.1\r\n\r\n", "speaks no TLS"),
        (b"\x16\x03\x01\xff\xff" + bytes(100), "TLS failed|no TLS"),
        (b"", "closed"),
    ],
)
def test_what_is_no_handshake_is_told_at_once(ours: Pair, first: bytes, words: str) -> None:
    here, there = socket.socketpair()
    there.sendall(first)
    there.shutdown(socket.SHUT_WR)
    server = TlsSocket(TimedSocket(here), Keys(files(ours)).server())
    with pytest.raises(TlsError, match=words):
        server.handshake(5)
    server.close()
    there.close()


# --- verification


def calling(context: ssl.SSLContext, keys: Keys, rule: str = "", host: str = "localhost") -> Ends:
    verifier = keys.verifier(rule)
    return connect(context, verifier.context, host)


def test_client_says_in_words_what_is_wrong_with_a_server(
    authority: Authority, ours: Pair, tmp_path: Path
) -> None:
    trusting = Keys(files(None, authority.certificate))
    strange = Authority(tmp_path, "strange")
    cases: list[tuple[Pair, Keys, str, str]] = [
        (ours, Keys(files(None, strange.certificate)), "localhost", "authority that we don't"),
        (authority.issue("over", dns=["localhost"], lasts=-DAY), trusting, "localhost", "expired"),
        (ours, trusting, "elsewhere", "another host's"),
        (ours, trusting, "127.0.0.2", "another host's"),
    ]
    for pair, keys, host, words in cases:
        with pytest.raises(ExceptionGroup) as caught:
            calling(Keys(files(pair)).server(), keys, host=host)
        assert any(words in str(each) for each in caught.value.exceptions), words
    for host in ("localhost", "127.0.0.1"):
        for end in calling(Keys(files(ours)).server(), trusting, host=host):
            end.close()


@pytest.mark.parametrize(
    ("mode", "shows", "is_let_in"),
    [
        ("none", True, True),
        ("optional", False, True),
        ("optional", True, True),
        ("required", True, True),
        ("required", False, False),
    ],
)
def test_server_asks_for_certificates_as_told(
    authority: Authority, ours: Pair, mode: str, shows: bool, is_let_in: bool
) -> None:
    server = Keys(files(ours, authority.certificate), mode).server()
    mine = authority.issue("ct1.example", dns=["ct1"], uri=["urn:device:7"]) if shows else None
    client = Keys(files(mine, authority.certificate)).verifier().context
    if not is_let_in:
        with pytest.raises(TlsError, match="no certificate"):
            connect(server, client)
        return
    ends = connect(server, client)
    shown = ends[0].peer
    if mode == "none" or not shows:
        assert shown is None
    else:
        assert shown is not None
        assert mine is not None
        assert shown == Shown(mine.fingerprint, ("ct1.example", "ct1", "urn:device:7"))
    for end in ends:
        end.close()


def test_client_of_an_unknown_authority_is_not_let_in_and_told_so(
    authority: Authority, ours: Pair, tmp_path: Path
) -> None:
    stranger = Authority(tmp_path, "strange").issue("ct1")
    server = Keys(files(ours, authority.certificate), "optional").server()
    client = Keys(files(stranger, authority.certificate)).verifier().context
    with pytest.raises(TlsError, match="authority that we don't trust"):
        connect(server, client)


def test_nothing_older_than_1_2_and_nothing_without_forward_secrecy(ours: Pair) -> None:
    context = Keys(files(ours)).server()
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    suites = [each["name"] for each in context.get_ciphers()]
    assert "ECDHE-RSA-AES128-GCM-SHA256" in suites
    assert "DHE-RSA-AES256-GCM-SHA384" in suites
    assert all(name.startswith(("TLS_", "ECDHE-", "DHE-")) for name in suites)
    assert context.options & ssl.OP_NO_RENEGOTIATION
    assert context.options & ssl.OP_NO_COMPRESSION
    assert not any("CBC" in name or name.endswith("-SHA") for name in suites)


@pytest.mark.parametrize(
    ("options", "agrees"),
    [
        (["-tls1_2"], True),
        (["-tls1_3"], True),
        (["-tls1_1", "-cipher", "ALL:@SECLEVEL=0"], False),
        (["-tls1_2", "-cipher", "DHE-RSA-AES128-GCM-SHA256"], True),
        (["-tls1_2", "-cipher", "ECDHE-RSA-AES256-GCM-SHA384"], True),
        (["-tls1_2", "-cipher", "AES128-SHA:AES128-GCM-SHA256"], False),
    ],
)
def test_openssl_agrees_on_what_the_profile_has(
    authority: Authority, options: list[str], agrees: bool
) -> None:
    program = require("openssl")
    context = Keys(files(authority.issue("rsa", use_rsa=True))).server()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        peer = subprocess.Popen(
            [program, "s_client", "-connect", f"127.0.0.1:{listener.getsockname()[1]}", *options],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        listener.settimeout(10)
        accepted, _ = listener.accept()
    server = TlsSocket(TimedSocket(accepted), context)
    try:
        if agrees:
            server.handshake(5)
        else:
            with pytest.raises(TlsError):
                server.handshake(5)
    finally:
        server.close()
        peer.kill()
        peer.wait()
