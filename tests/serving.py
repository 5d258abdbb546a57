"""`mwl serve` as a real process, for tests of whole journeys.

    with Serving(tmp_path) as server:
        server.start()          # waits until every role serves
        server.ports["hl7"]     # "dicom", "hl7", "web"; the same after each start
        server.kill()           # kill -9 of the supervisor
        server.start()

Nothing it starts outlives the `with` block.
"""

import os
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from tests import warm

PATIENCE_S = 60.0

_MWL = Path(sys.executable).with_name("mwl")
_BANNER = re.compile(r"^  (DICOM|HL7|web) +\S+:(\d+)  ", re.MULTILINE)
_SERVING = re.compile(r"role\.serving role=(\S+) pid=(\d+)")


def environment(data_dir: Path, **more: str) -> dict[str, str]:
    """Give a program's environment, cleared of settings that are not a test's own."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith("MWL_")}
    return {**ours, "MWL_DATA_DIR": str(data_dir), **more}


@contextmanager
def served(folder: Path, **environ: str) -> Iterator["Serving"]:
    """Serve all roles within the block."""
    with Serving(folder, environ=environ) as server:
        server.start()
        yield server


class Serving:
    """A server with a data directory of its own on free ports of loopback."""

    def __init__(
        self,
        folder: Path,
        *roles: str,
        environ: Mapping[str, str] | None = None,
        cold: bool = False,
    ) -> None:
        """Prepare; `environ` adds settings such as MWL_DATABASE__URL.

        `cold` starts the program itself, not one whose libraries are loaded already.
        """
        self.data_dir = folder / "data"
        self.log_file = folder / "serve.log"
        self.ports: dict[str, int] = {}
        self.said = ""  # what this run has told people until it served
        self._roles = roles
        self._environ = dict(environ or {})
        self._cold = cold
        self._process: subprocess.Popen[bytes] | warm.Process | None = None
        self._log_start = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._process is not None:
            self.kill()

    @property
    def environ(self) -> dict[str, str]:
        """The settings of the server, for commands that talk to it."""
        ports = {f"MWL_{name.upper()}__PORT": str(port) for name, port in self.ports.items()}
        return environment(self.data_dir, **{**self._environ, **ports})

    @property
    def log(self) -> str:
        """What all runs have logged."""
        return self.log_file.read_text("utf-8") if self.log_file.exists() else ""

    @property
    def process(self) -> "subprocess.Popen[bytes] | warm.Process":
        assert self._process is not None, "not started"
        return self._process

    def start(self, *prefix: str) -> None:
        """Start it and wait until everything serves; `prefix` is a command to run it under."""
        free = {f"MWL_{name}__PORT": "0" for name in ("DICOM", "HL7", "WEB")}
        self._log_start = len(self.log)
        command, environ = ["serve", *self._roles], {**free, **self.environ}
        with self.log_file.open("ab") as log:
            if prefix or self._cold:
                self._process = subprocess.Popen(
                    [*prefix, str(_MWL), *command],
                    env=environ,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=log,
                )
            else:
                self._process = warm.start(command, env=environ, stderr=log)
        self.said = self._banner()
        self.ports = {name.lower(): int(port) for name, port in _BANNER.findall(self.said)}

    def run(self, *arguments: str, code: int | None = 0) -> subprocess.CompletedProcess[str]:
        """Run `mwl ARGUMENTS` with the server's settings; `code` None takes any exit code."""
        done = warm.run(arguments, env=self.environ, timeout=PATIENCE_S)
        assert code is None or done.returncode == code, done
        return done

    def pids(self, role: str) -> list[int]:
        """List the processes that have served a role in this run, the latest last."""
        this_run = self.log[self._log_start :]
        return [int(pid) for name, pid in _SERVING.findall(this_run) if name == role]

    def wait_for_log(self, pattern: str) -> re.Match[str]:
        """Wait until this run has logged a line that matches."""
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            if match := re.search(pattern, self.log[self._log_start :]):
                return match
            time.sleep(0.01)
        raise AssertionError(f"{pattern!r} was never logged:\n{self.log}")

    def stop(self) -> int:
        """Ask it to end; give its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.wait()

    def kill(self) -> None:
        """End the supervisor by kill -9."""
        self.process.kill()
        self.wait()

    def wait(self) -> int:
        """Wait for its end; give its exit code."""
        code = self.process.wait(PATIENCE_S)
        assert self.process.stdout is not None
        self.process.stdout.close()
        self._process = None
        return code

    def _banner(self) -> str:
        """Read the block that tells what listens where; it comes when all of it does."""
        assert self.process.stdout is not None
        stream, text = self.process.stdout.fileno(), b""
        deadline = time.monotonic() + PATIENCE_S
        while b"\n  data" not in text:
            readable, _, _ = select.select([stream], [], [], deadline - time.monotonic())
            chunk = os.read(stream, 4096) if readable else b""
            if not chunk:
                self.kill()
                raise AssertionError(f"it did not start:\n{self.log}")
            text += chunk
        return text.decode()
