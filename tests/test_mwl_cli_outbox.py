import json
from datetime import UTC, datetime

import pytest

from mwl import audit, outbox
from mwl.db import Database
from mwl.outbox import Forwarded, Kind
from tests.builders import adt_a08
from tests.mllp_peer import AE, Ris
from tests.serving import Serving
from tests.test_hl7_outbound import fact
from tests.test_mwl_outbox_courier import eventually

DESTINATION = """
[[hl7.destination]]
name = "ris"
host = "127.0.0.1"
port = {port}
message = "OMI^O23"
application = "RIS"

[[hl7.forward]]
name = "his"
host = "127.0.0.1"
port = {port}
"""


@pytest.fixture
def ris():
    with Ris() as made:
        yield made


@pytest.fixture
def server(tmp_path, ris):
    config = tmp_path / "mwl.toml"
    config.write_text(DESTINATION.format(port=ris.port))
    with Serving(tmp_path, "jobs", environ={"MWL_CONFIG": str(config)}) as made:
        made.start()
        yield made


def put(server, *subjects):
    database = Database("sqlite:///mwl.db", data_dir=server.data_dir)

    def work(session):
        for subject in subjects:
            outbox.enqueue(
                session,
                kind=Kind.ORDER_STATUS,
                destination="ris",
                subject=subject,
                payload=fact(event="CM"),
                now=datetime.now(UTC),
            )

    database.write(work)
    database.close()


def decisions(server):
    database = Database("sqlite:///mwl.db", data_dir=server.data_dir)
    with database.read() as session:
        found = audit.listing(session, audit.Wanted(), limit=9)
    database.close()
    return [(event.action, event.subject, event.role) for event in found]


def listed(server, *options):
    done = server.run("outbox", "list", "--json", *options)
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_the_server_tells_and_the_command_line_decides(server, ris):
    ris.answers(AE)
    put(server, "order:1", "order:2", "order:1")
    eventually(lambda: [row["state"] for row in listed(server)] == ["blocked", "done", "parked"])
    assert ris.parsed()[0].text("MSH-3") == "MWL"
    blocked, done, parked = listed(server)
    assert listed(server, "--state", "PARKED", "--destination", "ris") == [parked]
    assert listed(server, "--destination", "other") == []
    assert parked.keys() == {
        *("id", "destination", "kind", "subject", "event", "control_id", "state", "attempts"),
        *("next_at", "error", "created_at"),
    }
    assert (parked["kind"], parked["event"], parked["attempts"]) == ("order_status", "CM", 1)
    assert (parked["control_id"], done["control_id"]) == tuple(ris.ids)
    assert (parked["next_at"], parked["error"]) == ("", "answered AE, 101 at PID-1^3")
    assert "order:2" in server.run("outbox", "list").stdout
    for secret in ("Doe", "PID1", "19800229"):
        assert secret not in server.run("outbox", "list").stdout + server.log

    refused = server.run("outbox", "drop", str(done["id"]), code=1)
    assert "done or dropped already" in refused.stderr
    assert "there is none" in server.run("outbox", "resend", "4711", code=1).stderr
    assert (
        "behind a parked one" in server.run("outbox", "resend", str(blocked["id"]), code=1).stderr
    )
    assert "must be one of" in server.run("outbox", "list", "--state", "x", code=2).stderr

    server.run("outbox", "resend", str(parked["id"]))
    eventually(lambda: {row["state"] for row in listed(server)} == {"done"})
    assert ris.messages[0] == ris.messages[2]
    assert server.stop() == 0


def test_a_dropped_delivery_is_not_sent(server, ris):
    ris.answers(AE)
    put(server, "order:1")
    eventually(lambda: [row["state"] for row in listed(server)] == ["parked"])
    server.run("outbox", "drop", "1")
    put(server, "order:1")
    eventually(lambda: [row["state"] for row in listed(server)] == ["done", "dropped"])
    assert len(ris.messages) == 2
    assert decisions(server) == [("drop", "delivery:1", "cli")]


def test_what_is_forwarded_goes_as_it_came_and_is_not_written_anew(server, ris):
    text = adt_a08(MSH_10="FWD1").encode()
    message = Forwarded(text, "FWD1", "ADT^A08", "RIS^HOSPITAL", "patient:1", "00")
    database = Database("sqlite:///mwl.db", data_dir=server.data_dir)
    database.write(lambda session: outbox.forward(session, "his", message, datetime.now(UTC)))
    database.close()
    eventually(lambda: [row["state"] for row in listed(server)] == ["done"])
    assert ris.messages == [text]
    (row,) = listed(server, "--destination", "his")
    assert (row["kind"], row["event"], row["subject"]) == ("forward", "ADT^A08", "patient:1")
    refused = server.run("outbox", "resend", "1", "--anew", code=1)
    assert "forwarded as it came" in refused.stderr
    server.run("outbox", "resend", "1")
    ris.wait(2)
    assert ris.messages == [text] * 2
