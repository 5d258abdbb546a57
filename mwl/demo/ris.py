"""A RIS: orders and patients as HL7 v2 over one MLLP connection.

MSH-11 is P, since what is marked as test data is refused (MSH-11 T: AR 202). What tells that
it is a demo are the sender, DEMO-RIS^DEMO, and the namespace of every identifier, DEMO.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import count
from typing import Self

from hl7.client import Ack, Connection
from mwl import charsets
from mwl.demo.people import Person

NAMESPACE = "DEMO"
SENDER = "DEMO-RIS"
_ANSWER_S = 30.0


@dataclass(frozen=True, slots=True)
class Patient:
    """A person with an identifier of the demo's namespace."""

    patient_id: str
    person: Person

    @property
    def identifier(self) -> str:
        return f"{self.patient_id}^^^{NAMESPACE}^MR"

    @property
    def segment(self) -> str:
        person = self.person
        return f"PID|||{self.identifier}||{person.name}||{person.birth_date}|{person.sex}"


@dataclass(frozen=True, slots=True)
class Order:
    """One examination of one patient; `number` is the accession number and makes the others."""

    patient: Patient
    number: str
    modality: str
    code: str
    text: str
    start: datetime  # the site's clock
    priority: str = "R"

    @property
    def placer(self) -> str:
        return f"P-{self.number}^{NAMESPACE}"

    @property
    def filler(self) -> str:
        return f"F-{self.number}^{NAMESPACE}"

    def at(self, start: datetime) -> Self:
        return replace(self, start=start)

    def of(self, patient: Patient) -> Self:
        return replace(self, patient=patient)

    def segments(self, control: str, status: str = "") -> list[str]:
        """Write the segments of ORM^O01 or OMG^O19; `control` is ORC-1, `status` ORC-5."""
        obr = {
            1: "1",
            2: self.placer,
            3: self.filler,
            4: f"{self.code}^{self.text}^99DEMO",
            16: "^Roe^Rita",
            18: self.number,
            19: f"R-{self.number}",
            20: f"S-{self.number}",
            24: self.modality,
        }
        return [
            self.patient.segment,
            "PV1||O|||||^Roe^Rita",
            _segment("ORC", {1: control, 2: self.placer, 3: self.filler, 5: status}),
            _segment("TQ1", {7: f"{self.start:%Y%m%d%H%M%S}", 9: self.priority}),
            _segment("OBR", obr),
        ]

    def imaging_segments(self, control: str) -> list[str]:
        """Write the segments of OMI^O23, whose IPC says what OBR-18 to 24 say above."""
        ipc = {
            1: self.number,
            2: f"R-{self.number}",
            4: f"S-{self.number}",
            5: self.modality,
            6: f"{self.code}^{self.text}^99DEMO",
        }
        *before, obr = self.segments(control)
        return [*before, "|".join(obr.split("|")[:5]), _segment("IPC", ipc)]


@dataclass(slots=True)
class Ris:
    """The connection to the server; `run` makes control IDs that no other run uses."""

    host: str
    port: int
    run: str
    sent: int = 0
    _numbers: Iterator[int] = field(default_factory=lambda: count(1))
    _connection: Connection = field(init=False)

    def __post_init__(self) -> None:
        self._connection = Connection(self.host, self.port, _ANSWER_S)

    def tell(
        self,
        kind: str,
        segments: list[str],
        now: datetime,
        charset: str = "UNICODE UTF-8",
        **header: str,
    ) -> Ack:
        """Send a message of type `kind` (MSH-9); `header` overrides fields of MSH, as msh_11."""
        control_id = f"{self.run}-{next(self._numbers)}"
        numbered = {int(name.removeprefix("msh_")): text for name, text in header.items()}
        msh = _header({9: kind, 7: f"{now:%Y%m%d%H%M%S}", 10: control_id, 18: charset, **numbered})
        text = "".join(f"{segment}\r" for segment in [msh, *segments])
        encoded = charsets.encode_hl7(text, charset)
        assert encoded is not None, f"{charset} can't say the names given to it"
        return self.send(encoded)

    def send(self, message: bytes) -> Ack:
        """Send bytes as they are. Raises Outage, ProtocolError."""
        self.sent += 1
        return self._connection.exchange(message)

    def close(self) -> None:
        self._connection.close()


def _header(fields: Mapping[int, str]) -> str:
    standing = {2: "^~\\&", 3: SENDER, 4: NAMESPACE, 5: "MWL", 11: "P", 12: "2.5.1"}
    return _segment("MSH", {**standing, **fields}, first=2)


def _segment(name: str, fields: Mapping[int, str], first: int = 1) -> str:
    last = max(number for number, text in fields.items() if text)
    return "|".join([name, *(fields.get(number, "") for number in range(first, last + 1))])
