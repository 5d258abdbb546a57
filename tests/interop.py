"""A served bridge with peers around it, for tests of many peers and few starts.

with Site(folder) as site:
    site.ports["tls"]                     # of the bridge, "plain" or "tls"
    site.dcmtk("storescu", "tls", 4096, …)
    site.storescp("tls", 4096)            # a Receiver, started when first asked for
    site.orthanc("plain")
"""

import subprocess
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from pydicom import Dataset, dcmread
from pydicom.uid import generate_uid

from tests import peers
from tests.certificates import Authority
from tests.committing import until
from tests.images import ct_slice, save
from tests.orthanc import Orthanc, free_ports, wait_for_port
from tests.serving import Serving

TRANSPORTS = ("plain", "tls")
LARGEST_OF_DCMTK = 131_072
SIZES = (4096, 16_384, LARGEST_OF_DCMTK)  # of PDUs, in bytes
SIDE = 300  # pixels: an image is longer than any of these
PDU_OF_ORTHANC = {"plain": 4096, "tls": LARGEST_OF_DCMTK}

_MAY = '["worklist", "mpps", "store", "commit", "query", "retrieve"]'


@dataclass(frozen=True)
class Receiver:
    """Somebody who takes images into a folder, by this AE title."""

    title: str
    folder: Path

    def received(self, study: str) -> dict[str, Dataset]:
        """Read what has come of a study, by SOP Instance UID."""
        read = [dcmread(path) for path in self.folder.iterdir() if path.is_file()]
        return {each.SOPInstanceUID: each for each in read if each.StudyInstanceUID == study}


class Site:
    """The bridge serves `dicom` and `jobs`; every peer is a device of it, at a port of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder, self._stack = folder, ExitStack()
        self.authority = Authority(folder, "authority")
        self._ours, self.peer = (
            self.authority.issue(name, dns=["localhost"], ip=["127.0.0.1"], use_rsa=True)
            for name in ("bridge", "peer")
        )
        titles = [f"SCP_{at}_{size}" for at in TRANSPORTS for size in SIZES]
        titles += [f"{name}_{at}" for name in ("ORTHANC", "PYND", "DCMJS") for at in TRANSPORTS]
        self.ports, self.devices = {}, {}
        *given, self.ports["plain"], self.ports["tls"] = free_ports(len(titles) + 2)
        self.devices.update(zip(titles, given, strict=True))
        config = folder / "mwl.toml"
        config.write_text(self._config(), "utf-8")
        environ = {
            "MWL_CONFIG": str(config),
            "MWL_DICOM__PORT": str(self.ports["plain"]),
            "MWL_COMMIT__WAIT_MIN": "0.02",
        }
        self.server = Serving(folder, "dicom", "jobs", environ=environ)
        self._storescps: dict[str, Receiver] = {}
        self._orthancs: dict[str, Orthanc] = {}

    def __enter__(self) -> Self:
        self._stack.enter_context(self.server).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    @property
    def trusted(self) -> list[str]:
        """Options of DCMTK's tools: whom they trust."""
        return ["+cf", str(self.authority.certificate)]

    def dcmtk(self, tool: str, transport: str, size: int, *arguments: str) -> str:
        """Run a tool of DCMTK against the bridge, options first; give what it said."""
        files = [each for each in arguments if each.endswith(".dcm")]
        options = [each for each in arguments if each not in files]
        over = ["+tla", *self.trusted] if transport == "tls" else []
        place = ["127.0.0.1", str(self.ports[transport])]
        called = ["-v", "-aec", "MWL", "-pdu", str(size)]
        done = subprocess.run(
            [peers.dcmtk(tool), *called, *over, *options, *place, *files],
            capture_output=True,
            timeout=60,
        )
        said = (done.stdout + done.stderr).decode("latin-1")
        assert done.returncode == 0, said
        return said

    def storescp(self, transport: str, size: int) -> Receiver:
        """Give DCMTK's storescp."""
        title = f"SCP_{transport}_{size}"
        if title in self._storescps:
            return self._storescps[title]
        made = self._storescps[title] = Receiver(title, self.folder / title)
        made.folder.mkdir()
        shown = ["+tls", str(self.peer.key), str(self.peer.certificate)]
        over = [*shown, *self.trusted, "--ignore-peer-cert"] if transport == "tls" else []
        options = ["-aet", title, "-od", str(made.folder), "-pdu", str(size), "+B", *over]
        process = subprocess.Popen(
            [peers.dcmtk("storescp"), *options, str(self.devices[title])],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self._stack.callback(process.wait, 30)
        self._stack.callback(process.kill)
        wait_for_port(self.devices[title])
        assert process.poll() is None
        return made

    def orthanc(self, transport: str) -> Orthanc:
        """Give Orthanc, which speaks this alone."""
        if transport not in self._orthancs:
            title = f"ORTHANC_{transport}"
            made = Orthanc(
                self.folder / title,
                *free_ports(1),
                self.devices[title],
                ours=self.ports[transport],
                title=title,
                tls=(self.authority, self.peer) if transport == "tls" else None,
                max_pdu_bytes=PDU_OF_ORTHANC[transport],
            )
            self._orthancs[transport] = self._stack.enter_context(made)
        return self._orthancs[transport]

    def _config(self) -> str:
        devices = "".join(
            f"""
            [[device]]
            ae_title = "{title}"
            host = "127.0.0.1"
            port = {port}
            tls = {str("tls" in title).lower()}
            may = {_MAY}
            """
            for title, port in self.devices.items()
        )
        return f"""
            [dicom.tls]
            port = {self.ports["tls"]}
            certificate = "{self._ours.certificate}"
            key = "{self._ours.key}"
            ca = "{self.authority.certificate}"
            {devices}
        """


@dataclass(frozen=True)
class Study:
    """A study of a test's own, as files."""

    uid: str
    images: dict[str, Dataset]  # by SOP Instance UID
    files: Sequence[Path]

    @classmethod
    def written(cls, folder: Path, count: int = 2) -> "Study":
        uid = generate_uid()
        series = generate_uid()
        images = [_image(number, uid, series) for number in range(count)]
        files = [save(image, folder) for image in images]
        return cls(uid, {image.SOPInstanceUID: image for image in images}, files)

    def assert_is(self, received: dict[str, Dataset]) -> None:
        """See that all of it has come, as it was."""
        assert received.keys() == self.images.keys()
        for uid, image in self.images.items():
            assert received[uid] == image

    def arrived_at(self, receiver: Receiver) -> None:
        until(lambda: len(receiver.received(self.uid)) == len(self.images), "the images")
        self.assert_is(receiver.received(self.uid))


def _image(number: int, study: str, series: str) -> Dataset:
    image = ct_slice(number, StudyInstanceUID=study, SeriesInstanceUID=series)
    image.Rows = image.Columns = SIDE
    image.PixelData = bytes([number, 1]) * (SIDE * SIDE)
    image["PixelData"].VR = "OW"
    return image
