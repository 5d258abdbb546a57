"""Processes are kept alive, and end together."""

import os
import pty
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO

import pytest

from mwl.supervisor import Board, pause_s

PATIENCE_S = 30.0

Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start a supervisor with the roles of `tests.roles`; it does not outlive the test."""
    started: list[subprocess.Popen[str]] = []

    def run(
        *plans: str,
        before: Sequence[str] = (),
        stdin: int = subprocess.DEVNULL,
        stderr: int | IO[str] = subprocess.PIPE,
    ) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [*before, sys.executable, "-m", "tests.roles", *plans],
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
        )
        started.append(process)
        return process

    yield run
    for process in started:
        process.kill()
        process.communicate()


def heard(process: subprocess.Popen[str], pattern: str) -> re.Match[str]:
    """Read what is said until a line matches."""
    assert process.stdout is not None
    for line in process.stdout:
        if match := re.search(pattern, line):
            return match
    raise AssertionError(f"{pattern!r} was never said; errors: {process.stderr.read()}")  # type: ignore[union-attr]


def gone(pid: int) -> bool:
    """Wait until a process has ended; a zombie has."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        if is_gone(pid):
            return True
        time.sleep(0.005)
    return False


def is_gone(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return True
    return state in "ZX"


def test_roles_are_told_to_end_and_do(start: Start) -> None:
    process = start("steady", "steady")
    heard(process, "^prepared")
    heard(process, "^all")
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=PATIENCE_S)
    assert out.splitlines() == ["closed", "drained", "drained"]
    assert process.returncode == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_ctrl_c_and_a_closed_terminal_end_in_good_order_too(
    start: Start, number: signal.Signals
) -> None:
    ours, theirs = pty.openpty()
    process = start("steady", stdin=theirs)
    heard(process, "^all")
    process.send_signal(number)
    out, _ = process.communicate(timeout=PATIENCE_S)
    for end in (ours, theirs):
        os.close(end)
    assert "drained" in out
    assert process.returncode == 0


def test_hangup_without_a_terminal_renews_who_can_and_ends_nobody(start: Start) -> None:
    process = start("renewing", "steady")
    heard(process, "^all")
    for _ in range(2):
        process.send_signal(signal.SIGHUP)
        heard(process, "^renewed")
    process.send_signal(signal.SIGTERM)
    out, errors = process.communicate(timeout=PATIENCE_S)
    assert out.splitlines() == ["closed", "drained", "drained"]
    assert "role.died" not in errors
    assert process.returncode == 0


def test_hangup_under_nohup_renews_too(start: Start) -> None:
    process = start("renewing", before=["nohup"])
    heard(process, "^all")
    process.send_signal(signal.SIGHUP)
    heard(process, "^renewed")


def test_hangup_that_nohup_turns_off_ends_nothing(start: Start) -> None:
    process = start("steady", before=["nohup"])
    role = int(heard(process, r"^pid steady (\d+)")[1])
    heard(process, "^all")
    process.send_signal(signal.SIGHUP)
    os.kill(role, signal.SIGKILL)
    heard(process, r"^pid steady (\d+)")
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0


def test_role_that_is_killed_comes_back(start: Start) -> None:
    process = start("steady")
    first = int(heard(process, r"^pid steady (\d+)")[1])
    heard(process, "^all")
    os.kill(first, signal.SIGKILL)
    second = int(heard(process, r"^pid steady (\d+)")[1])
    assert second != first
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=PATIENCE_S)
    assert "role.died role=steady ending=SIGKILL" in errors


@pytest.mark.skipif(sys.platform != "linux", reason="has no /dev/full")
def test_full_disk_under_the_log_ends_neither_roles_nor_supervisor(start: Start) -> None:
    with Path("/dev/full").open("w") as full:
        process = start("steady", stderr=full)
    first = int(heard(process, r"^pid steady (\d+)")[1])
    heard(process, "^all")
    os.kill(first, signal.SIGKILL)
    heard(process, r"^pid steady (\d+)")
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=PATIENCE_S)
    assert out.splitlines() == ["closed", "drained"]


def test_role_that_served_once_is_started_again_for_ever(start: Start) -> None:
    process = start("dies-later")
    for _ in range(6):
        heard(process, "^pid dies-later")
    assert process.poll() is None


def test_role_that_never_serves_ends_the_supervisor_with_a_line(start: Start) -> None:
    process = start("steady", "dies-at-start")
    out, errors = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 1
    assert "mwl: dies-at-start ended 5 times before it could serve" in errors
    assert "error=ValueError" in errors
    assert "DOE" not in errors
    assert "drained" in out


def test_role_with_a_wrong_setting_ends_it_at_once(start: Start) -> None:
    process = start("misconfigured")
    _, errors = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 2
    assert errors == "mwl: hl7.profile: no such profile\n"


def test_wrong_setting_at_a_restart_leaves_the_other_roles_alone(start: Start) -> None:
    process = start("steady", "misconfigured-later")
    steady = int(heard(process, r"^pid steady (\d+)")[1])
    for _ in range(3):
        heard(process, "^again")
    assert process.poll() is None
    assert not is_gone(steady)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0
    assert "mwl: hl7.profile: no such profile\n" in errors
    assert "role.died role=misconfigured-later ending='exit code 2' restart_in_s=" in errors


def test_kill_9_of_the_supervisor_leaves_no_orphan(start: Start) -> None:
    process = start("steady", "deaf")
    pids = [int(heard(process, r"^pid \S+ (\d+)")[1]) for _ in range(2)]
    heard(process, "^all")
    process.kill()
    assert all(gone(pid) for pid in pids)


def test_second_signal_does_not_wait_for_the_deaf(start: Start) -> None:
    process = start("deaf")
    pid = int(heard(process, r"^pid deaf (\d+)")[1])
    heard(process, "^all")
    process.send_signal(signal.SIGTERM)
    heard(process, "^heard")
    begun = time.monotonic()
    while process.poll() is None and time.monotonic() < begun + PATIENCE_S:
        process.send_signal(signal.SIGTERM)
        time.sleep(0.05)
    assert 0.9 < time.monotonic() - begun < 5  # not at once, and less than the deaf are granted
    assert "roles.killed roles=deaf" in process.communicate()[1]
    assert process.returncode == 0
    assert gone(pid)


@pytest.mark.skipif(sys.platform != "linux", reason="counts threads in /proc")
def test_roles_are_forked_from_a_process_without_threads(start: Start) -> None:
    process = start("threads")
    assert heard(process, r"^threads (\d+)")[1] == "1"


@pytest.mark.parametrize("by_kernel", [True, False])
def test_lifeline_ends_a_child_when_its_parent_is_gone(by_kernel: bool) -> None:
    if by_kernel and sys.platform != "linux":
        pytest.skip("the kernel does this on Linux")
    parent_script = (
        "import os, threading\n"
        "from mwl.lifeline import Lifeline\n"
        "line = Lifeline()\n"
        "if pid := os.fork():\n"
        "    os.write(1, b'%d\\n' % pid)\n"
        "    threading.Event().wait()\n"
        f"line.hold(by_kernel={by_kernel})\n"
        "os.write(1, b'held\\n')\n"
        "threading.Event().wait()\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", parent_script], stdout=subprocess.PIPE, text=True
    )
    try:
        assert parent.stdout is not None
        lines = {parent.stdout.readline().strip(), parent.stdout.readline().strip()}
    finally:
        parent.kill()
        parent.wait()
    (child,) = lines - {"held"}
    assert gone(int(child))
    parent.stdout.close()


def test_lifeline_notices_a_parent_that_died_before() -> None:
    script = (
        "import os\n"
        "from mwl.lifeline import Lifeline\n"
        "line = Lifeline()\n"
        "read, write = os.pipe()\n"
        "if os.fork() == 0:\n"  # the one in between ends at once
        "    if os.fork():\n"
        "        os._exit(0)\n"
        "    while os.getppid() == line._parent: pass\n"
        "    line.hold()\n"
        "    os.write(write, b'alive')\n"
        "    os._exit(0)\n"
        "os.close(write)\n"
        "print(os.read(read, 9))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=30, check=True
    )
    assert done.stdout == "b''\n"


def test_processes_are_named_for_people_who_look() -> None:
    if sys.platform != "linux":
        pytest.skip("Linux names them")
    script = (
        "from pathlib import Path\n"
        "from mwl.lifeline import name_process\n"
        "name_process('mwl-dicom')\n"
        "print(Path('/proc/self/comm').read_text())"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "mwl-dicom"


def test_pauses_grow_up_to_a_bound() -> None:
    pauses = [pause_s(n) for n in range(1, 100)]
    assert pauses[0] < 0.2
    assert pauses == sorted(pauses)
    assert pauses[-1] == 30


def test_role_serves_while_one_of_its_processes_does() -> None:
    board = Board(["dicom", "dicom", "hl7"])
    assert board.serving() == {"dicom": False, "hl7": False}
    board.set(1, serving=True)
    assert board.serving() == {"dicom": True, "hl7": False}
    board.set(1, serving=False)
    assert board.serving() == {"dicom": False, "hl7": False}
