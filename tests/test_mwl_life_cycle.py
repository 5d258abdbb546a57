"""Associations while `mwl serve` ends, while one of its processes dies, and when people look."""

import json
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from mwl.associations import Open, Wanted, page
from mwl.db import Database
from mwl.net.pdu import Abort
from tests.dicom_client import VERIFICATION, DicomClient, status
from tests.serving import PATIENCE_S, Serving
from tests.storing import CT, EXPLICIT, IMPLICIT, encoded, image, request
from tests.test_mwl_serve import can_bind, echo, eventually, stopped


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Serving]:
    with Serving(tmp_path, environ={"MWL_DICOM__PROCESSES": "2"}) as made:
        made.start()
        yield made


def dial(server: Serving, calling: str, *sop_classes: str) -> DicomClient:
    client = DicomClient(("127.0.0.1", server.ports["dicom"]), timeout_s=PATIENCE_S)
    return client.associate(
        sop_classes or (VERIFICATION,),
        calling=calling,
        transfer_syntaxes=(EXPLICIT, IMPLICIT),
    )


def dial_one(server: Serving, pid: int, calling: str) -> DicomClient:
    """Open an association that the process `pid` serves: the other sleeps meanwhile."""
    (other,) = {*server.pids("dicom")[-2:]} - {pid}
    os.kill(other, signal.SIGSTOP)
    try:
        assert eventually(lambda: stopped(other))
        return dial(server, calling)
    finally:
        os.kill(other, signal.SIGCONT)


def told(server: Serving) -> dict[str, Open]:
    """Give what is told to be open, by the calling title."""
    database = Database("sqlite:///mwl.db", data_dir=server.data_dir)
    with closing(database), database.read() as session:
        rows = page(session, Wanted(datetime.now(UTC)), limit=99)
    return {row.calling: row for row in rows}


def listed(server: Serving, *options: str) -> dict[str, dict[str, Any]]:
    """Give what the command line lists, by the calling title."""
    lines = server.run("associations", "list", "--json", *options).stdout.splitlines()
    return {row["calling"]: row for row in map(json.loads, lines)}


def test_people_see_what_all_processes_serve_and_end_one(server: Serving) -> None:
    one, other = server.pids("dicom")
    with closing(dial_one(server, one, "CT1")) as ct, closing(dial_one(server, other, "MR1")) as mr:
        assert ct.echo() == 0
        assert eventually(lambda: [each.messages for each in told(server).values()] == [1, 0])
        rows = listed(server)
        assert set(rows) == {"CT1", "MR1"}
        assert rows["CT1"]["contexts"] == [[VERIFICATION, IMPLICIT]]
        assert len({row["place"] for row in rows.values()}) == 2
        assert min(rows["CT1"][name] for name in ("received_bytes", "sent_bytes")) > 100
        table = server.run("associations", "list", "--peer", "mr1", "--text", "127").stdout
        assert "MR1" in table
        assert "CT1" not in table

        said = server.run("associations", "abort", str(rows["CT1"]["id"])).stdout
        assert said == "is aborted within seconds: CT1 at 127.0.0.1\n"
        assert ct.read_pdu() == Abort(0, 0)
        ct.accept = None
        assert mr.echo() == 0
        assert eventually(lambda: told(server).keys() == {"MR1"})
        gone = server.run("associations", "abort", str(rows["CT1"]["id"]), code=1)
        assert "is not open any more" in gone.stderr
        mr.release()
    assert eventually(lambda: told(server) == {})


def test_a_killed_process_takes_down_its_own_associations_alone(server: Serving) -> None:
    one, other = server.pids("dicom")
    with closing(dial_one(server, one, "CT1")) as ct, closing(dial_one(server, other, "MR1")) as mr:
        assert eventually(lambda: told(server).keys() == {"CT1", "MR1"})
        os.kill(one, signal.SIGKILL)
        echo(server)  # the port is open all the time
        assert mr.echo() == 0
        with pytest.raises((EOFError, ConnectionResetError)):
            ct.read_pdu()
        ct.accept = None
        assert eventually(lambda: len(server.pids("dicom")) == 3)
        assert eventually(lambda: told(server).keys() == {"MR1"})
        assert mr.echo() == 0
        mr.release()


def test_ending_finishes_what_is_under_way_and_aborts_the_rest(server: Serving) -> None:
    port = server.ports["dicom"]
    whole = request("1.2.3.1", encoded(image(1, SOPInstanceUID="1.2.3.1")))
    with (
        closing(dial(server, "CT1", CT)) as storing,
        closing(dial(server, "MR1")) as idle,
        socket.create_connection(("127.0.0.1", port), PATIENCE_S) as silent,
    ):
        storing.send(whole[:-4000])
        ending: list[int] = []
        thread = threading.Thread(target=lambda: ending.append(server.stop()))
        began = time.monotonic()
        thread.start()
        assert eventually(lambda: can_bind(port))
        storing.send(whole[-4000:])
        assert status(storing.read_message()[0]) == 0
        storing.release()
        # These two say nothing, and don't close when they are told.
        assert idle.read_pdu() == Abort(0, 0)
        idle.accept = None
        assert silent.recv(100)[:1] == b"\7"  # A-ABORT too
        thread.join(PATIENCE_S)
        assert ending == [0]
        assert time.monotonic() - began < 10  # what container engines grant
    assert "roles.killed" not in server.log
    assert server.log.count("association.stopped") == 2
    studies = server.run("study", "list", "--json").stdout.splitlines()
    assert [json.loads(line)["study_instance_uid"] for line in studies] == [
        "1.2.826.0.1.3680043.8.498.2"
    ]
    assert told(server) == {}
