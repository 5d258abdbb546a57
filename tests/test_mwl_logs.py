"""Log lines are one line each, and hold no patient data that other people's code let slip."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import IO

import pytest

from mwl.errors import Outage
from mwl.logs import describe_exception

SCRIPT = """
import logging, sys, warnings
import structlog
from mwl import logs
logs.configure("info", as_json="json" in sys.argv)
log = structlog.get_logger()
log.debug("unseen")
log.info("a.thing", title="CT 1\\n2026 error forged=1", empty="", number=5)
try:
    int("DOE^JANE")
except ValueError:
    log.exception("it.failed")
logging.getLogger("somelib").warning("library says %s", "so")
logging.getLogger("somelib").info("unseen too")
logging.getLogger("pydicom").error("Invalid value DOE^JANE")
"""


def said(*arguments: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout == ""
    return done.stderr.splitlines()


def test_an_event_is_one_line_whatever_its_values() -> None:
    thing, failed, library = said()
    assert thing.endswith("Z info    a.thing title='CT 1\\n2026 error forged=1' empty='' number=5")
    assert " error   it.failed error=ValueError at=" in failed
    assert library.endswith("warning library library=somelib text='library says so'")


def test_json_has_an_object_a_line() -> None:
    thing, failed, library = map(json.loads, said("json"))
    assert (thing["event"], thing["title"]) == ("a.thing", "CT 1\n2026 error forged=1")
    assert (failed["error"], failed["level"]) == ("ValueError", "error")
    assert library["library"] == "somelib"


def test_no_text_of_an_unexpected_error_is_logged() -> None:
    assert "DOE" not in "".join(said())
    assert "DOE" not in "".join(said("json"))


@pytest.mark.skipif(sys.platform != "linux", reason="has no /dev/full")
def test_full_disk_under_the_log_stops_nobody() -> None:
    with Path("/dev/full").open("w") as full:
        assert went_on(full) == "went on\n"


def test_log_that_nobody_reads_any_more_stops_nobody() -> None:
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w") as unread:
        assert went_on(unread) == "went on\n"


def test_program_without_standard_error_goes_on() -> None:
    assert went_on(None, "import os, sys; sys.stderr = None; os.close(2)\n") == "went on\n"


def went_on(stderr: IO[str] | None, before: str = "") -> str:
    """Run the script with that standard error; give what it says when it has logged."""
    # Python's own end can't be written either, and is told by an exit code of 120.
    script = f"{before}{SCRIPT}\nsys.stdout.write('went on\\n')"
    return subprocess.run(
        [sys.executable, "-c", script],
        stdout=subprocess.PIPE,
        stderr=stderr,
        text=True,
        timeout=60,
        check=False,
    ).stdout


def fail() -> None:
    raise Outage("database: the disk is full")


def test_text_of_our_own_errors_is_logged() -> None:
    with pytest.raises(Outage) as caught:
        fail()
    line = describe_exception(None, "error", {"event": "x", "exc_info": caught.value})
    assert (line["error"], line["text"]) == ("Outage", "database: the disk is full")
    assert "test_mwl_logs.py" in line["at"]
