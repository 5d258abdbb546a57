"""An order comes in over MLLP and a scanner sees its patient: real processes, real peers."""

import json
import os
import re
import signal
import socket
import subprocess
import threading
import time
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest

from hl7 import client, mllp
from tests.builders import adt_a08, adt_a40, omg, omi, orm
from tests.peers import dcmtk, require
from tests.serving import PATIENCE_S, Serving, served

SAMPLES = Path(__file__).parent / "data" / "hl7"


@pytest.fixture
def server(database_url, tmp_path):
    with served(tmp_path, MWL_DATABASE__URL=database_url, MWL_SITE__ZONE="Europe/Berlin") as it:
        yield it


@pytest.fixture
def sqlite_server(tmp_path):
    with served(tmp_path, MWL_SITE__ZONE="Europe/Berlin") as it:
        yield it


@pytest.fixture(scope="module")
def standing_server(tmp_path_factory):
    """A server that tests share which leave nothing behind that another would mind."""
    with served(tmp_path_factory.mktemp("standing"), MWL_SITE__ZONE="Europe/Berlin") as it:
        yield it


def send(server, *texts):
    """Send messages over one connection; the answers."""
    messages = [text.encode() for text in texts]
    return list(client.send("127.0.0.1", server.ports["hl7"], messages, PATIENCE_S))


def findscu(server, *keys, calling="CT1"):
    """Ask as a scanner would, with DCMTK; what was answered, an attribute → value each."""
    arguments = [part for key in keys for part in ("-k", key)]
    done = subprocess.run(
        [
            dcmtk("findscu"),
            "-W",
            "-aet",
            calling,
            "-aec",
            "MWL",
            "127.0.0.1",
            str(server.ports["dicom"]),
            *arguments,
        ],
        capture_output=True,
        check=True,
        timeout=PATIENCE_S,
    )
    said = (done.stdout + done.stderr).decode("latin-1")
    answers = re.split(r"Find Response: \d+", said)[1:]
    row = re.compile(
        r"^\S+ *\(....,....\) .. (?:\[(.*?)\]|\(no value.*?\)) .* (\w+)$", re.MULTILINE
    )
    return [{name: value.strip(" \0") for value, name in row.findall(answer)} for answer in answers]


KEYS = (
    "PatientName",
    "PatientID",
    "StudyInstanceUID",
    "RequestedProcedureID",
    "ScheduledProcedureStepSequence[0].Modality",
    "ScheduledProcedureStepSequence[0].ScheduledStationAETitle",
    "ScheduledProcedureStepSequence[0].ScheduledProcedureStepStartDate",
    "ScheduledProcedureStepSequence[0].ScheduledProcedureStepStartTime",
    "ScheduledProcedureStepSequence[0].ScheduledProcedureStepID",
)


def entries(server, *arguments):
    said = server.run("worklist", "list", "--json", *arguments).stdout
    return [json.loads(line) for line in said.splitlines()]


@pytest.mark.parametrize("build", [orm, omg, omi])
def test_an_order_reaches_the_scanner_moves_and_leaves(server, build):
    (ack,) = send(server, build())
    assert (ack.code, ack.text) == ("AA", "")
    (seen,) = findscu(server, "AccessionNumber=ACC1", *KEYS)
    assert seen["PatientName"] == "Doe^Jane^Q"
    assert seen["PatientID"] == "PID1"
    assert seen["StudyInstanceUID"] == "1.2.826.0.1.3680043.8.498.1"
    assert seen["ScheduledProcedureStepStartDate"] == "20300102"
    assert seen["ScheduledProcedureStepStartTime"] == "093000"
    assert seen["ScheduledStationAETitle"] == "CT1"  # unassigned: whoever asks

    later = {"ORC_7": "^^^20300102140000"} if build is orm else {"TQ1_7": "20300102140000"}
    assert send(server, build(ORC_1="XO", PID_5="Doe-Roe^Jane", **later))[0].code == "AA"
    (moved,) = findscu(server, "AccessionNumber=ACC1", *KEYS)
    assert moved["PatientName"] == "Doe-Roe^Jane"
    assert moved["ScheduledProcedureStepStartTime"] == "140000"

    assert send(server, build(ORC_1="CA", ORC_5="CA"))[0].code == "AA"
    assert findscu(server, "AccessionNumber=ACC1", *KEYS) == []
    (kept,) = entries(server, "--accession", "ACC1")
    assert (kept["status"], kept["order_status"]) == ("CANCELED", "CANCELED")


def test_an_update_and_a_merge_reach_the_scanner(server):
    assert send(server, orm(), adt_a08(PID_5="Roe^Jane"))[1].code == "AA"
    assert findscu(server, "AccessionNumber=ACC1", *KEYS)[0]["PatientName"] == "Roe^Jane"
    merge = adt_a40(PID_3="PID2^^^ADT1^MR", PID_5="Roe^Janet", MRG_1="PID1^^^ADT1^MR")
    assert send(server, merge)[0].code == "AA"
    (seen,) = findscu(server, "AccessionNumber", *KEYS, "PatientID=PID2")
    assert (seen["PatientName"], seen["AccessionNumber"]) == ("Roe^Janet", "ACC1")
    assert findscu(server, *KEYS, "PatientID=PID1") == []


def test_a_scanner_of_another_modality_or_day_does_not_see_it(sqlite_server):
    send(sqlite_server, orm())
    modality = "ScheduledProcedureStepSequence[0].Modality"
    date = "ScheduledProcedureStepSequence[0].ScheduledProcedureStepStartDate"
    assert len(findscu(sqlite_server, f"{modality}=CT", f"{date}=20300102")) == 1
    assert findscu(sqlite_server, f"{modality}=MR", f"{date}=20300102") == []
    assert findscu(sqlite_server, f"{modality}=CT", f"{date}=20300103-") == []


def test_echoscu_is_answered(standing_server):
    address = ["127.0.0.1", str(standing_server.ports["dicom"])]
    subprocess.run([dcmtk("echoscu"), "-aec", "MWL", *address], check=True, timeout=PATIENCE_S)


def test_a_wrong_called_title_is_refused_and_another_device_is_listed(tmp_path):
    with served(tmp_path, MWL_DICOM__ADMIT="known") as server:
        address = ["127.0.0.1", str(server.ports["dicom"])]
        echo = [dcmtk("echoscu"), "-aet", "NOBODY", *address]
        done = subprocess.run(
            [*echo, "-aec", "WRONG"], capture_output=True, text=True, timeout=PATIENCE_S
        )
        assert done.returncode
        assert "Called AE Title Not Recognized" in done.stderr
        done = subprocess.run(
            [*echo, "-aec", "MWL"], capture_output=True, text=True, timeout=PATIENCE_S
        )
        assert "Calling AE Title Not Recognized" in done.stderr
        deadline = time.monotonic() + PATIENCE_S
        while "NOBODY" not in server.run("device", "list").stdout:
            assert time.monotonic() < deadline
        server.run("device", "add", "NOBODY", "--modality", "CT")
        while subprocess.run(
            [*echo, "-aec", "MWL"], capture_output=True, timeout=PATIENCE_S
        ).returncode:
            assert time.monotonic() < deadline


# dcm4che's samples: what each is answered. Their step IDs have 19 characters and their
# stations 20, where DICOM has room for 16: refused, never shortened.
ANSWERS = {
    "ADT_A31-UpdatePersonInfo-Veterinary.hl7": "AA",
    "ADT_A31-UpdatePersonInfo.hl7": "AA",
    "ADT_A40-PatientMerge.hl7": "AA",
    "ADT_A47-ChangePatientID.hl7": "AA",
    "OMG_O19-GeneralClinicalOrder-Eyecare.hl7": "AE",
    "OMI_O23-ImagingOrder.hl7": "AE",
    "ORM_O01-GeneralOrder.hl7": "AE",
    "ORU_R01-CDA.hl7": "AA",
    "ORU_R01-PDF.hl7": "AA",
    "ORU_R01-SR.hl7": "AA",
    "SIU_S12-NewAppointmentBooking.hl7": "AA",
}


def test_every_sample_has_its_answer_and_is_kept(sqlite_server):
    assert {path.name for path in SAMPLES.glob("*.hl7")} == set(ANSWERS)
    paths = [str(SAMPLES / name) for name in ANSWERS]
    done = sqlite_server.run("hl7", "send", *paths, code=1)
    said = {
        line.split()[2].rpartition("/")[2]: line.split()[0] for line in done.stdout.splitlines()
    }
    assert said == ANSWERS
    kept = sqlite_server.run("messages", "list", "--json").stdout.splitlines()
    assert len(kept) == len(ANSWERS)
    too_long = [line for line in kept if "an identifier of at most 16 is needed" in line]
    assert len(too_long) == 3


def test_the_samples_with_identifiers_that_fit_reach_the_scanner(sqlite_server):
    for name, accession in (("OMI_O23-ImagingOrder.hl7", "A1"), ("ORM_O01-GeneralOrder.hl7", "A2")):
        text = (SAMPLES / name).read_text()
        for long, short in {
            "ScheduledProcStepID": f"SPS-{accession}",
            "ScheduledStationAET": "CT",
            "ScheduledStationName": "CT one",
            "ScheduledProcStepLocation": "Room 1",
            "AccessionNumber": accession,
            "FillerOrderNumberImagingServiceRequest": f"F-{accession}",
        }.items():
            text = text.replace(long, short)
        assert send(sqlite_server, text)[0].code == "AA"
        (seen,) = findscu(sqlite_server, f"AccessionNumber={accession}", *KEYS)
        assert seen["ScheduledProcedureStepID"] == f"SPS-{accession}"
        assert seen["PatientName"] == "Smith^Lucy^Mark"
        assert seen["StudyInstanceUID"] == "1.2.392.200036.9125.0.198811291108.7"


# ---- nothing lost ---------------------------------------------------------------------------


class Ris:
    """Sends orders over several connections, and again what got no answer, as engines do."""

    def __init__(self, server, count):
        self.server = server
        self.todo = [(n, orm(MSH_10=f"K{n}", **_numbers(n)).encode()) for n in range(count)]
        self.lock = threading.Lock()
        self.accepted = Counter()
        self.halted = threading.Event()
        self.problems = []

    def run(self, connections=4):
        threads = [threading.Thread(target=self._feed) for _ in range(connections)]
        for thread in threads:
            thread.start()
        return threads

    def _feed(self):
        while True:
            with self.lock:
                if not self.todo:
                    return
                number, message = self.todo.pop()
            if not self._delivered(number, message):
                with self.lock:
                    self.todo.append((number, message))
                time.sleep(0.02)

    def _delivered(self, number, message):
        try:
            address = ("127.0.0.1", self.server.ports["hl7"])
            with closing(socket.create_connection(address, PATIENCE_S)) as sock:
                sock.sendall(mllp.frame(message))
                answer = b""
                while not answer.endswith(b"\x1c\r"):
                    data = sock.recv(65536)
                    if not data:
                        return False
                    answer += data
        except OSError:
            return False
        if b"\rMSA|AA|" not in answer:
            self.problems.append(answer)
        self.accepted[number] += 1
        return True


def _numbers(number):
    return {
        "PID_3": f"PID{number}^^^ADT1^MR",
        "ORC_2": f"PO{number}^RIS",
        "ORC_3": f"FO{number}^RIS",
        "OBR_2": f"PO{number}^RIS",
        "OBR_3": f"FO{number}^RIS",
        "OBR_18": f"ACC{number}",
        "OBR_19": f"RP{number}",
        "OBR_20": f"SPS{number}",
        "ZDS_1": f"1.2.826.0.1.3680043.8.498.{number + 1}",
    }


def test_kill_9_in_the_middle_of_200_orders_loses_and_doubles_nothing(server):
    ris = Ris(server, 200)
    threads = ris.run()
    for goal in (30, 80, 130):
        deadline = time.monotonic() + PATIENCE_S
        while sum(ris.accepted.values()) < goal:
            assert time.monotonic() < deadline
            time.sleep(0.002)
        server.kill()
        server.start()
    for thread in threads:
        thread.join(PATIENCE_S)
    assert not ris.problems
    assert set(ris.accepted) == set(range(200))
    listed = Counter(entry["accession_number"] for entry in entries(server))
    assert listed == Counter(f"ACC{number}" for number in range(200))
    journal = server.run("messages", "list", "--json", "--limit", "1000").stdout.splitlines()
    kept = Counter(json.loads(line)["control_id"] for line in journal)
    assert kept == Counter(f"K{number}" for number in range(200))


def _children(pid):
    return list(map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()))


def test_the_commit_is_synced_before_the_ack_leaves(tmp_path):
    trace = tmp_path / "trace"
    strace = [
        require("strace"),
        "-f",
        "-qq",
        "-yy",
        "-s",
        "400",
        "-e",
        "trace=fdatasync,fsync,recvfrom,recvmsg,sendto,sendmsg,write,pwrite64",
        "-o",
        str(trace),
    ]
    with Serving(tmp_path) as server:
        server.start(*strace)
        send(server, orm(MSH_10="TRACED"))
        (supervisor,) = _children(server.process.pid)
        os.kill(supervisor, signal.SIGTERM)  # strace ends with what it traces
        server.wait()
    calls = trace.read_text(errors="replace").splitlines()
    answered = next(n for n, call in enumerate(calls) if "MSA|AA|TRACED" in call)
    received = next(n for n, call in enumerate(calls) if "|TRACED|P|" in call)
    between = calls[received:answered]
    written = max(n for n, call in enumerate(between) if re.search(r"write.*-wal>", call))
    assert any(re.search(r"f(data)?sync\(.*-wal>", call) for call in between[written:]), (
        "the log was not synced between the order's last byte in it and the ACK"
    )


# ---- bad input --------------------------------------------------------------------------------


HOSTILE = [
    b"GET / HTTP/1.1\r\nHost: here\r\n\r\n",
    b"\x0bnot HL7 at all\x1c\r",
    b"\x0b" + b"\x00\xff" * 2000 + b"\x1c\r",
    b"\x0bMSH|^~\\&|half a mess",
    b"\x0b",
    bytes(range(256)) * 40,
]


@pytest.mark.parametrize("number", range(len(HOSTILE)))
def test_garbage_ends_nothing_but_its_own_connection(standing_server, number):
    server = standing_server
    for port in (server.ports["hl7"], server.ports["dicom"]):
        with closing(socket.create_connection(("127.0.0.1", port), PATIENCE_S)) as sock:
            sock.sendall(HOSTILE[number])
    assert send(server, orm(**_numbers(number)))[0].code == "AA"
    assert len(findscu(server, f"AccessionNumber=ACC{number}", *KEYS)) == 1
    assert "Doe" not in server.log
    assert "Traceback" not in server.log


def test_a_database_that_is_locked_gets_no_answer_and_then_the_order_arrives(tmp_path):
    import sqlite3

    with served(tmp_path, MWL_HL7__ACK_TIMEOUT_S="2") as server:
        with closing(sqlite3.connect(tmp_path / "data" / "mwl.db")) as other:
            other.execute("BEGIN IMMEDIATE")
            with closing(
                socket.create_connection(("127.0.0.1", server.ports["hl7"]), PATIENCE_S)
            ) as sock:
                sock.sendall(mllp.frame(orm().encode()))
                assert sock.recv(1000) == b""  # closed without an answer: the sender asks again
            other.rollback()
        assert send(server, orm())[0].code == "AA"
        assert len(entries(server)) == 1
