"""Real peers against a served bridge: plain, and over TLS where they can, PDUs of every size.

DCMTK 3.6.7 (whose getscu and movescu speak no TLS), Orthanc, pynetdicom and dcmjs-dimse each
store a study, find it, get it and have it moved; what arrives is what was sent. The servers
are shared by all tests; each has a study of its own.
"""

import re
import ssl
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydicom import Dataset, dcmread
from structlog.testing import capture_logs

from mwl.commitment import STORAGE_COMMITMENT_PUSH_MODEL, WELL_KNOWN_INSTANCE, Reference
from mwl.scp.query import STUDY_ROOT_FIND
from mwl.scp.retrieve import STUDY_ROOT_GET
from mwl.scp.retrieve.move import STUDY_ROOT_MOVE
from mwl.scp.storage.syntaxes import STORAGE_CLASSES
from tests import modality
from tests.committer import Reports, action
from tests.committing import until
from tests.dicom_client import VERIFICATION
from tests.interop import SIZES, TRANSPORTS, Site, Study
from tests.storing import CT

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from pynetdicom import AE, build_role, evt

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:pydicom")

EXPLICIT, IMPLICIT = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2"
NO_LIMIT = 0  # of a PDU
LARGEST_OF_DCMJS = 1024 * 1024

each_transport = pytest.mark.parametrize("transport", TRANSPORTS)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with Site(tmp_path_factory.mktemp("site")) as made:
        yield made
        assert "Traceback" not in made.server.log
        assert "[error" not in made.server.log


@pytest.fixture
def study(tmp_path: Path) -> Study:
    return Study.written(tmp_path)


def keys(level: str, **values: str) -> list[str]:
    """Make DCMTK's options of a query."""
    named = {"QueryRetrieveLevel": level, **values}
    return [part for name, value in named.items() for part in ("-k", f"{name}={value}")]


# --- DCMTK


@each_transport
@pytest.mark.parametrize("size", SIZES)
def test_dcmtk_stores_and_finds(site: Site, study: Study, transport: str, size: int) -> None:
    site.dcmtk("echoscu", transport, size, "-ppc", "128", "-pts", "38")
    site.dcmtk("storescu", transport, size, "-R", "-xe", *map(str, study.files))
    asked = keys("IMAGE", StudyInstanceUID=study.uid, SOPInstanceUID="")
    series = next(iter(study.images.values())).SeriesInstanceUID
    asked += ["-k", f"SeriesInstanceUID={series}"]
    said = site.dcmtk("findscu", transport, size, "-S", *asked).replace("\0", "")
    assert study.images.keys() <= set(re.findall(r"\[([0-9.]+) ?\]", said))


@pytest.mark.parametrize("size", SIZES)
def test_dcmtk_gets(site: Site, study: Study, tmp_path: Path, size: int) -> None:
    site.dcmtk("storescu", "plain", size, "-R", "-xe", *map(str, study.files))
    got = tmp_path / "got"
    got.mkdir()
    asked = keys("STUDY", StudyInstanceUID=study.uid)
    site.dcmtk("getscu", "plain", size, "-S", "+B", "-od", str(got), *asked)
    study.assert_is({each.SOPInstanceUID: each for each in map(dcmread, got.iterdir())})


@each_transport
@pytest.mark.parametrize("size", SIZES)
def test_dcmtk_is_sent_what_it_has_moved(
    site: Site, study: Study, transport: str, size: int
) -> None:
    """The receiver takes PDUs of this size, over TLS or not; movescu itself asks plainly."""
    receiver = site.storescp(transport, size)
    site.dcmtk("storescu", transport, size, "-R", "-xe", *map(str, study.files))
    asked = keys("STUDY", StudyInstanceUID=study.uid)
    said = site.dcmtk("movescu", "plain", size, "-S", "-aem", receiver.title, *asked)
    assert "Received Final Move Response (Success)" in said
    study.arrived_at(receiver)


# --- Orthanc


@each_transport
def test_orthanc_stores_moves_both_ways_and_has_its_images_committed(
    site: Site, study: Study, transport: str
) -> None:
    peer = site.orthanc(transport)
    assert peer.ask("/modalities/mwl/echo", {}) == {}
    ids = [peer.ask("/instances", file.read_bytes())["ID"] for file in study.files]
    peer.ask("/modalities/mwl/store", {"Resources": ids, "Synchronous": True})
    report = peer.commitment(*ids)
    assert report["Status"] == "Success", report

    # It has lost them, and has us send them again.
    peer.ask(f"/studies/{peer.ask(f'/instances/{ids[0]}/study')['ID']}", method="DELETE")
    assert peer.instances(study.uid) == {}
    moved = {
        "Level": "Study",
        "Resources": [{"StudyInstanceUID": study.uid}],
        "TargetAet": peer.title,
        "Synchronous": True,
    }
    peer.ask("/modalities/mwl/move", moved)
    until(lambda: peer.instances(study.uid).keys() == study.images.keys(), "the images")

    # What only Orthanc has, it sends us when it is asked to.
    other = Study.written(study.files[0].parent)
    for file in other.files:
        peer.ask("/instances", file.read_bytes())
    with _associated(
        site, transport, (STUDY_ROOT_MOVE,), port=peer.dicom, called=peer.title
    ) as opened:
        answers = list(opened.send_c_move(_study(other.uid), "MWL", STUDY_ROOT_MOVE))
        assert answers[-1][0].Status == 0x0000
    assert _found(site, transport, other.uid) == {(other.uid, len(other.images))}


# --- pynetdicom


@each_transport
@pytest.mark.parametrize("size", [4096, 131_072, NO_LIMIT])
def test_pynetdicom_stores_finds_gets_and_moves(
    site: Site, study: Study, transport: str, size: int
) -> None:
    got: dict[str, Dataset] = {}
    moved: dict[str, Dataset] = {}
    reports = Reports()

    def into(kept: dict[str, Dataset]) -> Any:
        def take(event: Any) -> int:
            kept[event.dataset.SOPInstanceUID] = event.dataset
            return 0x0000

        return take

    wanted = (VERIFICATION, CT, STUDY_ROOT_FIND, STUDY_ROOT_GET, STUDY_ROOT_MOVE)
    wanted += (STORAGE_COMMITMENT_PUSH_MODEL,)
    handlers = [(evt.EVT_C_STORE, into(got)), (evt.EVT_N_EVENT_REPORT, reports.take)]
    with (
        _receiving(site, transport, size, into(moved), reports) as title,
        _associated(site, transport, wanted, size=size, calling=title, handlers=handlers) as opened,
    ):
        assert opened.send_c_echo().Status == 0x0000
        for image in study.images.values():
            assert opened.send_c_store(image).Status == 0x0000
        for send, kept in ((opened.send_c_get, got), (opened.send_c_move, moved)):
            to = () if kept is got else (title,)
            model = STUDY_ROOT_GET if kept is got else STUDY_ROOT_MOVE
            with capture_logs():
                answers = list(send(_study(study.uid), *to, model))
            assert answers[-1][0].Status == 0x0000
            study.assert_is(kept)
        asked = action([Reference(CT, uid) for uid in study.images], study.uid)
        told, _ = opened.send_n_action(asked, 1, STORAGE_COMMITMENT_PUSH_MODEL, WELL_KNOWN_INSTANCE)
        assert told.Status == 0x0000
        assert reports.next() == (1, study.uid, list(study.images), {})
    assert _found(site, transport, study.uid, size=size) == {(study.uid, len(study.images))}


@each_transport
def test_pynetdicom_proposes_as_many_contexts_as_there_are(site: Site, transport: str) -> None:
    classes = (VERIFICATION, *STORAGE_CLASSES[:127])
    with _associated(site, transport, classes) as opened:
        assert len(opened.accepted_contexts) == 128
        assert opened.send_c_echo().Status == 0x0000


# --- dcmjs-dimse


@each_transport
@pytest.mark.parametrize("size", [4096, 131_072, LARGEST_OF_DCMJS])
def test_dcmjs_stores_finds_gets_and_moves(
    site: Site, study: Study, transport: str, size: int
) -> None:
    receiver = site.storescp(transport, SIZES[-1])
    told = modality.perform(
        site.ports[transport],
        {"op": "echo"},
        *map(modality.store, study.files),
        modality.retrieval("find", study.uid),
        modality.retrieval("get", study.uid),
        modality.retrieval("move", study.uid, to=receiver.title),
        pdu=size,
        ca=site.authority.certificate if transport == "tls" else None,
    )
    by_op = {
        op: [each for each in told if each["op"] == op]
        for op in ("echo", "store", "find", "get", "got", "move")
    }
    for op in ("echo", "store", "find", "get", "move"):
        assert by_op[op][-1]["status"] == 0x0000, (op, by_op[op])
    assert len(by_op["find"]) == 2
    got = {each["dataset"]["SOPInstanceUID"] for each in by_op["got"]}
    assert got == study.images.keys()
    study.arrived_at(receiver)


# --- by pynetdicom


def _study(uid: str) -> Dataset:
    identifier = Dataset()
    identifier.QueryRetrieveLevel, identifier.StudyInstanceUID = "STUDY", uid
    return identifier


def _found(site: Site, transport: str, uid: str, size: int = 16_384) -> set[tuple[str, int]]:
    identifier = _study(uid)
    identifier.NumberOfStudyRelatedInstances = None
    with _associated(site, transport, (STUDY_ROOT_FIND,), size=size) as opened:
        answers = list(opened.send_c_find(identifier, STUDY_ROOT_FIND))
    assert answers[-1][0].Status == 0x0000
    return {
        (each.StudyInstanceUID, int(each.NumberOfStudyRelatedInstances)) for _, each in answers[:-1]
    }


def _context(site: Site) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(site.authority.certificate))
    context.load_cert_chain(site.peer.certificate, site.peer.key)
    return context


class _associated:  # noqa: N801 - it is used as a function
    """An association by pynetdicom, of the bridge unless told otherwise."""

    def __init__(
        self,
        site: Site,
        transport: str,
        sop_classes: tuple[str, ...],
        *,
        size: int = 16_384,
        port: int | None = None,
        called: str = "MWL",
        calling: str = "VIEWER",
        handlers: list[Any] | None = None,
    ) -> None:
        entity = AE(ae_title=calling)
        entity.maximum_pdu_size = size
        for sop_class in sop_classes:
            entity.add_requested_context(sop_class, [EXPLICIT, IMPLICIT])
        tls = (_context(site), "localhost") if transport == "tls" else None
        roles = [build_role(CT, scu_role=True, scp_role=True)] if CT in sop_classes else []
        self._opened = entity.associate(
            "127.0.0.1",
            port or site.ports[transport],
            ae_title=called,
            ext_neg=roles,
            evt_handlers=handlers or [],
            tls_args=tls,
        )
        assert self._opened.is_established

    def __enter__(self) -> Any:
        return self._opened

    def __exit__(self, *_: object) -> None:
        self._opened.release()


class _receiving:  # noqa: N801
    """A pynetdicom that takes images and reports at the device's port; gives its title."""

    def __init__(self, site: Site, transport: str, size: int, take: Any, reports: Reports) -> None:
        self._title = f"PYND_{transport}"
        entity = AE(ae_title=self._title)
        entity.maximum_pdu_size = size
        entity.add_supported_context(CT, [EXPLICIT, IMPLICIT])
        entity.add_supported_context(
            STORAGE_COMMITMENT_PUSH_MODEL, [EXPLICIT, IMPLICIT], scu_role=False, scp_role=True
        )
        context = None
        if transport == "tls":
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(site.peer.certificate, site.peer.key)
        self._server = entity.start_server(
            ("127.0.0.1", site.devices[self._title]),
            block=False,
            ssl_context=context,
            evt_handlers=[(evt.EVT_C_STORE, take), (evt.EVT_N_EVENT_REPORT, reports.take)],
        )

    def __enter__(self) -> str:
        return self._title

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
