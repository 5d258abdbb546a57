"""A fleet of devices in one file: read, written, brought into the database."""

import re
import tomllib
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlmodel import select

from mwl import devices
from mwl.audit import Actor
from mwl.config import DeviceTable, Settings, fleet
from mwl.db import Database
from mwl.db.tables import AuditEvent
from mwl.devices import Becomes, Visit
from mwl.errors import Reason, Rejected

NOW = datetime(2030, 1, 2, 12, tzinfo=UTC)
README = (Path(__file__).parent.parent / "README.md").read_text("utf-8")
WHO = Actor("admin", "cli")
FILE = """
[[device]]
ae_title = "CT1"
aliases = ["CT1_OLD", "CT 1"]
modality = "CT"
may = []
mpps = false
zone = "Europe/Lisbon"
close_images = "elsewhere"
[device.worklist]
own_station = true
modalities = ["CT", "PT"]
hours_back = 12.5
hide = ["DEPARTED"]
max_answers = 200
beyond = "cut"
synonyms = { CR = ["CR", "DX"], "A B" = ["OT"] }
defaults = { PatientSex = "O" }
[device.characters]
sets = ['\\ISO 2022 IR 87', "ISO_IR 100"]
beyond = "utf-8"

[[device]]
ae_title = "MR1"
host = "10.0.0.3"
port = 104
"""
LINES = FILE.splitlines()


def bring(
    database: Database, text: str, *, prune: bool = False
) -> list[tuple[str, str, list[str]]]:
    tables = fleet.read(text.encode(), "fleet.toml")
    found = database.write(lambda s: devices.bring(s, WHO, tables, now=NOW, prune=prune))
    return [(each.ae_title, each.becomes.value, list(each.detail)) for each in found]


def kept(database: Database) -> list[DeviceTable]:
    with database.read() as session:
        return [devices.table_of(each) for each in devices.listing(session)]


def trail(database: Database) -> list[tuple[str, str, dict[str, Any]]]:
    with database.read() as session:
        events = sorted(session.exec(select(AuditEvent)), key=lambda each: each.id or 0)
        return [(each.action, each.subject, each.detail) for each in events]


def test_a_file_is_read_as_the_settings_read_it() -> None:
    read = fleet.read(FILE.encode(), "fleet.toml")
    assert read == Settings.model_validate(tomllib.loads(FILE)).device
    assert [each.titles for each in read] == [("CT1", "CT1_OLD", "CT 1"), ("MR1",)]
    assert fleet.read(b"", "-") == ()


def test_the_fleet_of_the_readme_can_be_brought_in() -> None:
    (text,) = re.findall(r"```toml\n(\[\[device\]\].*?)```", README, re.DOTALL)
    (device,) = fleet.read(text.encode(), "README.md")
    assert device.titles == ("CR1", "CR1_OLD")
    assert device.worklist.synonyms == {"CR": ("CR", "DX")}


def test_what_is_written_says_no_more_than_what_is_set() -> None:
    (line,) = fleet.written([DeviceTable(ae_title="CT1", mpps=True)]).splitlines()[1:]
    assert line == 'ae_title = "CT1"'
    written = fleet.written(fleet.read(FILE.encode(), "fleet.toml"))
    assert written.count("[[device]]") == 2
    assert 'synonyms = { CR = ["CR", "DX"], "A B" = ["OT"] }' in written.splitlines()


_texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=16)
_titles = st.text("ABCDEF0123456789_- ", min_size=1, max_size=16).filter(lambda t: t.strip())
_codes = st.text("ABCDEFR 123_", min_size=1, max_size=16)
_keywords = st.from_regex(r"[A-Z][0-9A-Za-z]{0,20}", fullmatch=True)
_worklist = st.fixed_dictionaries(
    {},
    optional={
        "own_station": st.booleans(),
        "modalities": st.lists(_codes, max_size=3),
        "hours_ahead": st.floats(0, 87_600),
        "max_answers": st.integers(1, 100_000),
        "synonyms": st.dictionaries(_codes, st.lists(_codes, max_size=2), max_size=2),
        "defaults": st.dictionaries(_keywords, _texts, max_size=3),
    },
)
_device = st.fixed_dictionaries(
    {"ae_title": _titles},
    optional={
        "host": st.just("10.0.0.1"),
        "port": st.integers(1, 65535),
        "station_name": _texts,
        "location": _texts,
        "may": st.lists(st.sampled_from(["worklist", "query"]), max_size=2),
        "zone": st.just("Asia/Tokyo"),
        "worklist": _worklist,
        "characters": st.fixed_dictionaries(
            {}, optional={"assumed": st.sampled_from(["", "GBK", "windows-1251"])}
        ),
    },
)


@settings(max_examples=150, deadline=None)
@given(_device)
def test_what_is_written_is_read_again_as_it_was(stated: dict[str, Any]) -> None:
    device = DeviceTable(**stated)
    assert fleet.read(fleet.written([device]).encode(), "-") == (device,)


@pytest.mark.parametrize(
    ("line", "instead", "told"),
    [
        (5, "modalty = 'CT'", "5: device[1].modalty: no such setting; did you mean modality?"),
        (5, "modality = 'ct'", "5: device[1].modality: must be a code of"),
        (8, "zone = 'Lisbon'", "8: device[1].zone: no such time zone"),
        (12, "modalities = ['CT', 3]", "12: device[1].worklist.modalities[2]: should be a valid"),
        (16, "beyond = 'all'", "16: device[1].worklist.beyond: should be 'refuse' or 'cut'"),
        (24, "ae_title = 'ct 1'", "24: device[2].ae_title: 'ct 1' is a title of device[1] already"),
        (26, "port = ", " not TOML: Invalid value"),
        (26, "port = 'é'", "26: device[2].port: should be a valid integer"),
    ],
)
def test_a_fault_names_file_line_and_key(line: int, instead: str, told: str) -> None:
    text = "\n".join([*LINES[: line - 1], instead, *LINES[line:]])
    with pytest.raises(Rejected) as caught:
        fleet.read(text.encode(), "fleet.toml")
    assert str(caught.value).startswith(f"fleet.toml:{told}")


def test_all_faults_are_told_but_not_without_end() -> None:
    text = "".join(f"[[device]]\nae_title = 'A{n}'\nport = 0\n" for n in range(30))
    with pytest.raises(Rejected) as caught:
        fleet.read(text.encode(), "fleet.toml")
    told = [str(each) for each in caught.value.faults]
    assert told[19].startswith("fleet.toml:60: device[20].port: ")
    assert told[20:] == ["and 10 faults more"]


@pytest.mark.parametrize(
    ("content", "told"),
    [(b"#\n\xff", "-:2: not UTF-8"), (b"#" * 32_000_001, "-: longer than 32000000 bytes")],
)
def test_what_is_no_such_file_is_refused(content: bytes, told: str) -> None:
    with pytest.raises(Rejected, match=told):
        fleet.read(content, "-")


def test_a_fleet_is_brought_in_and_changed_and_pruned(database: Database) -> None:
    visit = Visit("ct1_old", "MWL", "10.0.0.9", admitted=False)
    database.write(lambda s: devices.knocked(s, {visit: 1}, now=NOW))
    assert [each[:2] for each in bring(database, FILE)] == [("CT1", "added"), ("MR1", "added")]
    assert kept(database) == list(fleet.read(FILE.encode(), "-"))
    with database.read() as session:
        assert devices.knocks(session) == []  # it is no stranger any more
    assert [each[1] for each in bring(database, FILE)] == ["as it was", "as it was"]

    changed = FILE.replace('"CT", "PT"', '"CT"').replace("port = 104", "port = 105")
    assert bring(database, changed) == [
        ("CT1", "changed", ["worklist.modalities"]),
        ("MR1", "changed", ["port"]),
    ]
    assert trail(database)[2:] == [
        ("change", "device:CT1", {"worklist.modalities": ["CT"]}),
        ("change", "device:MR1", {"port": 105}),
    ]
    # What a table doesn't say is as ever, as in the settings.
    short = '[[device]]\nae_title = "mr1"\n'
    mr1, ct1 = bring(database, short, prune=True)
    assert mr1 == ("mr1", "changed", ["ae_title", "host", "port"])
    assert ct1[:2] == ("CT1", "removed")
    assert {"worklist.modalities", "aliases", "characters.sets"} <= set(ct1[2])
    assert [each.ae_title for each in kept(database)] == ["mr1"]
    assert [each[:2] for each in trail(database)[4:]] == [
        ("change", "device:mr1"),
        ("remove", "device:CT1"),
    ]


def test_devices_of_the_settings_are_left_to_them(sqlite_database: Database) -> None:
    settled = [DeviceTable(ae_title="CT1", modality="CT")]
    sqlite_database.write(lambda s: devices.sync(s, settled, now=NOW))
    assert [each[:2] for each in bring(sqlite_database, FILE, prune=True)] == [
        ("CT1", "left to the settings"),
        ("MR1", "added"),
    ]
    assert [each.modality for each in kept(sqlite_database)] == ["CT", ""]
    assert [each[:2] for each in bring(sqlite_database, "", prune=True)] == [("MR1", "removed")]
    assert kept(sqlite_database) == settled


def test_a_title_of_another_device_is_refused_and_nothing_is_done(
    sqlite_database: Database,
) -> None:
    bring(sqlite_database, FILE)
    text = (
        "[[device]]\nae_title = 'US1'\n[[device]]\nae_title = 'CT2'\naliases = ['ct1_old', 'MR1']\n"
    )
    with pytest.raises(Rejected) as caught:
        bring(sqlite_database, text)
    assert [(each.reason, str(each)) for each in caught.value.faults] == [
        (Reason.DUPLICATE_KEY, "CT2: ct1_old is a title of CT1 already"),
        (Reason.DUPLICATE_KEY, "CT2: MR1 is a title of MR1 already"),
    ]
    assert len(kept(sqlite_database)) == 2
    # But a title that its device gives away at once is free.
    moved = FILE.replace('"CT1_OLD", ', "") + text.replace(", 'MR1'", "")
    assert [each[1] for each in bring(sqlite_database, moved)] == [
        *("changed", "as it was", "added", "added"),
    ]


def test_what_would_be_done_is_told_beforehand(sqlite_database: Database) -> None:
    bring(sqlite_database, FILE)
    tables = fleet.read(b"[[device]]\nae_title = 'US1'\n", "-")
    with sqlite_database.read() as session:
        found = devices.differences(session, tables, prune=True)
    assert [(each.becomes, each.ae_title) for each in found] == [
        (Becomes.ADDED, "US1"),
        (Becomes.REMOVED, "CT1"),
        (Becomes.REMOVED, "MR1"),
    ]
    assert len(kept(sqlite_database)) == 2
