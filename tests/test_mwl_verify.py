"""The index is held against the bytes, both ways."""

import os
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path

import pytest
from sqlalchemy import delete, insert, update

from mwl import verify
from mwl.config import Archive
from mwl.db import Database
from mwl.db.tables import StoredObject
from mwl.errors import Outage
from mwl.objects import Missing, ObjectStore, open_store
from mwl.studies import ObjectState
from mwl.verify import Finding, Problem, Tally
from tests.s3 import on_each_pair
from tests.test_mwl_objects import put

HEADER = bytes(128) + b"DICM and file meta"
TABLE = StoredObject.__table__  # type: ignore[attr-defined]


@dataclass
class Kept:
    """An archive of a database and a store."""

    database: Database
    objects: ObjectStore

    def add(self, number: int, data_set: bytes | None = None) -> str:
        """Keep an image; return its key."""
        data_set = secrets.token_bytes(10_000) if data_set is None else data_set
        key = put(self.objects, HEADER + data_set)
        self.index([row(number, key, data_set)])
        return key

    def index(self, rows: list[dict[str, object]]) -> None:
        self.database.write(lambda s: s.connection().execute(insert(TABLE), rows))

    def set(self, key: str, **values: object) -> None:
        statement = update(TABLE).where(TABLE.c.key == key).values(**values)
        self.database.write(lambda s: s.connection().execute(statement))

    def look(self, *, deep: bool = False, later: timedelta = timedelta(0)) -> list[Finding]:
        now = datetime.now(UTC) + later
        self.tally = Tally()
        return list(
            verify.findings(self.database, self.objects, deep=deep, now=now, tally=self.tally)
        )


def row(number: int, key: str, data_set: bytes) -> dict[str, object]:
    return {
        "key": key,
        "state": ObjectState.SERVED,
        "size": len(HEADER) + len(data_set),
        "data_set_offset": len(HEADER),
        "sha256": sha256(data_set).digest(),
        "transfer_syntax": "1.2.840.10008.1.2.1",
        "source": "",
        "reason": "",
        "study_instance_uid": "",
        "series_instance_uid": "",
        "sop_instance_uid": f"2.25.{number}",
        "sop_class_uid": "",
        "patient_id": "",
        "received_at": datetime.now(UTC),
    }


def told(findings: list[Finding]) -> set[tuple[str, str, str]]:
    return {(each.problem, each.key, each.sop_instance_uid) for each in findings}


@pytest.fixture
def kept(database: Database, tmp_path: Path) -> Kept:
    return Kept(database, open_store(Archive(), tmp_path))


@pytest.fixture
def kept_anywhere(images_in: Archive, database: Database, tmp_path: Path) -> Kept:
    return Kept(database, open_store(images_in, tmp_path))


@pytest.mark.parametrize("deep", [False, True])
def test_an_empty_archive_is_well(kept: Kept, deep: bool) -> None:
    assert kept.look(deep=deep) == []


@pytest.mark.parametrize("deep", [False, True])
def test_an_archive_that_is_well_is_looked_at_whole(kept: Kept, deep: bool) -> None:
    for number in range(30):
        kept.add(number)
    assert kept.look(deep=deep) == []
    assert (kept.tally.rows, kept.tally.keys) == (30, 30)
    assert kept.tally.bytes_read == (300_000 if deep else 0)
    with kept.database.read() as session:
        assert verify.extent(session) == (30, 30 * (10_000 + len(HEADER)))


@on_each_pair
def test_each_way_to_differ_is_named_in_any_store(kept_anywhere: Kept) -> None:
    kept = kept_anywhere
    well, gone, cut, changed = (kept.add(number, bytes(1_000)) for number in range(4))
    kept.objects.delete(gone)
    kept.set(cut, size=1_000_000)
    kept.set(changed, sha256=sha256(b"something else").digest())
    nobody = put(kept.objects, b"nobody's")
    by_size = {(Problem.MISSING, gone, "2.25.1"), (Problem.SIZE, cut, "2.25.2")}
    fresh = {(Problem.ON_ITS_WAY, nobody, "")}
    assert told(kept.look()) == by_size | fresh
    by_content = {(Problem.CONTENT, changed, "2.25.3")}
    assert told(kept.look(deep=True)) == by_size | by_content | fresh
    old = {(Problem.UNREFERENCED, nobody, "")}
    assert told(kept.look(later=timedelta(hours=2))) == by_size | old
    assert well not in {each.key for each in kept.look(deep=True)}


def test_a_changed_bit_is_found_where_the_data_set_begins(kept: Kept, tmp_path: Path) -> None:
    keys = [kept.add(number) for number in range(3)]
    for key, at in zip(keys, (0, len(HEADER), len(HEADER) + 9_999), strict=True):
        with (tmp_path / "objects" / key).open("r+b") as file:
            file.seek(at)
            byte = file.read(1)[0]
            file.seek(at)
            file.write(bytes([byte ^ 1]))
    # The preamble is not of the data set that was received.
    assert told(kept.look(deep=True)) == {
        (Problem.CONTENT, keys[1], "2.25.1"),
        (Problem.CONTENT, keys[2], "2.25.2"),
    }


def test_a_row_of_any_state_needs_its_bytes(kept: Kept) -> None:
    for number, state in enumerate(ObjectState):
        key = kept.add(number)
        kept.set(key, state=state)
        kept.objects.delete(key)
    assert {each.problem for each in kept.look()} == {Problem.MISSING}
    assert len(kept.look()) == len(ObjectState)


def test_a_key_that_is_no_key_is_named_and_never_opened(kept: Kept, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"x")
    kept.index([row(1, "../secret", b"")])
    assert told(kept.look(deep=True)) == {(Problem.MISSING, "../secret", "2.25.1")}


def test_an_image_that_can_not_be_read_stops_no_other(kept: Kept, tmp_path: Path) -> None:
    bad = kept.add(1)
    well = kept.add(2)
    kept.objects.delete(bad)
    (tmp_path / "objects" / bad).mkdir()  # a directory has a size, and no bytes
    kept.set(bad, size=(tmp_path / "objects" / bad).stat().st_size)
    (found,) = kept.look(deep=True)
    assert (found.problem, found.key) == (Problem.UNREADABLE, bad)
    assert kept.tally.rows == 2
    assert well != bad


def test_a_store_that_gives_nothing_ends_it(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(60):
        kept.add(number)

    def out(*_: object) -> int:
        raise Outage("the disk is gone")

    monkeypatch.setattr(kept.objects, "size", out)
    found = []
    with pytest.raises(Outage, match="20 objects in a row can't be read: the disk is gone"):
        found.extend(kept.look())
    assert found == []


def test_many_pages_are_looked_at(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verify, "_PAGE", 7)
    keys = [kept.add(number) for number in range(40)]
    gone = keys[::9]
    for key in gone:
        kept.objects.delete(key)
    assert {each.key for each in kept.look()} == set(gone)
    assert (kept.tally.rows, kept.tally.keys) == (40, 40 - len(gone))


def test_what_was_removed_meanwhile_is_no_fault(
    kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = kept.add(1)
    size = kept.objects.size

    def removed(asked: str) -> int | None:
        kept.database.write(
            lambda s: s.connection().execute(delete(TABLE).where(TABLE.c.key == asked))
        )
        kept.objects.delete(asked)
        return size(asked)

    monkeypatch.setattr(kept.objects, "size", removed)
    assert kept.look() == []
    with pytest.raises(Missing):
        next(kept.objects.read(key))


def test_what_was_discarded_meanwhile_is_no_fault(
    kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = put(kept.objects, b"a repeat")
    keys = kept.objects.keys

    def listed() -> Iterator[str]:
        for each in keys():
            kept.objects.delete(each)
            yield each

    monkeypatch.setattr(kept.objects, "keys", listed)
    assert kept.look() == []
    assert kept.objects.size(key) is None


def test_an_hour_is_the_bound_of_on_its_way(kept: Kept, tmp_path: Path) -> None:
    now = datetime.now(UTC)
    for age in (3_500, 3_700):
        key = put(kept.objects, b"x")
        then = now.timestamp() - age
        os.utime(tmp_path / "objects" / key, (then, then))
    found = sorted(kept.look(), key=lambda each: each.text, reverse=True)
    assert [each.problem for each in found] == [Problem.ON_ITS_WAY, Problem.UNREFERENCED]
    assert [each.is_wrong for each in found] == [False, True]


def test_nothing_is_changed(kept: Kept, tmp_path: Path) -> None:
    kept.objects.delete(kept.add(1))
    put(kept.objects, b"nobody's")
    before = sorted(kept.objects.keys())
    kept.look(deep=True, later=timedelta(days=1))
    assert sorted(kept.objects.keys()) == before
    assert len(kept.look()) == 2
