"""Verification, asked for by programs that nobody here wrote."""

import subprocess

import pytest
from pydicom.dataset import Dataset
from pynetdicom import AE, build_context

from mwl.net.dimse import CommandField
from mwl.net.status import SUCCESS
from tests.dicom_client import MODALITY_WORKLIST_FIND, VERIFICATION, DicomClient, request
from tests.dicom_server import (  # noqa: F401
    Serve,
    answer,
    assert_serves,
    dial_fixture,
    serve_fixture,
)
from tests.peers import dcmtk

EMPTY = b"\x08\0\x05\0\0\0\0\0"


def echoscu(port: int, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [dcmtk("echoscu"), "-d", "-to", "5", "-td", "5", *options, "127.0.0.1", str(port)],
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )


@pytest.mark.parametrize(
    "options",
    [
        (),
        ("--repeat", "20"),
        ("--propose-ts", "38", "--propose-pc", "128"),
        ("--max-pdu", "4096"),
        ("--max-pdu", "131072"),
    ],
)
def test_dcmtk_gets_its_echo(serve: Serve, options: tuple[str, ...]) -> None:
    server = serve()
    done = echoscu(server.address[1], *options)
    assert done.returncode == 0, done.stdout + done.stderr
    said = done.stdout + done.stderr
    assert "Received Echo Response (Success)" in said
    assert "MWL_BRIDGE" in said


def test_dcmtk_may_abort(serve: Serve) -> None:
    server = serve()
    assert echoscu(server.address[1], "--abort").returncode == 0
    assert_serves(server)


def test_pynetdicom_associates_with_128_contexts(serve: Serve) -> None:
    server = serve()
    ae = AE("PYNETDICOM")
    association = ae.associate(*server.address, [build_context(VERIFICATION) for _ in range(128)])
    assert association.is_established
    assert len(association.accepted_contexts) == 128
    assert association.send_c_echo().Status == SUCCESS
    association.release()
    assert association.is_released


def test_pynetdicom_reads_a_stream_of_answers(serve: Serve) -> None:
    server = serve(answer([EMPTY] * 500))
    association = AE().associate(
        *server.address,
        [build_context(VERIFICATION), build_context(MODALITY_WORKLIST_FIND)],
        max_pdu=4096,
    )
    assert association.is_established
    identifier = Dataset()
    identifier.PatientName = ""
    found = [
        status.Status for status, _ in association.send_c_find(identifier, MODALITY_WORKLIST_FIND)
    ]
    assert found == [0xFF00] * 500 + [SUCCESS]
    association.release()


def test_an_echo_works_on_each_transfer_syntax(serve: Serve) -> None:
    server = serve()
    for transfer_syntax in ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1"):
        with DicomClient(server.address) as client:
            client.associate(transfer_syntaxes=("1.2.840.10008.1.2.4.50", transfer_syntax))
            assert client.echo() == SUCCESS


def test_an_echo_is_answered_with_its_number_and_class(serve: Serve) -> None:
    with DicomClient(serve().address) as client:
        client.associate()
        client.send(request(1, CommandField.C_ECHO, VERIFICATION, 65535))
        command, data_set = client.read_message()
        assert command.message_id == 65535
        assert command.field == 0x8030
        assert command.sop_class == VERIFICATION
        assert data_set is None


def test_a_worklist_query_is_no_echo(serve: Serve) -> None:
    with DicomClient(serve().address) as client:
        client.associate((VERIFICATION, MODALITY_WORKLIST_FIND))
        assert client.accept is not None
        assert [context.result for context in client.accept.contexts] == [0, 3]
        assert client.echo() == SUCCESS
