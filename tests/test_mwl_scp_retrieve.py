"""C-GET over real associations: what goes out, what can't, and who asks for it how."""

import os
import time
from copy import deepcopy
from dataclasses import replace
from functools import cache
from io import BytesIO

import pytest
from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset
from pydicom.uid import JPEGBaseline8Bit
from structlog.testing import capture_logs

from mwl.archive import query
from mwl.errors import Outage
from mwl.net import status
from mwl.net.codec import LAST, encode
from mwl.net.limits import DEFAULTS
from mwl.net.pdu import Abort, PduType, ReleaseRequest
from mwl.scp.retrieve import retrieval
from tests.archived import Archived, break_off, encoded
from tests.dicom_client import cancel_request
from tests.dicom_server import (  # noqa: F401 - fixtures
    SHORT,
    assert_serves,
    dial_fixture,
    last_words,
    serve_fixture,
)
from tests.images import ct_slice
from tests.retriever import CT, Retriever, most_held
from tests.s3 import in_each_store, on_each_pair

PATIENT_ROOT_GET = "1.2.840.10008.5.1.4.1.2.1.3"
PATIENT_STUDY_ONLY_GET = "1.2.840.10008.5.1.4.1.2.3.3"
EXPLICIT, IMPLICIT = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2"
JPEG = str(JPEGBaseline8Bit)
ROOT = "1.2.826.0.1.3680043.8.498"
# pydicom warns of what these tests send on purpose.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:pydicom")
STUDY = {"StudyInstanceUID": f"{ROOT}.1"}
SERIES = {**STUDY, "SeriesInstanceUID": f"{ROOT}.1.1"}


@cache
def _slice(syntax):
    return ct_slice(1, syntax=syntax)


def image(series, number, study=1, syntax=EXPLICIT, **overrides):
    made = deepcopy(_slice(syntax))
    made.StudyInstanceUID = f"{ROOT}.{study}"
    made.SeriesInstanceUID = f"{ROOT}.{study}.{series}"
    made.SOPInstanceUID = f"{ROOT}.{study}.{series}.{number}"
    made.InstanceNumber = str(number)
    for keyword, value in overrides.items():
        setattr(made, keyword, value)
    return made


def uid(series, number, study=1):
    return f"{ROOT}.{study}.{series}.{number}"


BIG = {**STUDY, "SeriesInstanceUID": f"{ROOT}.1.3", "SOPInstanceUID": uid(3, 1)}


def big_image():
    made = image(3, 1)
    made.PixelData = bytes(16 * 1024 * 1024)
    made["PixelData"].VR = "OW"
    return made


@pytest.fixture
def archived(sqlite_database, images_in, tmp_path):
    """Keep two series of two images each, and one image of another study."""
    made = Archived(sqlite_database, tmp_path, images_in)
    for series, number in ((1, 1), (1, 2), (2, 1), (2, 2)):
        made.add(image(series, number))
    made.add(image(1, 1, study=2))
    return made


@pytest.fixture
def retriever(archived, serve, dial):
    """Associate as `retriever((CT, EXPLICIT), roles=…, answer=…)`."""

    def begin(*storage, limits=DEFAULTS, **settings):
        server = serve(*archived.services(), limits=limits)
        begin.server = server
        return Retriever(dial(server), storage or ((CT, EXPLICIT),), **settings)

    return begin


# --- what goes out


@in_each_store
@pytest.mark.parametrize(
    ("level", "keys", "expected"),
    [
        ("STUDY", STUDY, [(1, 1), (1, 2), (2, 1), (2, 2)]),
        ("SERIES", SERIES, [(1, 1), (1, 2)]),
        ("SERIES", {**STUDY, "SeriesInstanceUID": [f"{ROOT}.1.1", f"{ROOT}.1.2"]}, "all"),
        ("IMAGE", {**SERIES, "SOPInstanceUID": uid(1, 2)}, [(1, 2)]),
        (
            "IMAGE",
            {**SERIES, "SOPInstanceUID": [uid(1, 1), uid(1, 2), uid(2, 1)]},
            [(1, 1), (1, 2)],
        ),
        ("STUDY", {"StudyInstanceUID": f"{ROOT}.7"}, []),
    ],
)
def test_a_level_names_what_goes_out(retriever, level, keys, expected):
    if expected == "all":
        expected = [(1, 1), (1, 2), (2, 1), (2, 2)]
    client = retriever()
    assert client.get(level, **keys) == status.SUCCESS
    assert list(client.received) == [uid(*each) for each in expected]
    assert client.counts() == (None, len(expected), 0, 0)
    assert client.failed is None


@in_each_store
def test_what_goes_out_is_what_was_kept_to_the_byte(retriever):
    client = retriever(max_pdu_bytes=2048)
    client.get("IMAGE", **SERIES, SOPInstanceUID=uid(1, 2))
    assert client.received[uid(1, 2)] == encoded(image(1, 2))


def test_pending_responses_count_down(retriever, monkeypatch):
    monkeypatch.setattr(retrieval, "_PAUSE_S", 0)
    client = retriever()
    client.get("STUDY", **STUDY)
    pending = [
        tuple(each.number(number) for number in range(0x1020, 0x1024))
        for each in client.responses[:-1]
    ]
    assert pending == [(3, 1, 0, 0), (2, 2, 0, 0), (1, 3, 0, 0)]


def test_a_list_longer_than_a_statement_takes_is_retrieved(retriever):
    client = retriever()
    uids = [f"{ROOT}.1.1.{n}" for n in range(1000, 2000)] + [uid(1, 1), uid(1, 2)]
    assert client.get("IMAGE", **SERIES, SOPInstanceUID=uids) == status.SUCCESS
    assert sorted(client.received) == [uid(1, 1), uid(1, 2)]


def test_more_than_a_page_is_retrieved(retriever, archived, monkeypatch):
    monkeypatch.setattr(query, "PAGE_ROWS", 3)
    for number in range(3, 11):
        archived.add(image(1, number))
    client = retriever()
    assert client.get("SERIES", **SERIES) == status.SUCCESS
    assert list(client.received) == [uid(1, number) for number in range(1, 11)]


@on_each_pair
def test_both_databases_name_what_is_kept(database, images_in, tmp_path, serve, dial):
    made = Archived(database, tmp_path, images_in)
    for number in (1, 2):
        made.add(image(1, number))
    client = Retriever(dial(serve(*made.services())), [(CT, EXPLICIT)])
    assert client.get("STUDY", **STUDY) == status.SUCCESS
    assert list(client.received) == [uid(1, 1), uid(1, 2)]


def test_a_viewer_without_role_selection_is_served(retriever):
    client = retriever(roles=False)
    assert client.get("STUDY", **STUDY) == status.SUCCESS
    assert len(client.received) == 4
    assert client.client.accept.user.roles == ()


@pytest.mark.parametrize(
    ("root", "level", "keys", "expected"),
    [
        (PATIENT_ROOT_GET, "PATIENT", {"PatientID": "PID2"}, [uid(1, 1, 3)]),
        (PATIENT_ROOT_GET, "SERIES", {"PatientID": "PID1", **SERIES}, [uid(1, 1), uid(1, 2)]),
        (PATIENT_ROOT_GET, "SERIES", {"PatientID": "PID2", **SERIES}, []),
        (PATIENT_STUDY_ONLY_GET, "PATIENT", {"PatientID": "PID2"}, [uid(1, 1, 3)]),
        (PATIENT_STUDY_ONLY_GET, "STUDY", {"PatientID": "PID1", **STUDY}, 4),
    ],
)
def test_each_root_has_its_levels(retriever, archived, root, level, keys, expected):
    archived.add(image(1, 1, study=3, PatientID="PID2"))
    client = retriever(root=root)
    assert client.get(level, **keys) == status.SUCCESS
    got = list(client.received)
    assert got == expected if isinstance(expected, list) else len(got) == expected


def test_a_relational_one_needs_nothing_above(retriever):
    client = retriever(relational=True)
    assert client.get("IMAGE", SOPInstanceUID=[uid(2, 1), uid(1, 1)]) == status.SUCCESS
    assert sorted(client.received) == [uid(1, 1), uid(2, 1)]


# --- transfer syntaxes


def test_each_goes_in_the_syntax_it_is_kept_in(retriever, archived):
    compressed = image(3, 1, syntax=JPEG)
    compressed.PixelData = b"\xfe\xff\0\xe0\0\0\0\0\xfe\xff\0\xe0\x04\0\0\0\xff\xd8\xff\xd9"
    compressed.PixelData += b"\xfe\xff\xdd\xe0\0\0\0\0"
    compressed["PixelData"].is_undefined_length = True
    compressed["PixelData"].VR = "OB"
    archived.add(compressed)
    client = retriever((CT, EXPLICIT), (CT, JPEG))
    assert client.get("STUDY", **STUDY) == status.SUCCESS
    assert client.received[uid(3, 1)] == encoded(compressed)


def test_what_no_context_takes_fails_and_is_listed(retriever, archived):
    other = image(3, 1, syntax=JPEG)
    archived.add_bytes(other, bytes(132), b"no matter what")
    archived.add(image(3, 2, SOPClassUID="1.2.840.10008.5.1.4.1.1.4"))
    client = retriever()
    with capture_logs() as logs:
        assert client.get("STUDY", **STUDY) == status.SUB_OPERATIONS_WITH_FAILURES
    assert client.counts() == (None, 4, 2, 0)
    failed = read_dataset(BytesIO(client.failed), False, True)
    assert failed.FailedSOPInstanceUIDList == [uid(3, 1), uid(3, 2)]
    assert [line["event"] for line in logs] == [
        "retrieve.failed",  # it can't be decoded
        "retrieve.no_context",
        "retrieve.get",
    ]


def test_where_nothing_can_go_the_retrieval_has_failed(retriever):
    client = retriever(("1.2.840.10008.5.1.4.1.1.4", EXPLICIT))
    assert client.get("STUDY", **STUDY) == status.UNABLE_TO_PERFORM_SUB_OPERATIONS
    assert client.counts() == (None, 0, 4, 0)
    failed = read_dataset(BytesIO(client.failed), False, True)
    assert len(failed.FailedSOPInstanceUIDList) == 4


@in_each_store
@pytest.mark.parametrize(("kept", "taken"), [(EXPLICIT, IMPLICIT), (IMPLICIT, EXPLICIT)])
def test_between_uncompressed_syntaxes_a_data_set_is_written_anew(retriever, archived, kept, taken):
    made = image(3, 1, syntax=kept, PatientName="Doe^Jane", PixelRepresentation=1)
    made.SmallestImagePixelValue = -5
    made["SmallestImagePixelValue"].VR = "SS"
    archived.add(made)
    client = retriever((CT, taken))
    assert (
        client.get("IMAGE", **STUDY, SeriesInstanceUID=f"{ROOT}.1.3", SOPInstanceUID=uid(3, 1)) == 0
    )
    read = read_dataset(BytesIO(client.received[uid(3, 1)]), taken == IMPLICIT, True)
    bare = Dataset({each.tag: each for each in made})
    assert read == bare


@pytest.mark.parametrize(
    ("offered", "agreed"),
    [
        ((IMPLICIT, EXPLICIT), EXPLICIT),
        ((EXPLICIT, IMPLICIT), EXPLICIT),
        ((JPEG, EXPLICIT), EXPLICIT),
        ((JPEG,), JPEG),
        ((IMPLICIT,), IMPLICIT),
    ],
)
def test_of_several_syntaxes_in_a_context_the_likeliest_is_agreed_on(retriever, offered, agreed):
    (_, context) = retriever((CT, *offered)).client.accept.contexts
    assert context.transfer_syntax == agreed


# --- what the peer makes of it


@pytest.mark.parametrize(
    ("code", "final", "counts"),
    [
        (0xA700, status.UNABLE_TO_PERFORM_SUB_OPERATIONS, (None, 0, 4, 0)),
        (0xC000, status.UNABLE_TO_PERFORM_SUB_OPERATIONS, (None, 0, 4, 0)),
        (0xB007, status.SUB_OPERATIONS_WITH_FAILURES, (None, 0, 0, 4)),
    ],
)
def test_what_the_peer_says_of_each_is_counted(retriever, code, final, counts):
    client = retriever(answer=lambda _: code)
    assert client.get("STUDY", **STUDY) == final
    assert client.counts() == counts
    assert (client.failed is not None) == bool(counts[2])


@in_each_store
def test_cancel_ends_it_with_what_remains(retriever):
    client = retriever()
    client.ask("STUDY", **STUDY)
    assert client.step() is None
    client.client.send(cancel_request(1, 1))
    while (final := client.step()) is None:
        pass
    remaining, completed, failed, warning = client.counts()
    assert final.number(0x0900) == status.CANCEL
    assert remaining == 4 - completed > 0
    assert (failed, warning) == (0, 0)
    client.client.release()


def test_who_releases_in_mid_way_is_let_go(retriever):
    client = retriever()
    client.ask("STUDY", **STUDY)
    client.client.read_message()
    client.client.send(encode(ReleaseRequest()))
    assert client.client.read_frame()[0] == PduType.RELEASE_RP
    assert_serves(retriever.server)


@in_each_store
@pytest.mark.parametrize("messages", [0, 1, 2])
def test_who_goes_in_mid_way_harms_nobody(retriever, messages):
    client = retriever()
    client.ask("STUDY", **STUDY)
    for _ in range(messages):
        client.step()
    client.client.close()
    assert_serves(retriever.server)


def test_who_aborts_in_mid_way_harms_nobody(retriever):
    client = retriever()
    client.ask("STUDY", **STUDY)
    client.client.read_message()
    client.client.send(encode(Abort(0, 0)))
    assert last_words(client.client) is None
    assert_serves(retriever.server)


def test_who_stops_reading_is_given_up(retriever, archived):
    archived.add(big_image())
    client = retriever(limits=SHORT)
    client.ask("IMAGE", **BIG)
    assert_ends(retriever.server)


def test_who_never_answers_is_given_up(retriever):
    client = retriever(limits=replace(SHORT, response_timeout_s=0.2))
    client.ask("STUDY", **STUDY)
    client.client.read_message()
    assert last_words(client.client) == Abort(2, 0)


def assert_ends(server):
    deadline = time.monotonic() + 30
    while server.live() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not server.live()
    assert_serves(server)


# --- what goes wrong with us


@in_each_store
def test_what_a_bucket_lost_fails_alone(retriever, archived):
    archived.store.delete(archived.add(image(3, 1)).key)
    archived.add(image(3, 2))
    client = retriever()
    assert client.get("STUDY", **STUDY) == status.SUB_OPERATIONS_WITH_FAILURES
    assert client.counts() == (None, 5, 1, 0)
    failed = read_dataset(BytesIO(client.failed), False, True)
    assert failed.FailedSOPInstanceUIDList == uid(3, 1)
    assert uid(3, 2) in client.received


@pytest.fixture
def behind(sqlite_database, s3_bucket, proxy, impatient, tmp_path):
    """Keep a small and a large image in a bucket that is reached through a proxy."""
    way = {"endpoint": f"http://127.0.0.1:{proxy.port}"}
    made = Archived(sqlite_database, tmp_path, s3_bucket.model_copy(update=way))
    made.add(image(1, 1))
    made.add(big_image())
    return made


def test_a_bucket_that_stalls_fails_each_until_it_flows(behind, proxy, serve, dial):
    server = serve(*behind.services())
    client = Retriever(dial(server), [(CT, EXPLICIT)])
    proxy.stall()
    assert client.get("SERIES", **SERIES) == status.UNABLE_TO_PERFORM_SUB_OPERATIONS
    assert client.received == {}
    proxy.flow()
    again = Retriever(dial(server), [(CT, EXPLICIT)])
    assert again.get("SERIES", **SERIES) == status.SUCCESS
    assert list(again.received) == [uid(1, 1)]


def test_a_bucket_that_goes_in_mid_image_never_ends_it_as_whole(behind, proxy, serve, dial):
    server = serve(*behind.services())
    client = Retriever(dial(server), [(CT, EXPLICIT)])
    client.ask("IMAGE", **BIG)
    seen = 0
    while (frame := client.client.read_frame())[0] == PduType.DATA_TF:
        assert frame[1][5] != LAST, "half a data set was ended as if it were whole"
        seen += len(frame[1])
        if seen > 1024 * 1024:
            proxy.cut()
    assert frame[0] == PduType.ABORT
    assert_serves(server)


@pytest.mark.parametrize("damage", ["deleted", "cut", "grown"])
def test_what_is_not_there_as_it_was_fails_alone(retriever, archived, tmp_path, damage):
    made = archived.add(image(3, 1))
    archived.add(image(3, 2))
    path = tmp_path / "objects" / made.key
    if damage == "deleted":
        path.unlink()
    else:
        os.truncate(path, made.size + (-2 if damage == "cut" else 2))
    client = retriever()
    assert client.get("STUDY", **STUDY) == status.SUB_OPERATIONS_WITH_FAILURES
    assert client.counts() == (None, 5, 1, 0)
    failed = read_dataset(BytesIO(client.failed), False, True)
    assert failed.FailedSOPInstanceUIDList == uid(3, 1)
    assert uid(3, 2) in client.received


@pytest.mark.parametrize("in_pieces", [True, False])
def test_an_object_that_breaks_off_is_never_sent_as_whole(
    retriever, archived, monkeypatch, in_pieces
):
    archived.add(big_image())
    break_off(archived.store, monkeypatch, in_pieces=in_pieces)
    client = retriever()
    client.ask("IMAGE", **BIG)
    while (frame := client.client.read_frame())[0] == PduType.DATA_TF:
        assert frame[1][5] != LAST, "half a data set was ended as if it were whole"
    assert frame[0] == PduType.ABORT
    assert_serves(retriever.server)


@pytest.mark.parametrize("in_pieces", [True, False])
def test_a_store_that_is_out_fails_each_and_ends_well(retriever, archived, monkeypatch, in_pieces):
    def out(key):
        raise Outage("the bucket does not answer")

    monkeypatch.setattr(archived.store, "size", out)
    monkeypatch.setattr(archived.store, "open", (lambda _: None) if in_pieces else out)
    client = retriever()
    assert client.get("STUDY", **STUDY) == status.UNABLE_TO_PERFORM_SUB_OPERATIONS
    assert client.counts() == (None, 0, 4, 0)


def test_a_database_that_is_out_is_no_success(sqlite_database, archived, retriever):
    client = retriever()
    sqlite_database.close()
    sqlite_database.path.write_bytes(b"this is no database" * 100)
    assert client.get("STUDY", **STUDY) == status.UNABLE_TO_CALCULATE_MATCHES
    assert client.received == {}


@pytest.mark.parametrize(
    ("level", "keys", "tag"),
    [
        (None, STUDY, 0x00080052),
        ("PATIENT", {"PatientID": "P1"}, 0x00080052),
        ("STUDY", {}, 0x0020000D),
        ("STUDY", {"StudyInstanceUID": ""}, 0x0020000D),
        ("STUDY", {"StudyInstanceUID": "*"}, 0x0020000D),
        ("SERIES", {"SeriesInstanceUID": f"{ROOT}.1.1"}, 0x0020000D),
        ("IMAGE", {**STUDY, "SOPInstanceUID": uid(1, 1)}, 0x0020000E),
    ],
)
def test_an_identifier_that_fits_no_level_is_refused_by_name(retriever, level, keys, tag):
    client = retriever()
    assert client.get(level, **keys) == status.IDENTIFIER_DOES_NOT_MATCH
    offending = client.responses[-1].elements[0x0901]
    assert offending == (tag >> 16).to_bytes(2, "little") + (tag & 0xFFFF).to_bytes(2, "little")
    assert client.received == {}
    client.client.release()


@pytest.mark.parametrize("kept", [EXPLICIT, IMPLICIT])
def test_however_long_it_is_little_of_it_is_in_memory(retriever, archived, tmp_path, kept):
    size = 200 * 1024 * 1024
    made = image(3, 1, syntax=kept)
    made.PixelData = b""
    made["PixelData"].VR = "OW"
    data_set = encoded(made)[:-4] + size.to_bytes(4, "little")
    kept_ = archived.add_bytes(made, b"", data_set, size=len(data_set) + size)
    os.truncate(tmp_path / "objects" / kept_.key, kept_.size)
    client = retriever(max_pdu_bytes=128 * 1024)
    client.ask("IMAGE", **BIG)
    assert most_held(client, size) < 8 * 1024 * 1024
