"""`mwl` as a process of its own whose libraries are loaded already.

To load SQLAlchemy and the like takes most of a command's time. Here one process a worker, the
hearth, has loaded them, and forks for each command.

    done = warm.run(["worklist", "list"], env=environ)      # a CompletedProcess, with texts
    process = warm.start(["serve"], env=environ, stderr=log)  # as a Popen, as far as needed
    warm.script(folder / "mwl")                             # a program that does the same
"""

import atexit
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import IO, Any

from tests import hearth


class Process:
    """A command that runs, as much of a Popen as tests ask for."""

    def __init__(
        self,
        arguments: Iterable[str],
        env: Mapping[str, str],
        streams: Sequence[IO[Any]],
        module: str = "",
    ) -> None:
        """Start it with what it reads and writes; `module` runs instead of `mwl`."""
        self.args = [module or "mwl", *arguments]
        self.returncode: int | None = None
        self.stdin: IO[bytes] | None = None  # what writes to it and reads it, if somebody does
        self.stdout: IO[bytes] | None = None
        numbers = [each.fileno() for each in streams]
        folder = str(Path.cwd())
        self._asking = hearth.ask(_hearth(), self.args[1:], env, numbers, folder, module)
        self.pid: int = hearth.answer(self._asking)

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def poll(self) -> int | None:
        try:
            return self.wait(0.0001)
        except TimeoutError:
            return None

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end; give its exit code, negative for a signal. Raises TimeoutError."""
        if self.returncode is None:
            self._asking.settimeout(timeout)
            self.returncode = int(hearth.answer(self._asking))
            self._asking.close()
        return self.returncode


def start(arguments: Iterable[str], *, env: Mapping[str, str], stderr: IO[Any]) -> Process:
    """Start a command that has nothing to read; what it says is read from its `stdout`."""
    reading, writing = os.pipe()
    with os.fdopen(writing, "wb") as stdout, _nothing() as stdin:
        process = Process(arguments, env, [stdin, stdout, stderr])
    process.stdout = os.fdopen(reading, "rb")
    return process


def start_module(module: str, arguments: Iterable[str]) -> Process:
    """Start `python -m MODULE`; it is written to by its `stdin`, and read from its `stdout`."""
    theirs, ours = os.pipe()
    reading, writing = os.pipe()
    with os.fdopen(theirs, "rb") as stdin, os.fdopen(writing, "wb") as stdout:
        process = Process(arguments, os.environ, [stdin, stdout, sys.__stderr__], module)
    process.stdin, process.stdout = os.fdopen(ours, "wb"), os.fdopen(reading, "rb")
    return process


def run(
    arguments: Iterable[str], *, env: Mapping[str, str] = os.environ, timeout: float
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end; give its exit code and what it said. Raises TimeoutError."""
    with (
        tempfile.TemporaryFile() as stdout,
        tempfile.TemporaryFile() as stderr,
        _nothing() as stdin,
    ):
        process = Process(arguments, env, [stdin, stdout, stderr])
        try:
            code = process.wait(timeout)
        except TimeoutError:
            process.kill()
            raise
        said = [_text(stdout), _text(stderr)]
    return subprocess.CompletedProcess(process.args, code, *said)


def script(path: Path) -> None:
    """Make a program at `path` that is `mwl`."""
    program = f"{sys.executable} -I -S {hearth.__file__} {_hearth()}"
    path.write_text(f'#!/bin/sh\nexec {program} "$@"\n')
    path.chmod(0o755)


def _nothing() -> IO[bytes]:
    return Path(os.devnull).open("rb")


def _text(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode().replace("\r\n", "\n")


@cache
def _hearth() -> str:
    """Name the socket of this process's hearth, which is lit when it is first asked for."""
    folder = Path(tempfile.mkdtemp(prefix="mwl-warm-"))
    place = str(folder / "socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(place)
        listener.listen(64)
        number = listener.fileno()
        command = [sys.executable, hearth.__file__, str(number)]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, pass_fds=[number])

    def end() -> None:
        process.communicate()  # it ends with its standard input
        shutil.rmtree(folder)

    atexit.register(end)
    return place
