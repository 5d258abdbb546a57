"""`mwl serve` over TLS: scanners bound to their certificates, and new ones by SIGHUP."""

import signal
import socket
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.certificates import Authority, Pair
from tests.dicom_client import DicomClient
from tests.peers import dcmtk
from tests.serving import Serving

SLICE = Path(__file__).parent / "data/first-steps/slice.dcm"
RJ_CALLING = "Calling AE Title Not Recognized"


class Site:
    """A served bridge with an authority, and two scanners with certificates."""

    def __init__(self, folder: Path) -> None:
        self.authority = Authority(folder, "ca")
        self.ct, self.mr = self.authority.issue("ct1.example"), self.authority.issue("mr1.example")
        self.ours = self.renew()
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        settings = {
            "PORT": str(self.port),
            "CERTIFICATE": str(self.ours.certificate),
            "KEY": str(self.ours.key),
            "CA": str(self.authority.certificate),
            "CLIENT": "optional",
        }
        environ = {f"MWL_DICOM__TLS__{name}": value for name, value in settings.items()}
        environ["MWL_DICOM__PROCESSES"] = "2"
        self.server = Serving(folder, "dicom", "jobs", environ=environ)

    def renew(self) -> Pair:
        """Give the bridge a new certificate, in the same files."""
        return self.authority.issue("bridge", dns=["localhost"], ip=["127.0.0.1"])

    def ask(
        self, tool: str, title: str, *more: str, pair: Pair | None = None, tls: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Run a tool of DCMTK as the scanner `title`."""
        shown = ["+tls", str(pair.key), str(pair.certificate)] if pair else ["+tla"]
        trusted = ["+cf", str(self.authority.certificate)]
        over = [*shown, *trusted] if tls else []
        port = self.port if tls else self.server.ports["dicom"]
        place = ["127.0.0.1", str(port)]
        command = [dcmtk(tool), "-v", *over, "-aet", title, "-aec", "MWL", *place, *more]
        return subprocess.run(command, capture_output=True, text=True, timeout=60)

    def certificate(self) -> bytes | None:
        """Look which certificate is shown just now."""
        context = ssl.create_default_context(cafile=str(self.authority.certificate))
        with (
            socket.create_connection(("127.0.0.1", self.port), 10) as sock,
            context.wrap_socket(sock, server_hostname="localhost") as wrapped,
        ):
            return wrapped.getpeercert(binary_form=True)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    site = Site(tmp_path_factory.mktemp("site"))
    with site.server as server:
        server.start()
        rule = f"sha256:{site.ct.fingerprint}"
        server.run("device", "add", "CT1", "--modality", "CT", "--certificate", rule)
        server.run("device", "add", "MR1", "--certificate", "mr1.example", "--may", "worklist")
        server.run("device", "add", "US1", "--modality", "US")
        yield site
        assert server.stop() == 0
        assert "Traceback" not in server.log


def test_scanner_bound_to_a_certificate_comes_in_with_that_alone(site: Site) -> None:
    assert site.ask("echoscu", "CT1", pair=site.ct).returncode == 0
    assert site.ask("echoscu", "MR1", pair=site.mr).returncode == 0
    for title, pair, tls in (
        ("CT1", site.mr, True),
        ("MR1", site.ct, True),
        ("CT1", None, True),
        ("CT1", None, False),
    ):
        done = site.ask("echoscu", title, pair=pair, tls=tls)
        assert done.returncode != 0
        assert RJ_CALLING in done.stdout + done.stderr
    for pair, tls in ((site.ct, True), (None, True), (None, False)):
        assert site.ask("echoscu", "US1", pair=pair, tls=tls).returncode == 0
    site.server.wait_for_log(r"device\.not_proven shown='mr1\.example .*calling=CT1 ")
    site.server.wait_for_log(r"device\.not_proven shown=none calling=CT1 .*bound_to=sha256:")


def test_worklist_and_images_go_over_tls(site: Site) -> None:
    keys = ["-W", "-k", "PatientName", "-k", "AccessionNumber"]
    assert site.ask("findscu", "MR1", *keys, pair=site.mr).returncode == 0
    done = site.ask("storescu", "CT1", str(SLICE), pair=site.ct)
    assert done.returncode == 0, done.stderr
    done = site.ask("storescu", "MR1", str(SLICE), pair=site.mr)  # it may not
    assert "Success" not in done.stdout + done.stderr


def test_hangup_takes_new_certificates_and_keeps_what_there_was_when_they_are_broken(
    site: Site,
) -> None:
    server, first = site.server, site.certificate()
    with DicomClient(("127.0.0.1", server.ports["dicom"])) as living:
        living.associate(calling="US1")
        site.renew()
        assert site.certificate() == first
        server.process.send_signal(signal.SIGHUP)
        server.wait_for_log(r"(?s)(tls\.renewed.*){3}")  # two of dicom, and jobs
        second = site.certificate()
        assert second != first
        site.ours.key.write_text("half of it")
        server.process.send_signal(signal.SIGHUP)
        server.wait_for_log(r"tls\.not_renewed .*dicom\.tls\.key: .*holds no private key")
        assert site.certificate() == second
        assert living.echo() == 0
        site.renew()


def test_check_looks_at_the_files_and_the_port(site: Site) -> None:
    said = site.server.run("check", code=None).stdout
    assert f"dicom.tls.port 127.0.0.1:{site.port}" in said
    assert "certificate and key fit; of peers: asked for" in said
    environ = {"MWL_DICOM__TLS__CLIENT": "none", "MWL_DICOM__TLS__KEY": str(site.ct.key)}
    other = Serving(site.server.data_dir.parent, environ={**site.server.environ, **environ})
    said = other.run("check", code=1).stdout
    assert "FAIL  dicom.tls      key: " in said
    assert "WARN  devices        CT1, MR1 can't associate: bound to a certificate" in said
