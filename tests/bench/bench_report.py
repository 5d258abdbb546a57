"""A report with a document of megabytes: how long its sender waits, and what that takes.

The time is from the last byte sent to the answer, the commit on disk between them. Memory is
the peak of the process `hl7` (VmHWM) beyond what it held before.
"""

import base64
import itertools
import os
import socket
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from hl7 import mllp
from tests import postgres
from tests.bench.measure import Result, at_most
from tests.builders import oru
from tests.serving import served

_MIB = 1024 * 1024
_HALF, _WHOLE = 5, 10  # MiB of a message; the longest that is taken by default
_TIMES = 5
_numbers = itertools.count(1)


def run() -> Iterator[Result]:
    with tempfile.TemporaryDirectory() as name, served(Path(name)) as server:
        yield from _measure("SQLite", server.ports["hl7"], server.pids("hl7")[-1])
    with tempfile.TemporaryDirectory() as name:
        postgresql = postgres.Server(durable=True)
        try:
            with served(Path(name), MWL_DATABASE__URL=postgresql.url) as server:
                yield from _measure("PostgreSQL", server.ports["hl7"], server.pids("hl7")[-1])
        finally:
            postgresql.remove()


def _measure(database: str, port: int, pid: int) -> Iterator[Result]:
    with socket.create_connection(("127.0.0.1", port), 60) as connection:
        _wait_s(connection, _message(64 * 1024))
        before = _memory_mb(pid, "VmRSS")
        Path(f"/proc/{pid}/clear_refs").write_text("5")  # the peak counts from now on
        first = _wait_s(connection, _message(_WHOLE * _MIB))
        more = _memory_mb(pid, "VmHWM") - before
        half, whole = [], [first]
        for _ in range(_TIMES):
            half.append(_wait_s(connection, _message(_HALF * _MIB)))
            whole.append(_wait_s(connection, _message(_WHOLE * _MIB)))
        peak = _memory_mb(pid, "VmHWM") - before
    wait, shorter = statistics.median(whole), statistics.median(half)
    note = f"worst {max(whole):.2f} s"
    yield at_most(f"last byte of a 10 MiB report to its answer, {database}", wait, "s", 0.5, note)
    note = f"5 MiB {shorter:.2f} s"
    yield at_most("the same, beside 5 MiB", wait / shorter, "×", 3, note)
    note = f"{peak:.0f} MB after {2 * _TIMES + 1} of them"
    yield at_most(f"more memory for a 10 MiB report, {database}", more, "MB", 60, note)


def _message(size: int) -> bytes:
    """Make a report with a PDF, framed, of `size` bytes."""
    number = next(_numbers)

    def text(data: str) -> bytes:
        value = f"^Application^PDF^Base64^{data}"
        return oru(MSH_10=f"R{number}", OBR_3=f"F{number}", OBX_2="ED", OBX_5=value).encode()

    room = (size - len(text(""))) // 4 * 3
    content = b"%PDF-1.7\n" + os.urandom(room - 9)
    return mllp.frame(text(base64.b64encode(content).decode()))


def _wait_s(connection: socket.socket, frame: bytes) -> float:
    """Send a message; give how long its answer took since its last byte went out."""
    os.sync()
    connection.sendall(frame)
    began = time.perf_counter()
    answer = b""
    while not answer.endswith(mllp.FS + mllp.CR):
        more = connection.recv(65_536)
        assert more, "no answer"
        answer += more
    took = time.perf_counter() - began
    assert b"MSA|AA" in answer, answer
    return took


def _memory_mb(pid: int, name: str) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) / 1024
    raise AssertionError(f"no {name}")
