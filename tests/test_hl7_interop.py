"""MLLP and HL7 with implementations that nobody here wrote, as senders and as receivers."""

import json
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from hl7.er7 import Message
from mwl.net.dimse import CommandField
from tests import department
from tests.builders import adt_a08, orm
from tests.dicom_client import DicomClient, status
from tests.orthanc import free_ports
from tests.ris_peers import IMPLEMENTATIONS, hearing, sent
from tests.serving import Serving
from tests.test_journey_crash import wait_until

CHARACTERS = "Müller^Łucja 山田"


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Iterator[tuple[Serving, dict[str, int]]]:
    """Serve, with a destination for each implementation, none of which listens yet."""
    folder = tmp_path_factory.mktemp("site")
    ports = dict(zip(IMPLEMENTATIONS, free_ports(len(IMPLEMENTATIONS)), strict=True))
    destinations = "".join(
        f'[[hl7.destination]]\nname = "{name}"\nhost = "127.0.0.1"\nport = {port}\n'
        'events = ["IP"]\n'
        for name, port in ports.items()
    )
    config = folder / "site.toml"
    config.write_text(destinations, "utf-8")
    with Serving(folder, "dicom", "hl7", "jobs", environ={"MWL_CONFIG": str(config)}) as server:
        server.start()
        yield server, ports
        assert "Traceback" not in server.log


def order(name: str, number: int, **fields: str | None) -> str:
    """Write an order with numbers of its own."""
    key = f"{name[0].upper()}{number}"
    return orm(
        **{
            "MSH_18": "UNICODE UTF-8",
            "PID_3": f"PID{key}^^^ADT1^MR",
            "PID_5": CHARACTERS,
            "ORC_2": f"PO{key}^RIS",
            "ORC_3": f"FO{key}^RIS",
            "OBR_2": f"PO{key}^RIS",
            "OBR_3": f"FO{key}^RIS",
            "OBR_18": f"ACC{key}",
            "OBR_19": f"RP{key}",
            "OBR_20": f"SPS{key}",
            "ZDS_1": f"1.2.826.0.1.3680043.8.498.{number}.{len(name)}",
            **fields,
        }
    )


def worklist(server: Serving) -> dict[str, str]:
    lines = server.run("worklist", "list", "--json").stdout.splitlines()
    rows = [row for row in map(json.loads, lines) if row["status"] != "CANCELED"]
    return {row["accession_number"]: row["patient_name"] for row in rows}


@pytest.mark.parametrize("name", IMPLEMENTATIONS)
def test_orders_of_a_peer_stand_on_the_worklist_and_bad_ones_are_refused(site, name):
    server, _ = site
    key = name[0].upper()
    messages = [
        order(name, 1),
        order(name, 2, OBR_18="A" * 17),
        adt_a08(PID_3=f"PID{key}1^^^ADT1^MR", PID_5="Müller^Lucia", PID_7=None),
        order(name, 3),
        order(name, 3, ORC_1="CA"),
    ]
    answers = [Message.parse(text) for text in sent(name, server.ports["hl7"], messages)]
    ids = [Message.parse(text).text("MSH-10") for text in messages]
    assert [answer.text("MSA-2") for answer in answers] == ids
    assert [answer.text("MSA-1") for answer in answers] == ["AA", "AE", "AA", "AA", "AA"]
    assert (answers[1].text("ERR-2.1"), answers[1].text("ERR-3")) == ("OBR", "104")
    of_peer = {k: v for k, v in worklist(server).items() if k.startswith(f"ACC{key}")}
    assert of_peer == {f"ACC{key}1": "Müller^Lucia"}


def test_a_batch_of_a_peer_is_taken_message_by_message(site):
    server, _ = site
    messages = [order("batch", 1), order("batch", 2, OBR_18="A" * 17), order("batch", 3)]
    # 2.10.3.3: a batch is answered by a batch, which node-hl7-client hands on but can't read.
    (answer,) = sent("node-hl7", server.ports["hl7"], messages, batch=True)
    assert answer.startswith("BHS|")
    said = [line.split("|")[1:3] for line in answer.split("\r") if line.startswith("MSA")]
    ids = [Message.parse(text).text("MSH-10") for text in messages]
    assert said == [["AA", ids[0]], ["AE", ids[1]], ["AA", ids[2]]]
    assert {"ACCB1", "ACCB3"} == {key for key in worklist(server) if key.startswith("ACCB")}


def test_peers_hear_that_examinations_began(site):
    server, ports = site
    (answer,) = sent("simple-hl7", server.ports["hl7"], [department._order(7).decode()])
    assert "MSA|AA" in answer
    with ExitStack() as listening:
        heard = [listening.enter_context(hearing(name, ports[name], 1)) for name in IMPLEMENTATIONS]
        begin(server, 7)
        texts = [each() for each in heard]
    for (text,) in texts:
        message = Message.parse(text)
        assert (message.text("ORC-1"), message.text("ORC-5")) == ("SC", "IP")
        assert message.text("OBR-18") == "ACC7"
    # Their answers were understood.
    wait_until(lambda: [row["state"] for row in outbox(server)] == ["done", "done"])


def begin(server: Serving, number: int) -> None:
    """Let a scanner begin an order of `department`."""
    begun = department._encoded(department._create(number))
    field, uid = CommandField.N_CREATE, f"1.2.826.0.1.3680043.8.498.9.{number}"
    with DicomClient(("127.0.0.1", server.ports["dicom"]), 10) as scanner:
        scanner.associate([department.MPPS], calling="CT1")
        scanner.send(department._request(field, department.MPPS, uid, begun))
        assert status(scanner.read_message()[0]) == 0x0000


def outbox(server: Serving) -> list[dict[str, str]]:
    return [json.loads(line) for line in server.run("outbox", "list", "--json").stdout.splitlines()]
