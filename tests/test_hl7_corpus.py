"""Every message of the corpus gets its answer, and stands on the worklist as it must.

They go through the framer, the intake and the database; the worklist is read as a scanner
reads it, from the bytes of the answers. `tests.corpus` says what the files are.
"""

import json
from collections.abc import Iterator
from functools import lru_cache
from io import BytesIO
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset
from sqlalchemy import select
from sqlmodel import SQLModel

from hl7 import batches, mllp, profile, profile_files
from hl7.er7 import Message
from hl7.inbound import Inbound
from hl7.profiles import Profiles
from mwl import dataset
from mwl.db import Database
from mwl.db.tables import Patient
from mwl.scp.answers import Asker, Plan
from mwl.scp.attributes import STEP, TOP, keyword_of
from mwl.worklist.find import Query, pages
from tests import corpus, iod
from tests.conftest import BACKENDS
from tests.hl7_mapping import DEFAULT, document
from tests.identifiers import asking, encoded
from tests.test_hl7_inbound import NOW, PEER, rows
from tests.worklist_model import WORKLIST

# A UID with leading zeros is as its sender made it.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:pydicom")

NAMES = list(corpus.names())
CHUNKS = (1, 7)  # bytes
# What a sender means by it, its scanners have to know.
AS_SENT = {"StudyInstanceUID: no UI: '1.2.010.3'"}
LONG = 5_000  # bytes of a stream whose length is its quirk
NOT_KEPT = {"state": "", "flags": []}
KEYS = encoded(asking(*map(keyword_of, TOP), step=tuple(map(keyword_of, STEP))), explicit=True)


@pytest.fixture(scope="module", params=BACKENDS)
def shared(request, tmp_path_factory) -> Iterator[Database]:
    """Give one database to all cases; each leaves it empty."""
    folder = tmp_path_factory.mktemp("corpus")
    if request.param == "sqlite":
        template = request.getfixturevalue("sqlite_template")
        (folder / "mwl.db").write_bytes(template.read_bytes())
        url = f"sqlite:///{folder / 'mwl.db'}"
    else:
        url = request.getfixturevalue("postgresql_databases").lend()
    opened = Database(url, data_dir=folder)
    yield opened
    opened.close()
    if request.param == "postgresql":
        request.getfixturevalue("postgresql_databases").take_back(url)


@pytest.fixture
def department(shared: Database) -> Iterator[Database]:
    """Give it empty."""
    yield shared
    empty(shared)


def empty(database: Database) -> None:
    """Delete what messages have left; what the migration itself has written stays."""
    tables = [table for table in reversed(SQLModel.metadata.sorted_tables) if _of_messages(table)]

    def work(session: Any) -> None:
        for table in tables:
            session.connection().execute(table.delete())

    database.write(work)


def _of_messages(table: Any) -> bool:
    return table.name in _TABLES or any(
        key.column.table.name in _TABLES for key in table.foreign_keys
    )


_TABLES = {
    *("message", "patient", "imaging_order", "requested_procedure", "scheduled_step", "report"),
    "audit_event",
}


@lru_cache
def _profiles(shipped: str, overrides: str, zone: str) -> Profiles:
    """Compile a profile: one that we ship, or the default one but for some keys."""
    if shipped:
        return Profiles.single(profile_files.load(shipped, [DEFAULT.parent]), ZoneInfo(zone))
    changed = json.loads(overrides)
    given = {**document(**{k: v for k, v in changed.items() if k != "rule"})}
    given |= {"rule": changed["rule"]} if "rule" in changed else {}
    return Profiles.single(profile.parse(given, lambda _: "corpus"), ZoneInfo(zone))


def way_in(database: Database, case: corpus.Case) -> Inbound:
    overrides = json.dumps(case.expected.get("profile", {}), sort_keys=True)
    shipped = case.expected.get("shipped", "")
    zone = case.expected.get("zone", "Europe/Berlin")
    return Inbound(database, _profiles(shipped, overrides, zone), clock=lambda: NOW)


@pytest.mark.parametrize("name", NAMES)
def test_a_quirk_ends_as_it_must(department, name):
    case = corpus.load(name)
    taken = way_in(department, case)
    for earlier in case.before:
        for message in earlier.messages():
            answer = taken.receive(message, PEER)
            assert answer is not None
            assert Message.parse(answer.decode("latin-1")).text("MSA-1") == "AA"
    answers = []
    for message in case.messages():
        known = len(rows(department, "message"))
        told = _told(taken.receive(message, PEER))
        journal = rows(department, "message")[known:] or [NOT_KEPT] * len(told)
        journal += journal[-1:] * (len(told) - len(journal))  # both answers of enhanced mode
        answers += [answered(*each) for each in zip(told, journal, strict=False)]
    expected = [{"errors": [], "flags": [], **each} for each in case.expected.get("answer", [])]
    assert_like(answers, expected)
    assert_like(worklist(department), case.expected.get("item", []))
    assert_like(patients(department), case.expected.get("patient"))
    assert_like(reports(department), case.expected.get("report"))


def test_chunks_of_the_stream_mean_nothing():
    for case in map(corpus.load, NAMES):
        if len(case.stream) < LONG:
            whole = case.messages(len(case.stream))
            assert [case.messages(chunk) for chunk in CHUNKS] == [whole, whole], case.name


def test_the_corpus_is_large_and_each_case_says_what_is_expected():
    assert len(NAMES) >= 150
    messages = {
        p.with_suffix("") for p in corpus.FOLDER.rglob("*") if p.suffix in (".hl7", ".mllp")
    }
    assert {str(path.relative_to(corpus.FOLDER)) for path in messages} == set(NAMES)


def _told(answer: bytes | None) -> list[bytes]:
    """Take the answers to a message apart: those of a batch, or those of enhanced mode."""
    found = []
    for framed in mllp.Framer(1_000_000).feed(mllp.frame(answer)) if answer else ():
        batch = batches.split(framed)
        found += [each for b in batch.batches for each in b.messages] if batch else [framed]
    return found


def answered(raw: bytes, row: dict[str, Any]) -> dict[str, Any]:
    """Tell what the sender is answered and what the journal says of a message."""
    message = Message.parse(raw.decode("latin-1"))
    flags = row["flags"]
    return {
        "code": message.text("MSA-1"),
        "errors": _errors(message),
        "state": row["state"],
        "flags": json.loads(flags) if isinstance(flags, str) else flags,
    }


def _errors(message: Message) -> list[str]:
    """Write each fault as place and condition, of ERR-1 (before v2.5) or of ERR-2 and ERR-3."""
    found = []
    for err in message.all("ERR"):
        if err.get(3):
            field = err.get(2, 1, 3)
            where = f"{err.get(2, 1, 1) or ''}{f'-{field}' if field else ''}"
            found.append(f"{where} {err.get(3)}".strip())
        for repetition in range(1, err.count(1) + 1):
            segment, field = err.get(1, repetition, 1) or "", err.get(1, repetition, 3)
            code = err.get(1, repetition, 4)
            found.append(f"{segment}{f'-{field}' if field else ''} {code}".strip())
    return found


def worklist(database: Database) -> list[dict[str, Any]]:
    """Read the worklist as a scanner: what its attributes hold, by keyword."""
    keys = dataset.read(KEYS, explicit=True, vr_of=lambda _tag: "UN")
    plan = Plan(keys, Asker("CT1", True, (), ZoneInfo("Europe/Berlin")))
    found = []
    for page in pages(database, Query(plan.columns), now=NOW):
        for row in page:
            answer = read_dataset(BytesIO(plan.encode(row)), False, True)
            answer.decode()
            assert not set(iod.faults(answer, WORKLIST)) - AS_SENT
            (step,) = answer.ScheduledProcedureStepSequence
            found.append(_flat(answer) | _flat(step))
    return found


def _flat(item: Dataset) -> dict[str, Any]:
    return {element.keyword: _value(element) for element in item}


def _value(element: Any) -> Any:
    """Write a value as a case does: texts, lists of several, items with ^ between parts."""
    if element.VR == "SQ":
        return ["^".join(_text(_value(part)) for part in item) for item in element.value]
    if element.VM > 1:
        return [str(value) for value in element.value]
    return "" if element.value is None else str(element.value)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else "&".join(value)


def patients(database: Database) -> list[dict[str, Any]]:
    """Read all patients, who was merged by the identifier of whom."""
    with database.read() as session:
        table = Patient.__table__
        found = [
            dict(row._mapping)
            for row in session.connection().execute(select(table).order_by(table.c.patient_id))
        ]
    ids = {row["id"]: row["patient_id"] for row in found}
    return [{**row, "merged_into": ids.get(row["merged_into"], "")} for row in found]


def reports(database: Database) -> list[dict[str, Any]]:
    """Read all reports, and the number of the order that each is linked with."""
    orders = {row["id"]: row["order_number"] for row in rows(database, "imaging_order")}
    return [
        {
            **row,
            "order": orders.get(row["imaging_order"], ""),
            "superseded": row["superseded_by"] is not None,
        }
        for row in rows(database, "report")
    ]


def assert_like(found: list[dict[str, Any]], expected: list[dict[str, Any]] | None) -> None:
    """See that what is expected is there, and as many; more may be said of each."""
    if expected is None:
        return
    assert len(found) == len(expected), found
    seen = [
        {key: want if _is_like(row.get(key), want) else row.get(key) for key, want in each.items()}
        for row, each in zip(found, expected, strict=True)
    ]
    assert seen == expected


def _is_like(value: Any, wanted: Any) -> bool:
    if isinstance(wanted, list) and isinstance(value, list):
        return len(value) == len(wanted) and all(map(_is_like, value, wanted))
    if isinstance(value, str) and isinstance(wanted, str) and wanted.endswith("*"):
        return value.startswith(wanted[:-1])
    return bool(value == wanted)
