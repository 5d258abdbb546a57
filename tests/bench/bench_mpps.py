"""MPPS a second over four associations: N-CREATE and N-SET of scans that have an order."""

import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from threading import Thread

from pydicom.dataset import Dataset
from sqlalchemy import text

from mwl.db import Database
from mwl.db.migrate import upgrade
from mwl.net.codec import COMMAND
from mwl.net.dimse import CommandField, Element, encode_command, fragments
from tests import postgres, serving
from tests.bench.measure import Result, quantile
from tests.dicom_client import DicomClient, status
from tests.identifiers import encoded
from tests.test_mwl_scp_mpps import MPPS, STUDY, begin, end
from tests.worklist_rows import insert_items, item

_ASSOCIATIONS = 4
_FIRST, _SCANS = 1_000, 3_000
_WARM_UP = 200
_UID = "1.2.826.0.1.3680043.8.498.900."


def run() -> Iterator[Result]:
    with tempfile.TemporaryDirectory() as name, _served(Path(name), "sqlite:///mwl.db") as port:
        yield _measure("SQLite", port)
    with tempfile.TemporaryDirectory() as name:
        postgresql = postgres.Server(durable=True)
        try:
            with _served(Path(name), postgresql.url) as port:
                yield _measure("PostgreSQL", port)
        finally:
            postgresql.remove()


@contextmanager
def _served(folder: Path, url: str) -> Iterator[int]:
    """Serve a worklist with an order for each scan; one destination hears of them."""
    data = folder / "data"
    data.mkdir(parents=True)
    config = folder / "mwl.toml"
    config.write_text('[[hl7.destination]]\nname = "ris"\nhost = "127.0.0.1"\nport = 9\n')
    upgrade(url, data)
    with closing(Database(url, data_dir=data)) as database:
        items = [item(number) for number in range(_FIRST, _FIRST + _SCANS + _WARM_UP)]
        database.write(lambda session: insert_items(session, items))
        # What PostgreSQL does within a minute of so many new rows.
        database.write(lambda session: session.connection().execute(text("ANALYZE")))
    given = {"MWL_DATABASE__URL": url, "MWL_CONFIG": str(config)}
    with serving.served(folder, **given) as server:
        yield server.ports["dicom"]


def _measure(database: str, port: int) -> Result:
    last = _FIRST + _SCANS
    _perform(port, _conversations(range(last, last + _WARM_UP)))
    conversations = _conversations(range(_FIRST, last))
    began = time.perf_counter()
    waits = _perform(port, conversations)
    taken = time.perf_counter() - began
    note = f"p99 {quantile(waits, 0.99) * 1e3:.1f} ms"
    name = f"N-CREATE and N-SET over {_ASSOCIATIONS} associations, {database}"
    return Result(name, len(waits) / taken, "/s", 500, note=note)


def _perform(port: int, conversations: Sequence[Sequence[bytes]]) -> list[float]:
    """Hold each conversation on an association of its own; give how long each answer took."""
    waits: list[list[float]] = [[] for _ in conversations]
    threads = [
        Thread(target=_converse, args=(port, requests, taken))
        for requests, taken in zip(conversations, waits, strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    gathered = [wait for taken in waits for wait in taken]
    assert len(gathered) == sum(map(len, conversations)), "some requests failed"
    return gathered


def _converse(port: int, requests: Sequence[bytes], taken: list[float]) -> None:
    with DicomClient(("127.0.0.1", port), 60) as client:
        client.associate((MPPS,), calling="CT1")
        for request in requests:
            began = time.perf_counter()
            client.send(request)
            answer, _ = client.read_message()
            assert status(answer) == 0, answer
            taken.append(time.perf_counter() - began)


def _conversations(numbers: range) -> list[list[bytes]]:
    """Encode each association's requests, an N-CREATE and an N-SET for each scan."""
    create, finish = encoded(_begin(), explicit=False), encoded(end(), explicit=False)
    made: list[list[bytes]] = [[] for _ in range(_ASSOCIATIONS)]
    for number in numbers:
        about = create.replace(str(_FIRST).encode(), str(number).encode())
        mine = made[number % _ASSOCIATIONS]
        mine.append(_message(CommandField.N_CREATE, number, about))
        mine.append(_message(CommandField.N_SET, number, finish))
    return made


def _begin() -> Dataset:
    """Make the N-CREATE of the first scan: its number, of four digits, tells all others."""
    created = begin(PatientID=f"P{_FIRST}")
    step = created.ScheduledStepAttributesSequence[0]
    step.StudyInstanceUID = f"{STUDY[:-1]}{_FIRST}"
    step.ScheduledProcedureStepID = f"SPS{_FIRST}"
    return created


def _message(field: CommandField, number: int, data_set: bytes) -> bytes:
    creates = field is CommandField.N_CREATE
    prefix = "AFFECTED" if creates else "REQUESTED"
    elements: dict[int, int | str | bytes] = {
        Element[f"{prefix}_SOP_CLASS_UID"]: MPPS,
        Element.COMMAND_FIELD: field,
        Element.MESSAGE_ID: number % 65_536,
        Element.DATA_SET_TYPE: 1,
        Element[f"{prefix}_SOP_INSTANCE_UID"]: f"{_UID}{number}",
    }
    pdus = [*fragments(1, COMMAND, encode_command(elements), 16384)]
    return b"".join([*pdus, *fragments(1, 0, data_set, 16384)])
