"""PDUs: round trips, odd peers, broken bytes, and pynetdicom as the second opinion."""

import time
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pynetdicom import pdu as oracle

from mwl.errors import ProtocolError
from mwl.net.codec import HEADER, ITEM, decode, encode
from mwl.net.pdu import (
    Abort,
    AssociateAccept,
    AssociateReject,
    AssociateRequest,
    ContextAnswer,
    DataTransfer,
    DataValue,
    ExtendedItem,
    Pdu,
    PduError,
    PduType,
    ProposedContext,
    ReleaseRequest,
    ReleaseResponse,
    Role,
    UserIdentity,
    UserInformation,
    title_bytes,
    title_text,
)

WORKLIST = "1.2.840.10008.5.1.4.31"
IMPLICIT, EXPLICIT = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1"

REQUEST = AssociateRequest(
    called_title=title_bytes("MWL"),
    calling_title=title_bytes("CT_1"),
    contexts=(
        ProposedContext(1, "1.2.840.10008.1.1", (IMPLICIT,)),
        ProposedContext(3, WORKLIST, (IMPLICIT, EXPLICIT)),
    ),
    user=UserInformation(
        max_pdu_bytes=16384,
        implementation_uid="1.2.3.4",
        implementation_version="SCANNER_1",
        asynchronous=(4, 2),
        roles=(Role(WORKLIST, scu=True, scp=False),),
        extended=(ExtendedItem(WORKLIST, b"\1\1\1\1"),),
        identity=UserIdentity(2, b"user", b"secret", wants_response=True),
    ),
)
ACCEPT = AssociateAccept(
    called_title=title_bytes("MWL"),
    calling_title=title_bytes("CT_1"),
    contexts=(ContextAnswer(1, 0, IMPLICIT), ContextAnswer(3, 4, EXPLICIT)),
    user=UserInformation(
        max_pdu_bytes=131072,
        implementation_uid="2.25.7",
        implementation_version="MWL_BRIDGE",
        asynchronous=(1, 1),
        roles=(Role(WORKLIST, scu=True, scp=False),),
        extended=(ExtendedItem(WORKLIST, bytes(4)),),
        identity_response=b"",
    ),
)
PDUS: list[Pdu] = [
    REQUEST,
    ACCEPT,
    AssociateReject(2, 3, 2),
    DataTransfer(
        (
            DataValue(1, is_command=True, is_last=True, fragment=b"abcd"),
            DataValue(1, is_command=False, is_last=False, fragment=b""),
        )
    ),
    ReleaseRequest(),
    ReleaseResponse(),
    Abort(2, 6),
]


def named(pdu: Pdu) -> str:
    return type(pdu).__name__


def reread(data: bytes) -> Pdu:
    kind, length = HEADER.unpack_from(data)
    assert length == len(data) - HEADER.size
    return decode(kind, data[HEADER.size :])


@pytest.mark.parametrize("pdu", PDUS, ids=named)
def test_every_pdu_is_read_back_as_it_was_written(pdu: Pdu) -> None:
    assert reread(encode(pdu)) == pdu


@pytest.mark.parametrize("pdu", PDUS, ids=named)
def test_every_pdu_cut_short_anywhere_is_a_protocol_error(pdu: Pdu) -> None:
    data = encode(pdu)
    kind, body = data[0], data[HEADER.size :]
    # A whole item fewer is still well formed: the PDU's own length is for framing to check.
    well_formed = {
        offset
        for offset in range(len(body))
        if isinstance(pdu, AssociateRequest | AssociateAccept) and _is_item_end(body, offset)
    }
    if isinstance(pdu, DataTransfer):
        well_formed = {len(b"\0\0\0\6\1\3abcd")}
    for size in range(len(body)):
        if size in well_formed:
            decode(kind, body[:size])
        else:
            with pytest.raises(ProtocolError):
                decode(kind, body[:size])


def _is_item_end(body: bytes, offset: int) -> bool:
    at = 68
    while at < offset:
        at += ITEM.size + ITEM.unpack_from(body, at)[1]
    return at == offset


@pytest.mark.parametrize("pdu", PDUS, ids=named)
@pytest.mark.parametrize("surplus", [b"\0", b"\0\0\0", b"\x20\0\xff\xff"])
def test_bytes_after_the_last_item_are_a_protocol_error(pdu: Pdu, surplus: bytes) -> None:
    data = encode(pdu)
    with pytest.raises(ProtocolError):
        decode(data[0], data[HEADER.size :] + surplus)


@given(st.integers(0, 255), st.binary(max_size=400))
def test_garbage_raises_nothing_but_a_protocol_error(kind: int, body: bytes) -> None:
    with suppress(ProtocolError):
        decode(kind, body)


@given(st.sampled_from(PDUS), st.data())
def test_a_damaged_pdu_raises_nothing_but_a_protocol_error(pdu: Pdu, data: st.DataObject) -> None:
    whole = bytearray(encode(pdu))
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    with suppress(ProtocolError):
        decode(whole[0], bytes(whole[HEADER.size :]))


def test_items_and_sub_items_that_we_dont_know_are_skipped() -> None:
    data = encode(REQUEST)
    body = data[HEADER.size :]
    unknown = ITEM.pack(0x7E, 3) + b"abc"
    assert decode(PduType.ASSOCIATE_RQ, body + unknown) == REQUEST
    at = body.index(bytes([0x50, 0]), 68)
    user = unknown + body[at + ITEM.size :]
    assert decode(PduType.ASSOCIATE_RQ, body[:at] + ITEM.pack(0x50, len(user)) + user) == REQUEST


def with_sub_item(kind: int, value: bytes) -> bytes:
    """Give the body of a request whose user information holds one sub-item."""
    body = encode(AssociateRequest(bytes(16), bytes(16), (), UserInformation()))[HEADER.size :]
    sub_item = ITEM.pack(kind, len(value)) + value
    return body[:-4] + ITEM.pack(0x50, len(sub_item)) + sub_item


def test_what_proves_an_identity_shows_nowhere() -> None:
    request = decode(PduType.ASSOCIATE_RQ, with_sub_item(0x58, b"\2\1\0\4user\0\6secret"))
    assert isinstance(request, AssociateRequest)
    assert request.user.identity == UserIdentity(2, b"user", b"secret", wants_response=True)
    assert "secret" not in repr(request)
    assert "user'" not in repr(request)


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"\1",
        b"\1\0",
        b"\1\0\0",
        b"\1\0\0\4use",
        b"\1\0\0\4user",
        b"\2\0\0\4user\0\6secre",
        b"\2\0\0\4user\0\6secret!",
        b"\2\0\xff\xffuser\0\6secret",
    ],
)
def test_a_user_identity_with_wrong_lengths_is_a_protocol_error(value: bytes) -> None:
    with pytest.raises(PduError):
        decode(PduType.ASSOCIATE_RQ, with_sub_item(0x58, value))


@pytest.mark.parametrize("value", [b"", b"\0", b"\0\1", b"\0\0x"])
def test_an_identity_response_with_wrong_lengths_is_a_protocol_error(value: bytes) -> None:
    with pytest.raises(PduError):
        decode(PduType.ASSOCIATE_AC, with_sub_item(0x59, value))


def test_common_extended_negotiation_is_skipped() -> None:
    service, related = b"1.2.840.10008.4.2", b"1.2.840.10008.5.1.4.1.1.88.22"
    value = b"".join(
        (
            ITEM.pack(0, len(WORKLIST))[2:] + WORKLIST.encode(),
            ITEM.pack(0, len(service))[2:] + service,
            ITEM.pack(0, len(related) + 2)[2:] + ITEM.pack(0, len(related))[2:] + related,
        )
    )
    request = decode(PduType.ASSOCIATE_RQ, with_sub_item(0x57, value))
    assert isinstance(request, AssociateRequest)
    assert request.user == UserInformation()


def test_a_request_without_user_information_or_contexts_is_read() -> None:
    body = encode(AssociateRequest(bytes(16), bytes(16), ()))[HEADER.size : -4]
    pdu = decode(PduType.ASSOCIATE_RQ, body)
    assert isinstance(pdu, AssociateRequest)
    assert pdu.user.max_pdu_bytes is None
    assert pdu.contexts == ()


@pytest.mark.parametrize("version", [0, 2, 3, 0xFFFF])
def test_any_protocol_version_is_read(version: int) -> None:
    body = version.to_bytes(2, "big") + encode(REQUEST)[HEADER.size + 2 :]
    pdu = decode(PduType.ASSOCIATE_RQ, body)
    assert isinstance(pdu, AssociateRequest)
    assert pdu.protocol_version == version
    assert pdu.contexts == REQUEST.contexts


@pytest.mark.parametrize(
    ("title", "text"),
    [
        (b"CT_1            ", "CT_1"),
        (b"  CT 1          ", "CT 1"),
        (b"CT_1\0\0\0\0\0\0\0\0\0\0\0\0", "CT_1"),
        (b"CT_1\0garbage\xff\1\2\3", "CT_1"),
        (b"                ", ""),
        (bytes(16), ""),
        ("RÖNTGEN".encode("latin-1").ljust(16), "RÖNTGEN"),
        (b"CT\r\n\x1b[31m\x85      ", "CT???[31m?"),
    ],
)
def test_titles_are_read_whatever_pads_them(title: bytes, text: str) -> None:
    assert title_text(title) == text
    pdu = reread(encode(AssociateRequest(title, title, ())))
    assert isinstance(pdu, AssociateRequest)
    assert pdu.called_title == pdu.calling_title == title


def test_a_title_of_17_characters_is_not_written() -> None:
    with pytest.raises(ValueError, match="16"):
        title_bytes("X" * 17)


def test_uids_are_read_without_their_padding() -> None:
    padded = ProposedContext(1, "1.2.840.10008.1.1\0", (IMPLICIT + "\0", EXPLICIT + " "))
    pdu = reread(encode(AssociateRequest(bytes(16), bytes(16), (padded,))))
    assert isinstance(pdu, AssociateRequest)
    assert pdu.contexts == (ProposedContext(1, "1.2.840.10008.1.1", (IMPLICIT, EXPLICIT)),)


def test_unknown_pdu_types_are_refused_with_their_reason() -> None:
    with pytest.raises(PduError) as caught:
        decode(8, b"")
    assert caught.value.reason == 1


# --- pynetdicom as the second opinion


def test_pynetdicom_reads_our_accept() -> None:
    theirs = oracle.A_ASSOCIATE_AC()
    theirs.decode(encode(ACCEPT))
    assert theirs.called_ae_title == "MWL"
    assert theirs.calling_ae_title == "CT_1"
    assert [(c.context_id, c.result, c.transfer_syntax) for c in theirs.presentation_context] == [
        (1, 0, IMPLICIT),
        (3, 4, EXPLICIT),
    ]
    user = theirs.user_information
    assert user is not None
    assert user.maximum_length == 131072
    assert user.implementation_class_uid == "2.25.7"
    assert user.implementation_version_name == "MWL_BRIDGE"
    assert user.user_data[-1].server_response == b""
    assert theirs.encode() == encode(ACCEPT)


def test_pynetdicom_reads_our_request_and_we_read_its() -> None:
    theirs = oracle.A_ASSOCIATE_RQ()
    theirs.decode(encode(REQUEST))
    assert [c.abstract_syntax for c in theirs.presentation_context] == [
        "1.2.840.10008.1.1",
        WORKLIST,
    ]
    identity = theirs.user_information.user_data[-1]
    assert (identity.user_identity_type, identity.positive_response_requested) == (2, 1)
    assert (identity.primary_field, identity.secondary_field) == (b"user", b"secret")
    assert reread(theirs.encode()) == REQUEST


@pytest.mark.parametrize(
    ("pdu", "kind"),
    [
        (PDUS[2], oracle.A_ASSOCIATE_RJ),
        (PDUS[3], oracle.P_DATA_TF),
        (PDUS[4], oracle.A_RELEASE_RQ),
        (PDUS[5], oracle.A_RELEASE_RP),
        (PDUS[6], oracle.A_ABORT_RQ),
    ],
)
def test_pynetdicom_reads_and_writes_the_same_bytes(pdu: Pdu, kind: type[oracle.PDU]) -> None:
    theirs = kind()
    theirs.decode(encode(pdu))
    assert theirs.encode() == encode(pdu)


def test_the_largest_usual_proposal_is_read_ten_times_faster_than_by_pynetdicom() -> None:
    contexts = tuple(
        ProposedContext(
            2 * number + 1,
            f"1.2.840.10008.5.1.4.1.1.{number}",
            tuple(f"1.2.840.10008.1.2.4.{number}.{other}" for other in range(20)),
        )
        for number in range(128)
    )
    data = encode(AssociateRequest(title_bytes("Y"), title_bytes("X"), contexts))
    ours = min(_cpu_s(lambda: decode(1, data[HEADER.size :])) for _ in range(20))
    theirs = min(_cpu_s(lambda: oracle.A_ASSOCIATE_RQ().decode(data)) for _ in range(3))
    assert ours * 10 < theirs


def _cpu_s(work: object) -> float:
    assert callable(work)
    start = time.thread_time()
    work()
    return time.thread_time() - start
