"""Associate, C-ECHO, release: what every look at a worklist pays first.

A modality proposes one context; a workstation all that it knows, with each transfer syntax.
"""

import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from pynetdicom import ALL_TRANSFER_SYNTAXES, AllStoragePresentationContexts

from mwl.net.pdu import PduType
from tests.bench.archives import orthanc
from tests.bench.measure import Result, at_most, contest
from tests.bench.scanner import STATION, served, wlmscpfs
from tests.dicom_client import VERIFICATION, DicomClient, proposal

_RUNS = 200
_MOST = 128  # presentation contexts (PS3.8 9.3.2.2)
_SYNTAXES = tuple(map(str, ALL_TRANSFER_SYNTAXES))[:20]
_EVERYTHING = (
    VERIFICATION,
    *(str(each.abstract_syntax) for each in AllStoragePresentationContexts),
)[:_MOST]


def run() -> Iterator[Result]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with (
            served(folder / "ours", 1) as server,
            wlmscpfs(folder / "theirs", 1) as theirs,
            orthanc(folder / "orthanc") as archive,
        ):
            ours = server.ports["dicom"]
            yield from _one(ours, theirs, archive)
            yield from _all(ours, archive)


def _one(ours: int, theirs: int, archive: int) -> Iterator[Result]:
    us, them, it = contest(
        lambda: echo(ours, "MWL"),
        lambda: echo(theirs, STATION),
        lambda: echo(archive, "ORTHANC"),
        runs=_RUNS,
    )
    note = f"wlmscpfs {them * 1e3:.2f} ms, Orthanc {it * 1e3:.2f} ms"
    yield at_most("associate + C-ECHO + release", us * 1e3, "ms", 1.0, note)


def _all(ours: int, archive: int) -> Iterator[Result]:
    us, it = contest(
        lambda: echo(ours, "MWL", _EVERYTHING, _SYNTAXES),
        lambda: echo(archive, "ORTHANC", _EVERYTHING, _SYNTAXES),
        runs=_RUNS // 4,
    )
    title = f"the same with {len(_EVERYTHING)} contexts x {len(_SYNTAXES)} transfer syntaxes"
    yield at_most(title, us * 1e3, "ms", 3.0, f"Orthanc {it * 1e3:.2f} ms")


def echo(
    port: int,
    called: str,
    sop_classes: tuple[str, ...] = (VERIFICATION,),
    transfer_syntaxes: tuple[str, ...] = ("1.2.840.10008.1.2",),
) -> None:
    """Read no more of the answers than it takes: what a peer costs itself is not ours."""
    client = DicomClient(("127.0.0.1", port))
    with closing(client):
        client.sop_classes = sop_classes
        client.send(proposal(called, "CT1", sop_classes, transfer_syntaxes, 16384))
        kind, _ = client.read_frame()
        assert kind == PduType.ASSOCIATE_AC
        assert client.echo() == 0
        client.release()
