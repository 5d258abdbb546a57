"""Every bound that a DICOM peer meets has a test: the list of them, and those that stand here."""

import dataclasses
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from itertools import chain
from pathlib import Path

import pytest

from mwl import dataset
from mwl.net import dimse
from mwl.net.codec import COMMAND, HEADER, LAST, encode, encode_value
from mwl.net.dimse import Context, MessageAssembler
from mwl.net.framing import ReadTimeout
from mwl.net.limits import DEFAULTS, Limits
from mwl.net.pdu import (
    AssociateAccept,
    ContextAnswer,
    ProposedContext,
    title_bytes,
)
from mwl.net.requestor import associate
from mwl.net.server import listen
from mwl.scp.gathering import Gathering
from mwl.scp.pieces import Unwritable
from mwl.scp.reencoding import reencoded
from tests.dicom_client import VERIFICATION, DicomClient, request
from tests.dicom_server import (  # noqa: F401
    IMPLICIT,
    SHORT,
    Dial,
    Serve,
    answer,
    assert_serves,
    dial_fixture,
    last_words,
    serve_fixture,
)
from tests.identifiers import element

TESTS = Path(__file__).parent

# By file, then by field of Limits; the rest by what is bounded.
TESTED = {
    "net_hostile": {
        "max_associations": "over_a_limit_is_refused_as_transient",
        "max_associations_per_address": "over_a_limit_is_refused_as_transient",
        "max_associate_bytes": "an_a_associate_of_a_hundred_thousand_items_is_over_its_limit",
        "max_empty_fragments": "empty_fragments_without_end_are_ended",
    },
    "net_server": {
        "max_refusals": "refusals_have_a_limit_too",
        "max_parked_threads": "busy_threads_are_joined_by_new_ones_and_few_are_kept",
    },
    "net_bounds": {
        "max_backlog_connections": "the_kernel_is_told_how_many_may_wait",
        "message_timeout_s": "a_message_that_trickles_pdu_by_pdu_has_its_time",
        "min_message_bytes_per_s": "a_long_message_has_more_time_by_its_bytes",
        "release_timeout_s": "who_never_answers_our_release_is_given_up",
        "long lists at once": "few_long_lists_are_in_memory_at_once",
        "depth of what is written anew": "what_is_written_anew_nests_so_deep",
    },
    "net_tls": {
        "tls_handshake_timeout_s": "sixty_silent_connections_hold_up_nobody_and_end_in_time",
    },
    "net_association": {
        "associate_timeout_s": "who_never_finishes_its_request_is_closed_by_the_timer",
        "idle_timeout_s": "silence_is_aborted_by_the_service_provider",
    },
    "net_framing": {
        "pdu_timeout_s": "dripping_bytes_dont_extend_the_time_for_a_pdu",
        "write_timeout_s": "a_peer_that_doesnt_read_is_given_up",
        "close_timeout_s": "finishing_waits_no_longer_than_its_timer",
        "max_receive_pdu_bytes": "the_longest_pdu_is_read_and_one_byte_more_is_refused",
    },
    "net_requests": {
        "response_timeout_s": "who_never_answers_is_aborted",
        "send_buffer_bytes": "nothing_is_written_before_the_first_write_is_full",
    },
    "net_negotiation": {
        "max_send_pdu_bytes": "no_pdu_is_longer_than_the_peer_takes",
        "min_peer_pdu_bytes": "a_peer_that_takes_next_to_nothing_is_refused",
        "max_contexts": "more_than_128_contexts_are_refused_from_the_129th",
    },
    "net_dimse": {
        "max_command_bytes": "a_command_set_over_its_limit_is_refused_before_it_is_whole",
        "max_data_set_bytes": "a_data_set_over_its_limit_is_refused_before_it_is_whole",
    },
    "net_streaming": {
        "max_streamed_bytes": "a_data_set_over_its_limit_ends_the_association",
        "max_waiting_streams": "requests_sent_without_waiting_have_few_sinks_at_once",
    },
    "net_streams": {
        "max_answers_between_looks": "a_cancel_that_came_with_the_request_lets_sixteen_answers_go",
    },
    "dataset": {
        "data sets in memory": "more_elements_or_bytes_than_anybody_asks_with_are_refused",
        "their depth": "nesting_ends_at_a_depth_and_never_in_a_recursion_error",
    },
    "scp_commitment": {
        "instances of one commitment": "more_than_that_is_too_much_at_once",
    },
    "scp_storage_header": {
        "a header's depth": "items_may_nest_so_deep_and_no_deeper",
        "its elements": "elements_are_counted",
        "its values": "a_value_that_no_index_needs_so_long_counts_as_absent",
        "its requests": "requests_are_kept_up_to_a_number",
        "inflated bytes": "inflating_is_bounded",
        "inflated bytes for each that came": "inflating_is_bounded_by_its_ratio",
    },
    "scp_coercion": {
        "depth of what is coerced": "nesting_is_bounded",
    },
}


def test_every_field_of_the_limits_has_its_test() -> None:
    assert {field.name for field in dataclasses.fields(Limits)} <= {*chain(*TESTED.values())}


@pytest.mark.parametrize("module", TESTED)
def test_each_test_that_is_named_is_there(module: str) -> None:
    text = (TESTS / f"test_mwl_{module}.py").read_text("utf-8")
    for name in TESTED[module].values():
        assert f"def test_{name}(" in text


# --- those that stand here


def test_the_kernel_is_told_how_many_may_wait() -> None:
    def connect_all() -> None:
        for _ in range(10):
            waiting.append(socket.create_connection(listener.getsockname(), 0.2))  # noqa: PERF401

    waiting: list[socket.socket] = []
    with listen("127.0.0.1", 0, limits=replace(DEFAULTS, max_backlog_connections=1)) as listener:
        # What it doesn't take it drops.
        with pytest.raises(TimeoutError):
            connect_all()
        for each in waiting:
            each.close()


def trickle(client: DicomClient, size: int, pause_s: float, pdus: int) -> None:
    """Send a data set of a C-FIND in small PDUs, and never its end."""
    find = request(3, 0x0020, "1.2.840.10008.5.1.4.31", 1, bytes(8))
    client.send(find[: HEADER.size + HEADER.unpack_from(find)[1]])
    with suppress(ConnectionError):
        for _ in range(pdus):
            client.send(encode_value(3, 0, bytes(size)))
            time.sleep(pause_s)


def test_a_message_that_trickles_pdu_by_pdu_has_its_time(serve: Serve, dial: Dial) -> None:
    limits = replace(SHORT, message_timeout_s=0.4, pdu_timeout_s=5.0, min_message_bytes_per_s=4096)
    server = serve(answer([]), limits=limits)
    client = dial(server).associate(("1.2.3", "1.2.840.10008.5.1.4.31"))
    began = time.monotonic()
    trickle(client, 2, 0.02, 500)
    assert time.monotonic() - began < 5
    assert_serves(server)


def test_a_long_message_has_more_time_by_its_bytes(serve: Serve, dial: Dial) -> None:
    limits = replace(SHORT, message_timeout_s=0.2, pdu_timeout_s=5.0, min_message_bytes_per_s=1000)
    server = serve(answer([]), limits=limits)
    client = dial(server).associate(("1.2.3", "1.2.840.10008.5.1.4.31"))
    trickle(client, 200, 0.05, 12)  # 4,000 bytes a second, for three times as long
    client.send(encode_value(3, LAST, b""))
    command, _ = client.read_message()
    assert command.number(dimse.Element.STATUS) == 0


@pytest.fixture
def deaf() -> Iterator[socket.socket]:
    """Give a connection to a peer that accepts an association and says nothing more."""
    ours, theirs = socket.socketpair()

    def accept() -> None:
        header = theirs.recv(HEADER.size, socket.MSG_WAITALL)
        theirs.recv(HEADER.unpack(header)[1], socket.MSG_WAITALL)
        answers = (ContextAnswer(1, 0, IMPLICIT),)
        theirs.sendall(encode(AssociateAccept(title_bytes("A"), title_bytes("B"), answers)))

    accepting = threading.Thread(target=accept)
    accepting.start()
    with ours, theirs:
        yield ours
    accepting.join()


def test_who_never_answers_our_release_is_given_up(deaf: socket.socket) -> None:
    association = associate(
        deaf,
        called="A",
        calling="B",
        contexts=[ProposedContext(1, VERIFICATION, (IMPLICIT,))],
        limits=replace(SHORT, release_timeout_s=0.1),
    )
    with pytest.raises(ReadTimeout):
        association.release()


def test_empty_fragments_are_counted_for_each_message() -> None:
    contexts = {1: Context(1, VERIFICATION, IMPLICIT)}
    made = MessageAssembler(contexts, replace(DEFAULTS, max_empty_fragments=2))
    echo = request(1, 0x0030, VERIFICATION)[12:]
    for _ in range(3):
        for _ in range(2):
            assert made.feed(1, COMMAND, memoryview(b"")) is None
        assert made.feed(1, COMMAND | LAST, memoryview(echo)) is not None


def test_few_long_lists_are_in_memory_at_once() -> None:
    gathering = Gathering(1024 * 1024)
    long = memoryview(bytes(dataset.MAX_BYTES + 1))
    sinks = [gathering.sink() for _ in range(10)]
    for sink in sinks:
        sink.write(long)
    assert [sink.data is not None for sink in sinks] == [True] * 8 + [False] * 2
    sinks[0].abort()
    late = gathering.sink()
    late.write(long)
    assert late.data is not None
    late.write(memoryview(bytes(1024 * 1024)))
    assert late.data is None  # too long even so


def test_what_is_written_anew_nests_so_deep() -> None:
    begin = element(0x00081140, b"", 0xFFFFFFFF) + element(0xFFFEE000, b"", 0xFFFFFFFF)
    end = element(0xFFFEE00D, b"") + element(0xFFFEE0DD, b"")
    assert b"".join(reencoded([begin * 32 + end * 32], explicit=True))
    with pytest.raises(Unwritable, match="deeper"):
        b"".join(reencoded([begin * 33 + end * 33], explicit=True))
