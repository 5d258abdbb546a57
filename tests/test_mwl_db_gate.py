"""The write gate: one at a time, in turn, and never for ever."""

import fcntl
import multiprocessing
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from mwl.db import Database
from mwl.db.gate import FileGate
from mwl.errors import Outage
from tests.test_mwl_db_write import until


@pytest.fixture
def gates(tmp_path):
    made = [FileGate(tmp_path / "mwl.db") for _ in range(3)]
    yield made
    for gate in made:
        gate.close()


def soon(seconds=10.0):
    return time.monotonic() + seconds


def enters(gate, seconds=10.0):
    with gate.held(soon(seconds)):
        return True


def test_only_one_is_inside(gates):
    inside, most = [], []

    def visit(gate):
        for _ in range(100):
            with gate.held(soon()):
                inside.append(gate)
                most.append(len(inside))
                inside.pop()

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(visit, gates))
    assert most == [1] * 300


def test_who_waits_too_long_gives_up_and_may_come_again(gates):
    mine, other, third = gates
    with other.held(soon()):
        began = time.monotonic()
        for _ in range(2):
            with pytest.raises(Outage, match="no turn"):
                enters(mine, 0.05)
        assert 0.1 <= time.monotonic() - began < 5
    # Nobody keeps a place for those who gave up, and they get in again.
    assert enters(third)
    assert enters(mine)
    assert enters(other)


def test_a_wait_that_was_given_up_is_taken_up_by_the_next_of_the_process(gates):
    mine, other, _ = gates
    with ThreadPoolExecutor(1) as pool:
        with other.held(soon()):
            with pytest.raises(Outage):
                enters(mine, 0.05)
            again = pool.submit(enters, mine)
        assert again.result(10)
    assert enters(other)


def test_who_has_just_been_inside_lines_up_behind_those_who_wait(gates, tmp_path):
    hog, patient, _ = gates
    order = []

    def visit(gate, name):
        with gate.held(soon()):
            order.append(name)

    waiting = threading.Thread(target=visit, args=(patient, "patient"))
    with hog.held(soon()), (tmp_path / "mwl.db-queue.lock").open() as queue:
        waiting.start()
        until(lambda: is_taken(queue))
    visit(hog, "hog")
    waiting.join(10)
    assert order == ["patient", "hog"]


def is_taken(file):
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    fcntl.flock(file, fcntl.LOCK_UN)
    return False


def test_a_folder_that_is_gone_is_an_outage(tmp_path):
    gate = FileGate(tmp_path / "nowhere" / "mwl.db")
    with pytest.raises(Outage, match="nowhere"):
        enters(gate)


def _write_for(url, folder, seconds, start, results):
    database = Database(url, data_dir=folder)
    database.write(lambda _: None)
    start.wait(30)
    count, longest = 0, 0.0
    end = time.monotonic() + seconds
    while (began := time.monotonic()) < end:
        database.write(
            lambda s: s.connection().exec_driver_sql("UPDATE alembic_version SET version_num = 'x'")
        )
        count, longest = count + 1, max(longest, time.monotonic() - began)
    results.put((count, longest))


def test_three_busy_processes_share_evenly_and_none_waits_long(sqlite_url, tmp_path):
    spawn = multiprocessing.get_context("spawn")
    start, results = spawn.Barrier(3), spawn.Queue()
    writers = [
        spawn.Process(target=_write_for, args=(sqlite_url, tmp_path, 1.5, start, results))
        for _ in range(3)
    ]
    for writer in writers:
        writer.start()
    counts, longest = zip(*(results.get(timeout=60) for _ in writers), strict=True)
    for writer in writers:
        writer.join(30)
    assert min(counts) * 2 > max(counts)
    # Measured: 10 ms; with a gate but no queue 200 ms, with neither 4,800 ms.
    assert max(longest) < 1
