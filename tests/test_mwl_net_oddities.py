"""What requests get wrong, and that it is accepted and named; lengths are in the codec's tests."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from mwl import devices
from mwl.accounts import Users
from mwl.config import DeviceTable
from mwl.db import Database
from mwl.net.codec import COMMAND, HEADER, ITEM, LAST, decode, encode, encode_value
from mwl.net.dimse import Element, encode_command
from mwl.net.limits import Limits
from mwl.net.negotiation import Agreement, Supported, negotiate
from mwl.net.oddities import Oddity
from mwl.net.pdu import (
    AssociateAccept,
    AssociateRequest,
    ProposedContext,
    UserIdentity,
    UserInformation,
    title_bytes,
)
from mwl.roles.door import admission
from tests.dicom_client import DicomClient, request, status
from tests.dicom_server import Dial, Serve, dial_fixture, serve_fixture  # noqa: F401

ECHO, IMPLICIT = "1.2.840.10008.1.1", "1.2.840.10008.1.2"
USER = UserInformation(
    16384, "1.2.3.4", "SCANNER", asynchronous=(1, 1), identity=UserIdentity(1, b"anna")
)
PLAIN = AssociateRequest(
    title_bytes("MWL"), title_bytes("CT_1"), (ProposedContext(1, ECHO, (IMPLICIT,)),), USER
)


def body(request: AssociateRequest) -> bytes:
    return encode(request)[HEADER.size :]


def with_items(*items: bytes) -> bytes:
    """Give a plain request with more items after its own."""
    return body(PLAIN) + b"".join(items)


def with_sub_items(*items: bytes) -> bytes:
    """Give a plain request with more in its user information, which is its last item."""
    data = body(PLAIN)
    at = data.index(b"\x50\0", 68)
    inside = data[at + ITEM.size :] + b"".join(items)
    return data[:at] + item(0x50, inside)


def with_context(inside: bytes, *, context_id: int = 1) -> bytes:
    """Give a plain request whose one context holds these items."""
    return body(replace(PLAIN, contexts=(), user=UserInformation()))[:-4] + b"".join(
        (item(0x20, bytes([context_id, 0, 0, 0]) + inside), body(PLAIN)[-_user_size() :])
    )


def _user_size() -> int:
    data = body(PLAIN)
    return len(data) - data.index(b"\x50\0", 68)


def item(kind: int, value: bytes) -> bytes:
    return ITEM.pack(kind, len(value)) + value


ABSTRACT, TRANSFER = item(0x30, ECHO.encode()), item(0x40, IMPLICIT.encode())


def contexts(*ids: int) -> bytes:
    proposed = tuple(ProposedContext(each, ECHO, (IMPLICIT,)) for each in ids)
    return body(replace(PLAIN, contexts=proposed))


ODD: list[tuple[bytes, set[str]]] = [
    (body(PLAIN), set()),
    (with_sub_items(item(0x57, b"\0\0\0\0\0\0")), set()),
    (body(replace(PLAIN, protocol_version=3)), set()),
    (body(replace(PLAIN, called_title=b" MWL            ")), set()),
    (body(replace(PLAIN, calling_title=b"CT_1".ljust(16, b"\0"))), {"title-nul"}),
    (body(replace(PLAIN, called_title=b"MWL\0\xff\1\2".ljust(16))), {"title-nul"}),
    (body(replace(PLAIN, calling_title=bytes(16))), {"title-nul", "title-blank"}),
    (body(replace(PLAIN, calling_title=b" " * 16)), {"title-blank"}),
    (body(replace(PLAIN, calling_title="RÖNTGEN".encode("latin-1").ljust(16))), {"title-charset"}),
    (body(replace(PLAIN, calling_title=b"A\\B\t".ljust(16))), {"title-charset"}),
    (body(replace(PLAIN, protocol_version=0)), {"protocol-version"}),
    (body(replace(PLAIN, protocol_version=2)), {"protocol-version"}),
    (with_items(item(0x7E, b"abc")), {"unknown-item"}),
    (with_sub_items(item(0x5F, b"")), {"unknown-item"}),
    (with_context(ABSTRACT + TRANSFER + item(0x41, b"x")), {"unknown-item"}),
    (with_items(item(0x10, b"1.2.840.10008.3.1.1.1")), {"repeated-item"}),
    (with_sub_items(item(0x51, b"\0\0\x40\0")), {"repeated-item"}),
    (body(replace(PLAIN, user=replace(USER, max_pdu_bytes=None))), {"no-max-length"}),
    (body(replace(PLAIN, user=replace(USER, implementation_uid=""))), {"no-implementation-uid"}),
    (
        body(replace(PLAIN, user=UserInformation()))[:-4],
        {"no-max-length", "no-implementation-uid"},
    ),
    (with_context(item(0x30, ECHO.encode() + b"\0") + TRANSFER), {"uid-padding"}),
    (with_context(ABSTRACT + item(0x40, IMPLICIT.encode() + b" ")), {"uid-padding"}),
    (with_context(TRANSFER + ABSTRACT), set()),
    (contexts(), {"no-context"}),
    (contexts(2), {"even-context-id"}),
    (contexts(0, 3), {"even-context-id"}),
    (contexts(3, 1, 3), {"duplicate-context-id"}),
    (
        contexts(*range(1, 256, 2), 1),
        {"duplicate-context-id", "too-many-contexts"},
    ),
]


@pytest.mark.parametrize(("data", "named"), ODD, ids=lambda each: None)
def test_what_is_odd_is_accepted_and_named(data: bytes, named: set[str]) -> None:
    asked = decode(1, data)
    assert isinstance(asked, AssociateRequest)
    assert asked.oddities == named
    agreed = negotiate(asked, {ECHO: Supported((IMPLICIT,))}, Limits())
    assert isinstance(agreed, Agreement)
    assert agreed.oddities == named
    assert bool(agreed.contexts) == ("no-context" not in named)


def test_whoever_is_odd_is_served_and_devices_are_remembered(
    sqlite_database: Database, serve: Serve
) -> None:
    for title in ("CT_1", "RÖNTGEN"):
        table = DeviceTable.model_construct(ae_title=title, may=())
        sqlite_database.write(lambda s, d=table: devices.add(s, d, now=datetime.now(UTC)))
    door = devices.Doorkeeper(sqlite_database, ae_title="MWL", mode="any", host="127.0.0.1")
    door.start()
    server = serve(admit=admission(door, Users(sqlite_database, "optional")))
    for data, named in ODD:
        with DicomClient(server.address) as client:
            client.send(HEADER.pack(1, len(data)) + data)
            client.accept = accept = client.read_pdu()
            assert isinstance(accept, AssociateAccept), named
            for spoken in [each.id for each in accept.contexts if each.result == 0][:1]:
                client.send(request(spoken, 0x0030, ECHO))
                assert status(client.read_message()[0]) == 0
    door.stop()
    with sqlite_database.read() as session:
        kept = {each.ae_title: set(each.oddities) for each in devices.listing(session)}
    # Who leaves its title blank is nobody that we know.
    assert kept == {
        "CT_1": set(Oddity) - {"title-blank", "title-charset"},
        "RÖNTGEN": {"title-charset"},
    }


def test_uids_and_titles_in_commands_are_read_whatever_pads_them(serve: Serve, dial: Dial) -> None:
    client = dial(serve()).associate()
    for uid in (ECHO, f"{ECHO} ", f"{ECHO}\0", f"{ECHO}\0\0 "):
        elements = {
            Element.AFFECTED_SOP_CLASS_UID: uid.encode(),
            Element.COMMAND_FIELD: 0x0030,
            Element.MESSAGE_ID: 7,
            Element.DATA_SET_TYPE: 0x0101,
        }
        client.send(encode_value(1, COMMAND | LAST, encode_command(elements)))
        assert status(client.read_message()[0]) == 0
    client.release()


def test_every_oddity_has_a_case() -> None:
    assert set[str]().union(*(named for _, named in ODD)) == set(Oddity)


def test_each_context_is_read_for_itself_whatever_the_others_list() -> None:
    lists = [(IMPLICIT,), (IMPLICIT, "1.2.3"), (IMPLICIT,), (), ("1.2.3",)]
    proposed = tuple(
        ProposedContext(2 * number + 1, f"1.2.840.{number}", each)
        for number, each in enumerate(lists)
    )
    asked = decode(1, body(replace(PLAIN, contexts=proposed)))
    assert isinstance(asked, AssociateRequest)
    assert asked.contexts == proposed


def test_a_context_without_any_item_is_read() -> None:
    for at_the_end in (with_context(b""), body(PLAIN) + item(0x20, b"\3\0\0\0")):
        asked = decode(1, at_the_end)
        assert isinstance(asked, AssociateRequest)
        assert ProposedContext(asked.contexts[-1].id, "", ()) == asked.contexts[-1]
