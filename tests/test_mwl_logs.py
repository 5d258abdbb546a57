"""Log lines are one line each, and hold no patient data that other people's code let slip."""

import json
import subprocess
import sys

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


def fail() -> None:
    raise Outage("database: the disk is full")


def test_text_of_our_own_errors_is_logged() -> None:
    with pytest.raises(Outage) as caught:
        fail()
    line = describe_exception(None, "error", {"event": "x", "exc_info": caught.value})
    assert (line["error"], line["text"]) == ("Outage", "database: the disk is full")
    assert "test_mwl_logs.py" in line["at"]
