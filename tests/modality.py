"""dcmjs-dimse as a modality, in a process of its own: tests/dcmjs/modality.js."""

import json
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.peers import missing, require
from tests.serving import PATIENCE_S

_FOLDER = Path(__file__).with_name("dcmjs")

Step = dict[str, Any]


def perform(
    port: int,
    *steps: Step,
    calling: str = "CT1",
    listen: int = 0,
    wait: int = 0,
    pdu: int = 0,
    ca: Path | None = None,
) -> Sequence[dict[str, Any]]:
    """Perform `steps` against our DICOM port, an association each; what it told, in order.

    `listen` is a port of its own for storage commitment reports, `wait` how many to wait for,
    `pdu` how long a PDU it takes (0: its default), `ca` whom it trusts: then it speaks TLS.
    """
    node = require("node")
    if not (_FOLDER / "node_modules").is_dir():
        missing("dcmjs-dimse is not installed: npm ci --prefix tests/dcmjs")
    plan = {
        "host": "127.0.0.1",
        "port": port,
        "calling": calling,
        "called": "MWL",
        "listen": listen,
        "wait": wait,
        "pdu": pdu,
        "ca": "" if ca is None else str(ca),
        "steps": steps,
    }
    done = subprocess.run(
        [node, str(_FOLDER / "modality.js"), json.dumps(plan)],
        capture_output=True,
        text=True,
        timeout=2 * PATIENCE_S,
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


# Of an N-CREATE, all that it must tell (PS3.4 table F.7.2-1), but for what was scheduled.
BEGUN: Mapping[str, Any] = {
    "PatientName": "Doe^Number1",
    "PatientID": "P1",
    "PatientBirthDate": "19800229",
    "PatientSex": "F",
    "ReferencedPatientSequence": [],
    "PerformedProcedureStepID": "PPS1",
    "PerformedStationAETitle": "CT1",
    "PerformedStationName": "",
    "PerformedLocation": "",
    "PerformedProcedureStepStartDate": "20300102",
    "PerformedProcedureStepStartTime": "093000.25",
    "PerformedProcedureStepEndDate": "",
    "PerformedProcedureStepEndTime": "",
    "PerformedProcedureStepStatus": "IN PROGRESS",
    "PerformedProcedureStepDescription": "Head",
    "PerformedProcedureTypeDescription": "",
    "ProcedureCodeSequence": [],
    "Modality": "CT",
    "StudyID": "1",
    "PerformedProtocolCodeSequence": [],
    "PerformedSeriesSequence": [],
}


def begin(uid: str, study_uid: str, sps_id: str, accession: str = "ACC1") -> Step:
    """Plan the N-CREATE of a performed step that carries out one scheduled step."""
    return {
        "op": "create",
        "uid": uid,
        "dataset": {
            "ScheduledStepAttributesSequence": [
                {
                    "StudyInstanceUID": study_uid,
                    "AccessionNumber": accession,
                    "RequestedProcedureID": "RP1",
                    "RequestedProcedureDescription": "CT head",
                    "ScheduledProcedureStepID": sps_id,
                    "ScheduledProcedureStepDescription": "CT head",
                    "ScheduledProtocolCodeSequence": [],
                    "ReferencedStudySequence": [],
                }
            ],
            **BEGUN,
            "PatientName": "Doe^Jane^Q",
            "PatientID": "PID1",
            "PerformedProcedureStepStartTime": "093000",
            "PerformedProcedureStepDescription": "",
        },
    }


def complete(uid: str, series_uid: str, instances: Sequence[tuple[str, str]]) -> Step:
    """Plan the N-SET that ends a performed step and lists its (class, instance) UIDs."""
    return {
        "op": "set",
        "uid": uid,
        "dataset": {
            "PerformedProcedureStepStatus": "COMPLETED",
            "PerformedProcedureStepEndDate": "20300102",
            "PerformedProcedureStepEndTime": "094500",
            "PerformedSeriesSequence": [
                {
                    "PerformingPhysicianName": "",
                    "ProtocolName": "HEAD",
                    "OperatorsName": "",
                    "SeriesInstanceUID": series_uid,
                    "SeriesDescription": "",
                    "RetrieveAETitle": "",
                    "ReferencedImageSequence": _references(instances),
                    "ReferencedNonImageCompositeSOPInstanceSequence": [],
                }
            ],
        },
    }


def store(file: Path) -> Step:
    """Plan the C-STORE of a file."""
    return {"op": "store", "file": str(file)}


def retrieval(op: str, study: str, to: str = "") -> Step:
    """Plan a "find", "get" or "move" of a study."""
    return {"op": op, "study": study, "to": to}


def commit(transaction_uid: str, instances: Sequence[tuple[str, str]]) -> Step:
    """Plan the N-ACTION that asks for storage commitment."""
    dataset = {
        "TransactionUID": transaction_uid,
        "ReferencedSOPSequence": _references(instances),
    }
    return {"op": "commit", "dataset": dataset}


def _references(instances: Sequence[tuple[str, str]]) -> list[dict[str, str]]:
    return [
        {"ReferencedSOPClassUID": sop_class, "ReferencedSOPInstanceUID": instance}
        for sop_class, instance in instances
    ]
