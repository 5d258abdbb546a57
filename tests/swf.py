"""The actors of IHE's Scheduled Workflow around a bridge that serves, for a journey of them.

    with Department(folder) as here:
        one = Case(1)
        here.order(one, at="08:00")          # RAD-4, as the scheduler of a RIS sends it
        here.worklist(one)                   # RAD-5, by DCMTK's findscu
        here.begin(one); here.end(one)       # RAD-6 and RAD-7, as a scanner sends them
        here.status(one), here.story(one)    # what the bridge holds of it

Examinations are on 2 January 2030; `at` is when the RIS says that it wrote a message, years
before and whenever it comes. What a case is called by has its number in it: patient PID1,
accession number ACC1.
"""

import subprocess
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack, closing
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from pydicom import dcmread
from pydicom.dataset import Dataset
from sqlalchemy import select

from hl7 import client
from mwl import jobs, outbox, story
from mwl.config import Close, load
from mwl.db import Database
from mwl.db.tables import ImagingOrder, RequestedProcedure, Study
from mwl.net.dimse import CommandField
from mwl.roles import following
from tests import department
from tests.builders import orm
from tests.department import MPPS, _encoded, _request
from tests.dicom_client import DicomClient, status
from tests.hl7_mapping import BERLIN
from tests.images import ct_slice, save
from tests.mllp_peer import Ris
from tests.orthanc import free_ports
from tests.peers import dcmtk
from tests.pps_manager import Scripted
from tests.serving import PATIENCE_S, Serving
from tests.test_journey_order import findscu

KEYS = (
    "PatientName",
    "PatientID",
    "AccessionNumber",
    "StudyInstanceUID",
    "RequestedProcedureID",
    "ScheduledProcedureStepSequence[0].ScheduledProcedureStepID",
    "ScheduledProcedureStepSequence[0].ScheduledProcedureStepStartTime",
    "ScheduledProcedureStepSequence[0].ScheduledStationAETitle",
)
_THAT_LINK_AND_CLOSE = 4  # of the sweeps, the first ones
_ROOT = "1.2.826.0.1.3680043.8.498"
_CONFIG = """
[[hl7.destination]]
name = "ris"
host = "127.0.0.1"
port = {ris}
events = ["IP", "CM", "DC", "CLOSED"]

[[mpps.forward]]
name = "dose"
ae_title = "DOSE"
host = "127.0.0.1"
port = {dose}

[[device]]
ae_title = "CT1"
host = "127.0.0.1"
port = {reports}
modality = "CT"
may = ["worklist", "mpps", "store", "commit", "query", "retrieve"]
"""


@dataclass
class Case:
    """Whose examination, and what it is called by; `images` are those that were made."""

    number: int
    patient: str = ""
    name: str = ""
    images: list[Dataset] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.patient = self.patient or f"PID{self.number}"
        self.name = self.name or f"Doe^Jane^{self.patient.removeprefix('PID')}"
        self.accession, self.step = f"ACC{self.number}", f"SPS{self.number}"
        self.study, self.mpps = f"{_ROOT}.{self.number}", f"{_ROOT}.7.{self.number}"

    @property
    def person(self) -> dict[str, str]:
        """What a message calls the patient."""
        return {"PID_3": f"{self.patient}^^^ADT1^MR", "PID_5": self.name}

    @property
    def fields(self) -> dict[str, str]:
        """What a message calls it, by place."""
        return {
            **self.person,
            **dict.fromkeys(("ORC_2", "OBR_2"), f"PO{self.number}^RIS"),
            **dict.fromkeys(("ORC_3", "OBR_3"), f"FO{self.number}^RIS"),
            "OBR_18": self.accession,
            "OBR_19": f"RP{self.number}",
            "OBR_20": self.step,
            "ZDS_1": f"{self.study}^^Application^DICOM",
        }

    def make(self, count: int, **changed: Any) -> list[Dataset]:
        """Make images, as the scanner that examines it does."""
        known = {
            "StudyInstanceUID": self.study,
            "SeriesInstanceUID": f"{self.study}.1",
            "PatientID": self.patient,
            "PatientName": self.name,
            "AccessionNumber": self.accession,
        }
        values = {**known, **changed}
        made = [ct_slice(number, syntax="1.2.840.10008.1.2", **values) for number in range(count)]
        self.images += made
        return made


class Department:
    """A bridge, its RIS, a scanner CT1 beside it, and another PPS manager, DOSE."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.expected: list[tuple[Case, tuple[str, ...]]] = []
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        enter = self._stack.enter_context
        self.ris, self.dose = enter(Ris()), enter(Scripted())
        (self.reports_port,) = free_ports(1)
        config = self.folder / "site.toml"
        ports = {"ris": self.ris.port, "dose": self.dose.port, "reports": self.reports_port}
        config.write_text(_CONFIG.format(**ports))
        environ = {
            "MWL_CONFIG": str(config),
            "MWL_SITE__ZONE": "Europe/Berlin",
            "MWL_HL7__PROFILE": "ihe-swf",
        }
        self.server = enter(Serving(self.folder, environ=environ))
        self.server.start()
        self._settings = load(config, {k: v for k, v in environ.items() if k != "MWL_CONFIG"})
        self._database = enter(closing(Database("sqlite:///mwl.db", data_dir=self.server.data_dir)))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    @property
    def port(self) -> int:
        """Where the bridge speaks DICOM."""
        return self.server.ports["dicom"]

    # --- the RIS: order placer, order filler and scheduler, patient registration

    def say(self, *texts: str) -> str:
        """Send messages over one connection; give what each was answered (MSA-1), joined."""
        messages = [text.encode() for text in texts]
        answers = client.send("127.0.0.1", self.server.ports["hl7"], messages, PATIENCE_S)
        return " ".join(answer.code for answer in answers)

    def order(self, case: Case, at: str, **changed: str) -> str:
        """Send ORM^O01 about a case (RAD-4; RAD-13 with another ORC-1)."""
        return self.say(order(case, at, **changed))

    def expects(self, case: Case, *events: str) -> None:
        """Note what the RIS is to be told of a case (ORC-5), to be looked at later."""
        self.expected.append((case, events))

    def told(self, *cases: Case) -> list[tuple[str, str]]:
        """List what the RIS was told (RAD-3): accession number and ORC-5, in order."""
        of = {case.accession for case in cases}
        told = [(each.text("OBR-18"), each.text("ORC-5")) for each in self.ris.parsed()]
        return [each for each in told if each[0] in of]

    # --- the scanner

    def worklist(self, case: Case | None = None) -> list[dict[str, str]]:
        """Ask for what is to be done today, by DCMTK; what was answered (RAD-5)."""
        number = "" if case is None else case.accession
        keys = [f"{key}={number}" if key == "AccessionNumber" else key for key in KEYS]
        day = "ScheduledProcedureStepSequence[0].ScheduledProcedureStepStartDate=20300102"
        answers: list[dict[str, str]] = findscu(self.server, *keys, day)  # type: ignore[no-untyped-call]
        return answers

    def begin(self, *cases: Case, uid: str = "", **changed: Any) -> int:
        """N-CREATE: the scanner begins what it took from the list (RAD-6); the status."""
        first = cases[0]
        data = department._create(first.number)
        data.PatientName, data.PatientID = first.name, first.patient
        data.ScheduledStepAttributesSequence = [
            department._create(each.number).ScheduledStepAttributesSequence[0] for each in cases
        ]
        for keyword, value in changed.items():
            setattr(data, keyword, value)
        return self._ask(CommandField.N_CREATE, MPPS, uid or first.mpps, data)

    def end(
        self,
        case: Case,
        *,
        uid: str = "",
        images: Sequence[Dataset] | None = None,
        state: str = "COMPLETED",
        reason: str = "",
    ) -> int:
        """N-SET: it ends, and lists the images made (RAD-7); the status."""
        made = case.images if images is None else images
        data = department._set(made[0] if made else ct_slice(1))
        series = data.PerformedSeriesSequence[0]
        series.ReferencedImageSequence = [_reference(image) for image in made]
        data.PerformedSeriesSequence = [series] if made else []
        data.PerformedProcedureStepStatus = state
        if reason:
            data.PerformedProcedureStepDiscontinuationReasonCodeSequence = [_code(reason)]
        return self._ask(CommandField.N_SET, MPPS, uid or case.mpps, data)

    def store(self, images: Iterable[Dataset]) -> list[int]:
        """C-STORE, each on an association of its own (RAD-8); the statuses."""
        return [
            self._ask(CommandField.C_STORE, str(each.SOPClassUID), str(each.SOPInstanceUID), each)
            for each in images
        ]

    def _ask(self, field: CommandField, sop_class: str, uid: str, data: Dataset) -> int:
        data = deepcopy(data)
        with DicomClient(("127.0.0.1", self.port), PATIENCE_S) as scanner:
            scanner.associate([sop_class], calling="CT1")
            scanner.send(_request(field, sop_class, uid, _encoded(data)))
            return status(scanner.read_message()[0])

    # --- others

    def storescu(self, images: Iterable[Dataset]) -> None:
        """Send images by DCMTK (RAD-8)."""
        files = [str(save(image, self.folder)) for image in images]
        command = [dcmtk("storescu"), "-aet", "CT1", "-aec", "MWL", "127.0.0.1", str(self.port)]
        subprocess.run([*command, *files], check=True, timeout=PATIENCE_S)

    def retrieve(self, case: Case) -> list[Dataset]:
        """Fetch a study, by DCMTK's getscu (RAD-16)."""
        folder = self.folder / f"got-{case.number}"
        folder.mkdir()
        keys = ["-k", "QueryRetrieveLevel=STUDY", "-k", f"StudyInstanceUID={case.study}"]
        tool = [dcmtk("getscu"), "-S", "-aet", "CT1", "-aec", "MWL", "-od", str(folder), *keys]
        subprocess.run([*tool, "127.0.0.1", str(self.port)], check=True, timeout=PATIENCE_S)
        return [dcmread(path) for path in folder.iterdir()]

    # --- what the bridge holds

    def status(self, case: Case) -> str:
        """Tell how the order of a case stands."""
        found = self._order(case)
        return "" if found is None else str(found.status)

    def story(self, case: Case) -> list[story.Entry]:
        """Tell an order's story, as its page does."""
        row = self._order(case)
        assert row is not None, case
        with self._database.read() as session:
            told = story.tell(session, row.id, Close(), now=datetime.now(UTC), zone=BERLIN)
        assert told is not None
        return told.entries

    def flags(self, case: Case) -> str:
        """Give what a person should see of an order, joined."""
        row = self._order(case)
        return "" if row is None else " | ".join(row.flags)

    def study(self, case: Case) -> Any:
        """Give the row of a case's study."""
        table = Study.__table__  # type: ignore[attr-defined]
        statement = select(table).where(table.c.study_instance_uid == case.study)
        with self._database.read() as session:
            return session.connection().execute(statement).first()

    def waiting(self, destination: str) -> list[dict[str, Any]]:
        """List what somebody is still to be told, the first one last."""
        with self._database.read() as session:
            return outbox.listing(session, state="waiting", destination=destination)

    def until(self, condition: Callable[[], object]) -> None:
        """Wait for something, and do meanwhile what the clock has done every few seconds."""
        effects = following.effects(self._settings)
        rules = following.close_rules(self._settings)
        sweeps = jobs.sweeps(self._database, rules, effects)[:_THAT_LINK_AND_CLOSE]
        deadline = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < deadline, "it never came to that"
            for sweep in sweeps:
                sweep.run(datetime.now(UTC))
            time.sleep(0.02)

    def _order(self, case: Case) -> Any:
        orders, procedures = ImagingOrder.__table__, RequestedProcedure.__table__  # type: ignore[attr-defined]
        statement = (
            select(orders)
            .join(procedures, procedures.c.imaging_order == orders.c.id)
            .where(procedures.c.accession_number == case.accession)
        )
        with self._database.read() as session:
            return session.connection().execute(statement).first()


def order(case: Case, at: str, **changed: str) -> str:
    """Write ORM^O01 about a case, as if it was written at that time (HH:MM)."""
    return orm(**{"MSH_7": written(at), "MSH_12": "2.3.1", **case.fields, **changed})


def written(at: str) -> str:
    """Give a time of the day, HH:MM, as MSH-7."""
    return f"20250102{at.replace(':', '')}00"


def _reference(image: Dataset) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID = image.SOPClassUID
    item.ReferencedSOPInstanceUID = image.SOPInstanceUID
    return item


def _code(value: str) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, "DCM", "as told"
    return item
