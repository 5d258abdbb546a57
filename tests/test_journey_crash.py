"""Killed five times at work: what was acknowledged is there, once, and the RIS hears in order."""

import json
import random
import time
from collections import defaultdict

import pytest

from hl7 import er7
from tests.department import Department
from tests.mllp_peer import control_id
from tests.serving import PATIENCE_S
from tests.test_journey_closing import Site

KILLS = 5


@pytest.fixture
def site(database_url, tmp_path):
    made = Site(tmp_path, MWL_DATABASE__URL=database_url)
    with made.stack:
        yield made


def test_five_kills_lose_nothing_and_do_nothing_twice(site):
    server = site.server
    department = Department(server.ports["hl7"], server.ports["dicom"])
    department.start()
    for _ in range(KILLS):
        before = len(department.performed)
        time.sleep(random.uniform(0.5, 1.5))
        wait_until(lambda b=before: len(department.performed) > b)
        server.kill()
        server.start()
    department.stop()
    assert department.wrong == []
    assert len(department.performed) > 2 * KILLS

    assert_all_closed(server, department)
    assert_images_are_there(server, department)
    assert_told_in_order(site, department)


def assert_all_closed(server, department):
    def status():
        lines = server.run("worklist", "list", "--json").stdout.splitlines()
        rows = [json.loads(line) for line in lines]
        return sorted((row["accession_number"], row["order_status"]) for row in rows)

    wait_until(lambda: all(state == "CLOSED" for _, state in status()))
    assert status() == sorted((accession, "CLOSED") for accession in department.orders)


def assert_images_are_there(server, department):
    server.run("verify", "--deep")
    lines = server.run("study", "list", "--json").stdout.splitlines()
    studies = [json.loads(line) for line in lines]
    assert sorted(study["accession_number"] for study in studies) == sorted(
        department.instances.values()
    )


def assert_told_in_order(site, department):
    """A kill between the message and its settling sends it again, the same bytes."""
    wait_until(lambda: not waiting(site.server))
    first: dict[str, bytes] = {}
    events = defaultdict(list)
    for raw in site.ris.messages:
        known = first.setdefault(control_id(raw), raw)
        assert known == raw
        if known is raw:
            message = er7.Message.parse(raw.decode())
            events[message.text("OBR-18")].append(message.text("ORC-5"))
    assert {accession: told[:2] for accession, told in events.items()} == {
        accession: ["IP", "CM"] for accession in department.performed
    }
    # The third tells of CLOSED.
    assert {len(told) for told in events.values()} == {3}


def waiting(server):
    lines = server.run("outbox", "list", "--json").stdout.splitlines()
    return [row for row in map(json.loads, lines) if row["state"] != "done"]


def wait_until(condition):
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, "it did not come to that in time"
        time.sleep(0.1)
