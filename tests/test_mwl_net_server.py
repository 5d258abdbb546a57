"""The listening side: limits, threads, stopping, and several servers on one port."""

import errno
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace

import pytest
from structlog.testing import capture_logs

from mwl.net.association import Association
from mwl.net.dimse import CommandField, Message
from mwl.net.limits import DEFAULTS
from mwl.net.pdu import Abort, AssociateReject
from mwl.net.server import AssociationServer, listen
from mwl.net.status import SUCCESS
from mwl.net.threads import ParkedThreads
from mwl.scp.echo import EchoService
from tests.dicom_client import (
    MODALITY_WORKLIST_FIND,
    VERIFICATION,
    DicomClient,
    Refused,
    request,
    status,
)
from tests.dicom_server import (  # noqa: F401
    BOTH,
    IDENTIFIER,
    IMPLICIT,
    Dial,
    Finder,
    Serve,
    admit_all,
    assert_serves,
    dial_fixture,
    many,
    serve_fixture,
)


def wait_for(condition: Callable[[], object]) -> None:
    """Wait for what another thread is about to do; 10 seconds are a failure."""
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.002)


def serves(server: AssociationServer) -> bool:
    try:
        assert_serves(server)
    except Refused:
        return False
    return True


def refuses_connections(server: AssociationServer) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(server.address) == errno.ECONNREFUSED


def test_a_defect_while_accepting_costs_one_connection_and_not_the_port(
    serve: Serve, dial: Dial, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = serve()
    with capture_logs() as logs:
        with monkeypatch.context() as patch:
            patch.setattr(server, "_admit", lambda *_: 1 / 0)
            client = dial(server)
            assert client.socket.recv(1) == b""
        assert_serves(server)
    assert [line["event"] for line in logs if "defect" in line["event"]] == [
        "association.accept_defect"
    ]


# --- limits


def test_over_the_limit_is_refused_as_transient_until_one_ends(serve: Serve, dial: Dial) -> None:
    server = serve(limits=replace(DEFAULTS, max_associations=2))
    first, _ = dial(server).associate(), dial(server).associate()
    with pytest.raises(Refused) as caught:
        dial(server).associate()
    assert caught.value.answer == AssociateReject(2, 3, 2)
    first.release()
    first.close()
    wait_for(lambda: serves(server))


def test_one_address_has_a_limit_of_its_own(serve: Serve, dial: Dial) -> None:
    server = serve(limits=replace(DEFAULTS, max_associations_per_address=1))
    dial(server).associate()
    with pytest.raises(Refused) as caught:
        dial(server).associate()
    assert caught.value.answer == AssociateReject(2, 3, 2)
    assert dial(server, source="127.0.0.2").associate().echo() == SUCCESS


def test_refusals_have_a_limit_too(serve: Serve, dial: Dial) -> None:
    server = serve(limits=replace(DEFAULTS, max_associations=1, max_refusals=1))
    served, refused = dial(server).associate(), dial(server)
    wait_for(lambda: len(server.live()) == 2)
    with pytest.raises((EOFError, ConnectionResetError)):
        dial(server).read_frame()
    with pytest.raises(Refused):
        refused.associate()
    assert served.echo() == SUCCESS


def test_a_slot_is_free_again_however_its_association_ended(serve: Serve, dial: Dial) -> None:
    limits = replace(DEFAULTS, max_associations=1, max_associations_per_address=1)

    def fail(association: Association, message: Message) -> None:
        raise RuntimeError

    server = serve(Finder(fail), limits=limits)
    for ending in (
        lambda client: client.associate().close(),
        lambda client: client.send(b"GET / HTTP/1.1\r\n\r\n"),
        lambda client: client.associate().send(b"\7\0\0\0\0\4\0\0\0\0"),
        lambda client: client.associate(BOTH).send(
            request(3, CommandField.C_FIND, MODALITY_WORKLIST_FIND, 1, IDENTIFIER)
        ),
        lambda client: None,
    ):
        client = dial(server)
        ending(client)
        client.close()
        wait_for(lambda: serves(server))
        wait_for(lambda: not server.live())


# --- what is alive


def test_live_associations_are_listed_with_their_peers(serve: Serve, dial: Dial) -> None:
    server = serve()
    assert server.live() == ()
    dial(server)
    wait_for(lambda: len(server.live()) == 1)
    dial(server).associate(calling="CT_1", called="RIS")
    silent, spoken = server.live()
    assert (silent.calling, silent.called, silent.address) == ("", "", "127.0.0.1")
    assert (spoken.calling, spoken.called) == ("CT_1", "RIS")
    assert silent.since <= spoken.since
    assert spoken.since.utcoffset() is not None


def test_live_associations_tell_what_goes_on(serve: Serve, dial: Dial) -> None:
    released = threading.Event()

    def hold(association: Association, message: Message) -> None:
        released.wait(30)
        association.send_response(message, SUCCESS)

    server = serve(Finder(hold))
    client = dial(server).associate(BOTH)
    (before,) = server.live()
    assert before.contexts == ((VERIFICATION, IMPLICIT), (MODALITY_WORKLIST_FIND, IMPLICIT))
    assert (before.number, before.operation, before.messages) == (1, "", 0)
    asked = request(3, CommandField.C_FIND, MODALITY_WORKLIST_FIND, 1, IDENTIFIER)
    client.send(asked)
    wait_for(lambda: server.live()[0].operation == "C-FIND")
    released.set()
    answer, _ = client.read_message()
    assert status(answer) == SUCCESS
    wait_for(lambda: server.live()[0].operation == "")
    (after,) = server.live()
    assert after.received_bytes - before.received_bytes == len(asked)
    assert after.messages == 1
    assert 0 < after.sent_bytes - before.sent_bytes < 200


def test_an_operation_is_told_while_its_data_set_comes(serve: Serve, dial: Dial) -> None:
    server = serve(Finder(many))
    client = dial(server).associate(BOTH)
    asked = request(3, CommandField.C_FIND, MODALITY_WORKLIST_FIND, 1, IDENTIFIER)
    client.send(asked[:-1])
    wait_for(lambda: server.live()[0].operation == "C-FIND")
    assert server.live()[0].messages == 0


def test_one_association_is_ended_by_its_number(serve: Serve, dial: Dial) -> None:
    server = serve()
    ended, other = dial(server).associate(), dial(server).associate()
    first, second = (each.number for each in server.live())
    server.abort(first)
    assert ended.read_pdu() == Abort(0, 0)
    ended.close()
    assert other.echo() == SUCCESS
    wait_for(lambda: [each.number for each in server.live()] == [second])
    server.abort(first)  # gone already


def test_who_doesnt_read_is_cut_off_when_it_is_ended_again(serve: Serve, dial: Dial) -> None:
    server = serve(Finder(many))
    client = dial(server).associate((MODALITY_WORKLIST_FIND,))
    client.send(request(1, CommandField.C_FIND, MODALITY_WORKLIST_FIND, 1, IDENTIFIER))
    client.read_frame()
    (live,) = server.live()
    server.abort(live.number)
    server.abort(live.number)
    wait_for(lambda: not server.live())


def test_idle_associations_cost_no_processor_time(serve: Serve, dial: Dial) -> None:
    server = serve()
    clients = [dial(server).associate() for _ in range(30)]
    used, start = time.process_time(), time.monotonic()
    threading.Event().wait(0.5)
    used, passed = time.process_time() - used, time.monotonic() - start
    assert used < 0.02 * passed
    assert all(client.echo() == SUCCESS for client in clients)


# --- stopping


def test_stopping_lets_associations_end(
    serve: Serve, dial: Dial, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mwl.net.server._REST_S", 30)
    server = serve()
    client = dial(server).associate()
    stopping = threading.Thread(target=server.stop, args=(10,))
    stopping.start()
    wait_for(lambda: refuses_connections(server))
    assert client.echo() == SUCCESS
    client.release()
    client.close()
    stopping.join(5)
    assert not stopping.is_alive()


def test_stopping_waits_for_what_is_under_way_and_aborts_what_rests(
    serve: Serve, dial: Dial, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mwl.net.server._REST_S", 0.05)
    goes_on = threading.Event()

    def slowly(association: Association, message: Message) -> None:
        goes_on.wait(10)
        association.send_response(message, SUCCESS)

    server = serve(Finder(slowly))
    silent, idle = dial(server), dial(server).associate()
    busy = dial(server).associate((MODALITY_WORKLIST_FIND,))
    busy.send(request(1, CommandField.C_FIND, MODALITY_WORKLIST_FIND, 1, IDENTIFIER))
    wait_for(lambda: [each.operation for each in server.live()] == ["", "", "C-FIND"])
    stopping = threading.Thread(target=server.stop, args=(60,))
    stopping.start()
    for client in (silent, idle):
        assert client.read_pdu() == Abort(0, 0)
        client.close()
    wait_for(lambda: len(server.live()) == 1)
    goes_on.set()
    assert status(busy.read_message()[0]) == SUCCESS
    busy.release()
    busy.close()
    stopping.join(10)
    assert not stopping.is_alive()


def test_stopping_aborts_what_doesnt_end(serve: Serve, dial: Dial) -> None:
    server = serve()
    silent, idle = dial(server), dial(server).associate()
    wait_for(lambda: len(server.live()) == 2)
    with capture_logs() as logs:
        server.stop(0.05)
    assert idle.read_pdu() == silent.read_pdu() == Abort(0, 0)
    assert server.live() == ()
    assert [line["event"] for line in logs] == ["association.stopped"] * 2


def test_stopping_cuts_off_who_doesnt_read(serve: Serve, dial: Dial) -> None:
    server = serve(Finder(many), limits=replace(DEFAULTS, close_timeout_s=0.2))
    client = dial(server).associate((MODALITY_WORKLIST_FIND,))
    client.send(request(1, CommandField.C_FIND, MODALITY_WORKLIST_FIND, 1, IDENTIFIER))
    client.read_frame()
    start = time.monotonic()
    server.stop(0)
    assert time.monotonic() - start < 5
    wait_for(lambda: not server.live())


def test_stopping_twice_is_no_error(serve: Serve) -> None:
    server = serve()
    server.stop(0)
    server.stop(0)


# --- sharing a port


def test_servers_share_one_listening_socket() -> None:
    listener = listen("127.0.0.1", 0)
    servers = [
        AssociationServer(
            socket.fromfd(listener.fileno(), socket.AF_INET, socket.SOCK_STREAM),
            [EchoService()],
            admit=admit_all,
        )
        for _ in range(2)
    ]
    listener.close()
    for server in servers:
        server.start()
    address = servers[0].address
    for _ in range(20):
        with DicomClient(address) as client:
            assert client.associate().echo() == SUCCESS
    servers[0].stop(0)
    with DicomClient(address) as client:
        assert client.associate().echo() == SUCCESS
    servers[1].stop(0)


def test_servers_share_a_port_by_reuse_port() -> None:
    first = listen("127.0.0.1", 0, reuse_port=True)
    port = first.getsockname()[1]
    second = listen("127.0.0.1", port, reuse_port=True)
    servers = [
        AssociationServer(listener, [EchoService()], admit=admit_all)
        for listener in (first, second)
    ]
    for server in servers:
        server.start()
    for _ in range(20):
        with DicomClient(("127.0.0.1", port)) as client:
            assert client.associate().echo() == SUCCESS
    for server in servers:
        server.stop(0)


def test_a_port_in_use_is_an_error() -> None:
    with listen("127.0.0.1", 0) as taken, pytest.raises(OSError, match="in use"):
        listen("127.0.0.1", taken.getsockname()[1])


def test_two_services_for_one_sop_class_are_an_error() -> None:
    with listen("127.0.0.1", 0) as listener, pytest.raises(ValueError, match=r"1\.2\.840"):
        AssociationServer(listener, [EchoService(), EchoService()], admit=admit_all)


# --- threads


def test_a_parked_thread_takes_the_next_item() -> None:
    done: list[int] = []
    names: set[int] = set()

    def work(item: int) -> None:
        names.add(threading.get_ident())
        done.append(item)

    threads = ParkedThreads(work, 1, "test")
    for item in range(10):
        threads.run(item)
        wait_for(lambda: len(done) == item + 1 and threads._parked == 1)  # noqa: B023
    threads.close()
    assert done == list(range(10))
    assert len(names) == 1


def test_busy_threads_are_joined_by_new_ones_and_few_are_kept() -> None:
    gate = threading.Barrier(6)

    def work(item: int) -> None:
        gate.wait(10)

    threads = ParkedThreads(work, 2, "crowd")
    for item in range(5):
        threads.run(item)
    gate.wait(10)
    wait_for(lambda: _named("crowd") == 2)
    threads.close()
    wait_for(lambda: _named("crowd") == 0)


def _named(name: str) -> int:
    return sum(thread.name == name for thread in threading.enumerate())


# --- what an import costs


def test_importing_the_upper_layer_imports_no_dicom_library() -> None:
    code = "import sys, mwl.scp.echo, mwl.net.server; print(*sys.modules)"
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30
    ).stdout.split()
    assert "mwl.net.server" in out
    assert not {"pydicom", "pynetdicom", "numpy"} & set(out)
