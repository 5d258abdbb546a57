"""C-ECHO over TLS to DCMTK's storescp and to ourselves, and what is said when it fails."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from mwl.commitment import Judged, Reference, State
from mwl.commitment.event import Report
from mwl.devices import Answer
from mwl.net.server import AssociationServer, TlsListener, listen
from mwl.scp.echo import EchoService
from mwl.scu import Patience, Peer, echo, report
from mwl.tls import Files, Keys
from mwl.tls.contexts import ClientMode
from tests.certificates import Authority, Pair
from tests.committer import Reports, listener
from tests.dicom_server import admit_all
from tests.test_mwl_scu_echo import storescp

WAIT_S = 2.0


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("scu"))


@pytest.fixture(scope="module")
def device(authority: Authority) -> Pair:
    return authority.issue("ct1.example", dns=["localhost"], use_rsa=True)


@pytest.fixture(scope="module")
def ours(authority: Authority) -> Pair:
    return authority.issue("bridge", use_rsa=True)


def keys(authority: Authority, pair: Pair | None = None) -> Keys:
    certificate, key = (pair.certificate, pair.key) if pair else (None, None)
    return Keys(Files("dicom.tls", certificate, key, ca=authority.certificate))


@contextmanager
def tls_peer(pair: Pair, ca: Path, mode: ClientMode = "none") -> Iterator[int]:
    """Serve as a device with a certificate; give its port."""
    listener, plain = listen("127.0.0.1", 0), listen("127.0.0.1", 0)
    peer = Keys(Files("device", pair.certificate, pair.key, ca=ca), mode)
    tls = TlsListener(listener, peer)
    server = AssociationServer(plain, [EchoService()], admit=admit_all, tls=tls)
    server.start()
    try:
        yield listener.getsockname()[1]
    finally:
        server.stop(0)


def ask(port: int, with_: Keys | None, *, rule: str = "", host: str = "localhost") -> Answer:
    return echo(Peer("CT1", host, port, True, rule), "MWL", WAIT_S, with_)


def test_storescp_over_tls_answers_with_and_without_our_certificate(
    authority: Authority, device: Pair, ours: Pair
) -> None:
    shown = ["+tls", str(device.key), str(device.certificate)]
    trusted = ["+cf", str(authority.certificate)]
    with storescp(*shown, *trusted) as port:  # requires a certificate
        well = ask(port, keys(authority, ours))
        assert well.well, well.text
        assert well.text.startswith("answered in ")
        bad = ask(port, keys(authority))
        assert not bad.well
        assert "certificate" in bad.text
    with storescp(*shown, *trusted, "--ignore-peer-cert") as port:
        assert ask(port, keys(authority)).well


def test_device_is_known_by_its_fingerprint_its_name_or_its_host(
    authority: Authority, device: Pair
) -> None:
    mine = keys(authority)
    with tls_peer(device, authority.certificate) as port:
        assert ask(port, mine).well
        assert ask(port, mine, rule=f"sha256:{device.fingerprint}", host="127.0.0.1").well
        assert ask(port, mine, rule="CT1.example", host="127.0.0.1").well
        by_host = ask(port, mine, host="127.0.0.1")
        assert not by_host.well
        assert by_host.text == (
            f"127.0.0.1:{port} and we don't come together over TLS: its certificate is another "
            "host's: correct the host, or name its certificate"
        )
        other = ask(port, mine, rule="mr1.example")
        assert other.text.startswith("its certificate is that of ct1.example, localhost (sha256:")
        assert other.text.endswith("not mr1.example, as we know it")
        assert not ask(port, mine, rule="sha256:" + "0" * 64).well


def test_what_is_wrong_with_a_certificate_is_said(
    authority: Authority, device: Pair, tmp_path: Path
) -> None:
    stranger = Authority(tmp_path, "strange")
    over = authority.issue("over", dns=["localhost"], lasts=timedelta(days=-1))
    with tls_peer(device, authority.certificate) as port:
        assert "authority that we don't trust: add it to ca" in ask(port, keys(stranger)).text
        assert "authority that we don't trust" in ask(port, None).text
    with tls_peer(over, authority.certificate) as port:
        assert "its certificate has expired" in ask(port, keys(authority)).text
    with tls_peer(device, authority.certificate, "required") as port:
        assert "it asks for a certificate of ours" in ask(port, keys(authority)).text
        strange = ask(port, keys(authority, stranger.issue("bridge")))
        assert "does not know who signed our certificate" in strange.text


def test_peer_without_tls_is_told_from_one_that_is_not_there(authority: Authority) -> None:
    with storescp() as port:
        text = ask(port, keys(authority)).text
        assert "TLS" in text
        assert "speak" in text or "answers without" in text
    with closing(listen("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        peer = Peer("CT1", "localhost", port, True)
        text = echo(peer, "MWL", 0.3, keys(authority)).text
        assert text.endswith("no TLS handshake within 0.3 s: does it speak TLS there?")
    assert "nobody listens" in ask(port, keys(authority)).text


def test_plain_call_to_a_port_of_tls_says_so(authority: Authority, device: Pair) -> None:
    with tls_peer(device, authority.certificate) as port:
        answer = echo(Peer("CT1", "localhost", port), "MWL", WAIT_S)
    assert not answer.well
    assert "takes connections, but" in answer.text


@pytest.mark.filterwarnings("ignore::UserWarning:pydicom")
def test_storage_commitment_is_reported_over_tls(authority: Authority, device: Pair) -> None:
    peer = Keys(Files("device", device.certificate, device.key))
    kept = Report("1.2.3", [(Reference("1.2.840.10008.5.1.4.1.1.2", "1.2.3.4"), 0)])
    judged = Judged(1, "CT1", "MWL", State.JUDGED, kept)
    reports = Reports()
    with listener(reports, tls=peer.server()) as port:
        callee = Peer("CT1", "127.0.0.1", port, True, "ct1.example")
        assert report(callee, judged, Patience(), keys(authority)) == 0
        assert reports.next() == (1, "1.2.3", ["1.2.3.4"], {})
